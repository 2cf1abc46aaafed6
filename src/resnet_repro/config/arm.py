"""What is trained, as data: network, recipe, what it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class ModelSpec:
    """Which network, as data that can be stored in a record and built again.

    `builder` is "module.function" inside `resnet_repro.models`; `options` are its keyword arguments.
    """

    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WarmUp:
    """A lower learning rate for the first steps of a training.

    It lasts for the first `steps` steps, or until the running training error has fallen under `until_error` percent of
    ten classes. Raises ValueError unless exactly one of the two is given.
    """

    learning_rate: float
    until_error: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.until_error is None) == (self.steps is None):
            raise ValueError(f"a warm-up ends by an error or after some steps: give until_error or steps, not {self}")


@dataclass(frozen=True)
class Compressed:
    """What a recipe becomes in a budget that compresses its schedule: another name, and this warm-up."""

    name: str
    warm_up: WarmUp


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: optimizer, schedule, scaling of the pixels, augmentation.

    `iterations` and `milestones` are the published ones; a budget of another length scales the milestones with it.
    Learning rates are per step of one batch; `padding` is in pixels. For Adam `momentum` is β₁; β₂ is 0.999, ε 1e-8.
    scaling: "pixel-mean" subtracts the per-pixel mean of the training images and divides by one number, "unit" divides
    by 255, "standard" gives every channel mean 0 and variance 1 over the training images, "imagenet" takes the
    channels' mean and standard deviation over ImageNet-1k, as torchvision's weights want it.
    validation_images: how many of the training images are held out, scored along the way and never trained on.
    train_images: how many of the others are trained on, the first in the data's own order; 0 for all.
    padding is for images that lie in memory, scale for those of class folders: the shorter side is drawn from it, in
    pixels where the crop has 224, and in proportion where it has another size; scored are crops from the middle of
    images whose shorter side is the smaller one. None: all images are scaled to the crop's size.
    color: standard deviation of the shift along the principal components of the colours (Krizhevsky 2012, section
    4.1); 0 for none. ten_crop: score the test images once more at the end, on the mean of ten crops.
    compressed: how a budget shorter than `iterations` changes the recipe beyond its length; None for not at all.
    """

    name: str
    source: str
    iterations: int
    batch_size: int
    learning_rate: float
    milestones: tuple[int, ...] = ()
    divide_by: float = 1
    momentum: float = 0.9
    weight_decay: float = 0.0
    padding: int = 0
    flip: bool = False
    nesterov: bool = False
    optimizer: Literal["sgd", "adam"] = "sgd"
    warm_up: WarmUp | None = None
    scaling: Literal["pixel-mean", "unit", "standard", "imagenet"] = "pixel-mean"
    validation_images: int = 0
    train_images: int = 0
    scale: tuple[int, int] | None = None
    color: float = 0.0
    ten_crop: bool = False
    compressed: Compressed | None = None

    def at(self, iterations: int) -> Recipe:
        """The recipe as a schedule of so many steps is trained: `compressed` where that is shorter than published."""
        if self.compressed is None:
            return self
        if iterations >= self.iterations:
            return replace(self, compressed=None)
        return replace(self, name=self.compressed.name, warm_up=self.compressed.warm_up, compressed=None)


@dataclass(frozen=True)
class Start:
    """Where an arm's first weights come from: the finished run of another arm with the same seed.

    how: "copy" takes the weights as they are; "deepen" builds the arm's deeper network from them, so that it computes
    the same function (`models.construction`); "backbone" takes all but the last layer's. For the last, weights that
    come from outside (see `Weights`) stand in place of the run's where they can be had.
    experiment: the experiment that the parent belongs to; None for the arm's own, whose launcher then sees to it that
    the parent is trained first. The runs of another experiment must be there already.
    """

    arm: str
    how: Literal["copy", "deepen", "backbone"]
    experiment: str | None = None


@dataclass(frozen=True)
class Weights:
    """Pretrained weights from outside: what they are called, and the sha256 of their file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Search:
    """Where an arm's learning rate comes from: the best of some other arms of the experiment, at the same seed.

    arms: the candidates, each with a rate of its own in its recipe. Their runs are trained first; the rate of the one
    with the lowest final `metric` is taken. Test errors choose nothing, so the metric is one of the validation split.
    """

    arms: tuple[str, ...]
    metric: Literal["validation_error", "validation_loss"] = "validation_error"


COUNTED_SEED = 0  # in the folder's name: of a network that is counted nothing is drawn


@dataclass(frozen=True)
class CountedArm:
    """A network that is counted layer by layer, on one image of `shape` (C, H, W), and never trained.

    `control` networks serve a claim and stand in no table of networks.
    """

    name: str
    model: ModelSpec
    shape: tuple[int, int, int]
    classes: int
    control: bool = False


@dataclass(frozen=True)
class Arm:
    """One configuration compared in an experiment. `control` arms serve a claim but stand in no table of errors.

    share: the part of the schedule that the arm is trained for, in (0, 1]: a control that only has to show its first
    steps need not spend the whole budget. The learning rate at a step is that of the full schedule.
    length: the arm's own schedule as a multiple of the profile's; 0 for an arm that is scored and not trained.
    start: the run whose weights it starts from; None for an initialization of its own.
    search: the arms among which its learning rate is found; None for the recipe's.
    watch: measurements beyond those that every run takes, by the names in `diagnostics.along_training`.
    dataset: the data set of the catalogue that the arm is trained on, where that is not the experiment's.
    features: of a network with a frozen backbone: whether the features that its last layer sees are computed at each
    step, or once, before the first. It needs a recipe that draws nothing on the images.
    activations: what backpropagation needs is "stored", or "recomputed" block by block to save memory; "auto" decides
    by measured memory. It changes no number, only time and memory.
    """

    name: str
    model: ModelSpec
    recipe: Recipe
    control: bool = False
    share: float = 1.0
    length: float = 1.0
    start: Start | None = None
    watch: tuple[str, ...] = ()
    activations: Literal["auto", "stored", "recomputed"] = "auto"
    search: Search | None = None
    dataset: str | None = None
    features: Literal["each step", "once"] = "each step"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share of arm {self.name} is {self.share}: it must lie in (0, 1]")
        if self.length < 0:
            raise ValueError(f"length of arm {self.name} is {self.length}: it must not be negative")

    @property
    def sources(self) -> list[str]:
        """Arms of the same experiment whose runs come first."""
        own = [self.start.arm] if self.start is not None and self.start.experiment is None else []
        return own + list(self.search.arms if self.search else ())
