"""The facts of each data set: what it must contain, and under which names it is found."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_repro.errors import UserError


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before a byte of it is read.

    shape: (C, H, W) of an image. digests: contents digest of each split (see `arrays.contents_digest`).
    folders, archives: names under which a data folder or a mirror may hold it. url: the official archive.
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

CATALOGUE = {facts.name: facts for facts in (CIFAR10, STANDIN, STANDIN_TINY)}


def dataset(name: str) -> DatasetFacts:
    """The facts of a data set. Raises UserError with the known names."""
    if name not in CATALOGUE:
        raise UserError(f"unknown data set {name!r}: take auto, {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
