"""Catalogue of the data sets: contents, file names, sources."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from resnet_repro.errors import UserError


@dataclass(frozen=True)
class DatasetFacts:
    """Properties of a data set that are known before it is read."""

    name: str
    """Name on the command line, in records and in budgets."""
    title: str
    """Name in reports and messages."""
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    """(C, H, W) of an image."""
    train_images: int
    test_images: int
    digests: dict[str, str]
    """Digest of the contents of each split, see `arrays.canonical`. Empty: not checked."""
    folders: tuple[str, ...] = ()
    """Names of its folder in a data folder or a mirror. Empty for stand-ins."""
    archives: tuple[str, ...] = ()
    """Names of its archive in a data folder or a mirror. Empty for stand-ins and data published as single files."""
    url: str = ""
    """Address of the official archive, or of the folder of the official files. Empty for stand-ins."""
    download_bytes: int = 0
    """Bytes of the official archive, or of all official files. 0 for stand-ins."""
    md5: dict[str, str] = field(default_factory=dict)
    """MD5 sum of each official file, uncompressed."""
    standin: bool = False
    """Whether the images are generated (`standin.generate`)."""
    seed: int = 0
    """Seed of the generator of a stand-in."""
    part_of: str = ""
    """Name of the data set of which this is the images of some classes, `class_names`. Empty: a data set of its own."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def count(self, split: str) -> int:
        """Return the number of images of "train" or "test"."""
        return self.train_images if split == "train" else self.test_images

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of images and labels in the cache."""
        return (self.train_images + self.test_images) * (math.prod(self.shape) + 1)


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
    download_bytes=170_498_071,
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
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
    download_bytes=169_001_437,
    md5={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
)


def _half(name: str, title: str, class_names: tuple[str, ...], digests: dict[str, str]) -> DatasetFacts:
    """Half of the classes of CIFAR-100, which has as many images of every class."""
    return DatasetFacts(name, title, class_names, CIFAR100.shape, 25_000, 5_000, digests, part_of=CIFAR100.name)


CIFAR100_FIRST = _half(
    "cifar100-first",
    "CIFAR-100, classes 1 to 50",
    CIFAR100.class_names[:50],
    digests={
        "train": "ab003bd12712d27b40e7ea39162a4921a1170559ac0f9145b2d4633b61e4a60d",
        "test": "0e6ab7d918c24bd503a21adf4e0082551ff4a379b366937769b05d56caee7661",
    },
)
CIFAR100_SECOND = _half(
    "cifar100-second",
    "CIFAR-100, classes 51 to 100",
    CIFAR100.class_names[50:],
    digests={
        "train": "fd853fa239506b0aa752ceeac1d1eb87e462be1c133714d42766965b1dddf062",
        "test": "264560e67bcfa566203ecb12d454604e73fc0ed2e7357bcd1df6df62df9e74ec",
    },
)

MNIST = DatasetFacts(
    name="mnist",
    title="MNIST",
    class_names=tuple("0123456789"),
    shape=(1, 28, 28),
    train_images=60_000,
    test_images=10_000,
    digests={
        "train": "3655811c0e1223700a4714a92a51f55bd215ed7dc1fa2baa4326a2b58042d82d",
        "test": "634538fb34c5277fce98470b8b285d1e8419eb87f328da42ef1faf690d2c3911",
    },
    folders=("mnist", "MNIST/raw"),
    url="https://ossci-datasets.s3.amazonaws.com/mnist",
    download_bytes=11_594_722,
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)

FASHION_MNIST = DatasetFacts(
    name="fashion-mnist",
    title="Fashion-MNIST",
    # The first class is published as "T-shirt/top", which cannot be the name of a folder.
    class_names=("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"),
    shape=(1, 28, 28),
    train_images=60_000,
    test_images=10_000,
    digests={
        "train": "0c69d5cdeb902b69084012f812f066de080317bb3c64f43ca87f910d8ec86906",
        "test": "90c92c0507755a7d443edde8297ce4d0f131e42884e2e87e7fc9b81ffe215258",
    },
    folders=("fashion-mnist", "FashionMNIST/raw"),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    download_bytes=30_878_645,
    md5={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
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

STANDIN_GREY = DatasetFacts(
    name="standin-grey",
    title="procedural stand-in (ten shapes in grey)",
    class_names=_SHAPES,
    shape=(1, 28, 28),
    train_images=60_000,
    test_images=10_000,
    digests={},
    standin=True,
    seed=2017,
)

STANDIN_GREY_TINY = DatasetFacts(
    name="standin-grey-tiny",
    title="procedural stand-in (ten shapes in grey, 1,000 images)",
    class_names=_SHAPES,
    shape=(1, 28, 28),
    train_images=1_000,
    test_images=500,
    digests={},
    standin=True,
    seed=2018,
)

CATALOGUE = {
    facts.name: facts
    for facts in (
        CIFAR10,
        CIFAR100,
        CIFAR100_FIRST,
        CIFAR100_SECOND,
        MNIST,
        FASHION_MNIST,
        STANDIN,
        STANDIN_TINY,
        STANDIN_GREY,
        STANDIN_GREY_TINY,
    )
}

_GREY = {"standin": "standin-grey", "standin-tiny": "standin-grey-tiny"}


def dataset(name: str) -> DatasetFacts:
    """Return the facts of a data set. Raises UserError if the name is not in the catalogue."""
    if name not in CATALOGUE:
        raise UserError(f"unknown data set {name!r}: expected auto, {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def standin_for(facts: DatasetFacts, name: str = "standin") -> DatasetFacts:
    """Return the stand-in `name` ("standin" or "standin-tiny"), in grey if the images of `facts` are grey."""
    return dataset(_GREY[name] if facts.shape == STANDIN_GREY.shape else name)


def choose(name: str, own_name: str | None) -> DatasetFacts:
    """Return the facts of the data set that the user names, for an experiment on the data set `own_name`.

    name: "auto" is the experiment's data set. "standin" and "standin-tiny" become grey for an experiment on grey images.
    own_name: None without an experiment; "auto" is then CIFAR-10 and any image shape is accepted.
    Raises UserError for unknown names, and for images of another shape than the experiment's.
    """
    default = dataset(own_name or CIFAR10.name)
    if name == "auto":
        return default
    facts = standin_for(default, name) if name in _GREY else dataset(name)
    if own_name is None or facts.shape == default.shape:
        return facts
    compatible = ", ".join(other.name for other in CATALOGUE.values() if other.shape == default.shape)
    raise UserError(
        f"{facts.name} has images of shape {facts.shape}: expected {default.shape}, the shape of the experiment's data set "
        f"{default.name}; use auto, {compatible}"
    )
