"""The facts of each data set: what it must contain, and under which names it is found."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_repro.errors import UserError


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before a byte of it is read.

    shape: (C, H, W) of an image. digests: contents digest of each split (see `arrays.contents_digest`).
    folders, archives: names under which a data folder or a mirror may hold it. url: the official archive.
    label_key: the entry of an official batch that holds the labels.
    A stand-in has neither folders nor url; it is generated, and its digests are those of the generator's output.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    train_images: int
    test_images: int
    digests: dict[str, str]
    folders: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    url: str = ""
    label_key: str = "labels"
    standin: bool = False
    seed: int = 0

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def count(self, split: str) -> int:
        return self.train_images if split == "train" else self.test_images


CIFAR10 = DatasetFacts(
    name="cifar10",
    title="CIFAR-10",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(3, 32, 32),
    train_images=50_000,
    test_images=10_000,
    digests={
        "train": "55a61f79a40ece2ceda9fb5f9f7078f6ea2fc4952489cef56682bcf92cfcc260",
        "test": "325704b01eb92e1e2a6215ae6a916bb7db7de054af0c496be1c7be2e0fcfbf5f",
    },
    folders=("cifar-10-batches-py", "cifar10"),
    archives=("cifar10.tgz", "cifar-10-python.tar.gz"),
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)

_FINE_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100 = DatasetFacts(
    name="cifar100",
    title="CIFAR-100",
    class_names=tuple(_FINE_CLASSES.split()),
    shape=(3, 32, 32),
    train_images=50_000,
    test_images=10_000,
    digests={
        "train": "6d2a03c47c105e4c34d3a2ff16c2803e8df0e5d6fa0c631e46663a327aeac573",
        "test": "381b7d98ce1e9b98232a8df0db0a22992654c39ff2433270656ab8ace5a45e65",
    },
    folders=("cifar-100-python", "cifar100"),
    archives=("cifar100.tgz", "cifar-100-python.tar.gz"),
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    label_key="fine_labels",
)

_SHAPES = ("disc", "ring", "square", "frame", "triangle", "plus", "bars", "half disc", "corner", "checker")

STANDIN = DatasetFacts(
    name="standin",
    title="procedural stand-in (ten shapes)",
    class_names=_SHAPES,
    shape=(3, 32, 32),
    train_images=50_000,
    test_images=10_000,
    digests={},
    standin=True,
    seed=2015,
)

STANDIN_TINY = DatasetFacts(
    name="standin-tiny",
    title="procedural stand-in (ten shapes, 1,000 images)",
    class_names=_SHAPES,
    shape=(3, 32, 32),
    train_images=1_000,
    test_images=500,
    digests={},
    standin=True,
    seed=2016,
)

CATALOGUE = {facts.name: facts for facts in (CIFAR10, CIFAR100, STANDIN, STANDIN_TINY)}


def dataset(name: str) -> DatasetFacts:
    """The facts of a data set. Raises UserError with the known names."""
    if name not in CATALOGUE:
        raise UserError(f"unknown data set {name!r}: take auto, {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
