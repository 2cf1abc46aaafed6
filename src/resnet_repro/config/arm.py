"""What an arm trains, as data: its network, its recipe, and the origin of its first weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class ModelSpec:
    """A network as data that can be stored in a record and built again."""

    builder: str
    """ "module.function" inside `resnet_repro.models`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the builder."""


@dataclass(frozen=True)
class WarmUp:
    """A lower learning rate for the first steps of a training. It ends after `steps` steps or at `until_error`.

    Raises ValueError unless exactly one of the two is given.
    """

    learning_rate: float
    """Rate per step during the warm-up."""
    until_error: float | None = None
    """Running training error, in percent, below which the warm-up ends. It refers to ten classes; see
    `schedule.warm_up_threshold` for other numbers.
    """
    steps: int | None = None
    """Number of steps after which the warm-up ends."""

    def __post_init__(self) -> None:
        if (self.until_error is None) == (self.steps is None):
            raise ValueError(f"invalid warm-up {self}: expected either until_error or steps")


@dataclass(frozen=True)
class Compressed:
    """Changes of a recipe in a budget that compresses its schedule."""

    name: str
    """Name of the changed recipe."""
    warm_up: WarmUp
    """Warm-up of the changed recipe."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: optimizer, schedule, normalization of the pixels, augmentation."""

    name: str
    source: str
    """Publication and section that the recipe is taken from."""
    iterations: int
    """Published number of optimizer steps."""
    batch_size: int
    """Images per step, over all devices."""
    learning_rate: float
    """Initial rate per step."""
    milestones: tuple[int, ...] = ()
    """Published steps at which the rate is divided. A budget of another length scales them."""
    divide_by: float = 1
    """Divisor of the rate at each milestone."""
    momentum: float = 0.9
    """Momentum of SGD, or β₁ of Adam. Adam's β₂ is 0.999 and its ε 1e-8."""
    weight_decay: float = 0.0
    """Coefficient of the L2 penalty. 0: none."""
    padding: int = 0
    """In-memory data only: pixels of padding on each side before a random crop of the original size. 0: no crop."""
    flip: bool = False
    """Mirror each training image horizontally with probability 1/2."""
    nesterov: bool = False
    """Use Nesterov momentum."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    warm_up: WarmUp | None = None
    """Lower rate for the first steps. None: no warm-up."""
    scaling: Literal["pixel-mean", "unit", "standard", "imagenet", "none"] = "pixel-mean"
    """Normalization of the pixels.

    "pixel-mean": subtract the per-pixel mean of the training images, and divide by the standard deviation of all pixels.
    "unit": divide by 255. "standard": mean 0 and variance 1 per channel over the training images. "imagenet": channel
    statistics of ImageNet-1k, which torchvision's weights require. "none": pixels stay in 0..255.
    """
    order: Literal["shuffled", "fixed"] = "shuffled"
    """Order of the training images. "shuffled": drawn anew for each epoch. "fixed": the data's order in every epoch, which
    is the same for all seeds.
    """
    validation_images: int = 0
    """Number of training images to hold out for validation: they are scored but never trained on."""
    train_images: int = 0
    """Number of the remaining images to train on, the first ones in the data's order. 0: all."""
    scale: tuple[int, int] | None = None
    """Class folders only: range of the shorter side before a random crop, in pixels for a crop of 224 and in proportion
    for other sizes. Evaluation resizes the shorter side to `scale[0]` and takes the centre crop. None: images are
    resized to the crop size.
    """
    color: float = 0.0
    """Standard deviation of the shift along the principal components of the colours (Krizhevsky 2012, section 4.1).
    0: none.
    """
    ten_crop: bool = False
    """After the last step, also score the test images on the mean prediction of ten crops."""
    compressed: Compressed | None = None
    """Changes in a budget shorter than `iterations`. None: only the length changes."""

    def at(self, iterations: int) -> Recipe:
        """The recipe for a schedule of `iterations` steps: `compressed` applies if this is shorter than published."""
        if self.compressed is None:
            return self
        if iterations >= self.iterations:
            return replace(self, compressed=None)
        return replace(self, name=self.compressed.name, warm_up=self.compressed.warm_up, compressed=None)


@dataclass(frozen=True)
class Start:
    """Origin of an arm's first weights: the finished run of another arm with the same seed."""

    arm: str
    """Name of the parent arm."""
    how: Literal["copy", "deepen", "backbone", "other classes"]
    """ "copy": all weights, unchanged. "deepen": build the arm's deeper network so that it computes the same function
    (`models.construction`). "backbone": all layers except the last; pretrained `Weights` replace the parent if available.
    "other classes": all layers except the last, of a parent trained on other classes. Nothing replaces it.
    """
    experiment: str | None = None
    """Experiment of the parent arm, whose runs must be finished. None: the same experiment, which trains the parent
    first.
    """
    scale: float = 0.0
    """For "deepen" and residual nets: first scale of the last batch normalization of each added block. 0: the block passes
    its input on. Otherwise the deeper net differs from its parent.
    """
    perturbation: float = 0.0
    """For "deepen" and plain nets: factor of the kernels of the deeper net's own initialization that are added to the
    kernels of its added layers. 0: these layers pass their input on.
    """


@dataclass(frozen=True)
class Weights:
    """Pretrained weights from outside the project."""

    name: str
    sha256: str
    """Digest of the file."""


@dataclass(frozen=True)
class Search:
    """Search for an arm's learning rate among other arms of the experiment, at the same seed.

    The runs of the candidates are trained first. The arm takes the rate of the run with the lowest final `metric`.
    """

    arms: tuple[str, ...]
    """Names of the candidates. Their recipes differ in the learning rate."""
    metric: Literal["validation_error", "validation_loss", "doublings_to_25", "train_error"] = "validation_error"
    """Metric to minimize, measured on validation or training images, because test errors must not select anything."""


COUNTED_SEED = 0  # in the folder name of counted networks, which involve no random draws


@dataclass(frozen=True)
class CountedArm:
    """A network that is counted layer by layer and not trained."""

    name: str
    model: ModelSpec
    shape: tuple[int, int, int]
    """(C, H, W) of the input image."""
    classes: int
    """Number of classes of the output."""
    control: bool = False
    """The network serves a claim and is left out of the table of networks."""


@dataclass(frozen=True)
class Arm:
    """One configuration that an experiment compares. Raises ValueError for an invalid `share` or `length`."""

    name: str
    model: ModelSpec
    recipe: Recipe
    control: bool = False
    """The arm serves a claim and is left out of the table of errors. It is scored on part of the training images."""
    share: float = 1.0
    """Fraction of the schedule that is trained, in (0, 1]. The learning rate at each step is that of the full schedule.
    Below 1 for controls that only need to show their first steps.
    """
    length: float = 1.0
    """Length of the arm's schedule as a multiple of the profile's. 0: the arm is scored without training."""
    start: Start | None = None
    """Run whose weights the arm starts from. None: random initialization."""
    watch: tuple[str, ...] = ()
    """Additional measurements, by their names in `diagnostics.along_training`."""
    activations: Literal["auto", "stored", "recomputed"] = "auto"
    """Whether backpropagation stores activations or recomputes them block by block to save memory. "auto" decides by
    measured memory. Changes time and memory but no result.
    """
    search: Search | None = None
    """Search for the learning rate. None: the recipe's rate."""
    dataset: str | None = None
    """Data set of the arm, by its name in the catalogue. None: the experiment's."""
    features: Literal["each step", "once"] = "each step"
    """For frozen backbones: compute features at every step, or once before training ("once" requires a recipe without
    augmentation).
    """
    read_every: int | None = None
    """Steps between two readings of the running training error. None: a hundredth of the schedule, at most 100 steps."""
    calibrated_on: int = 0
    """Number of training images, un-augmented, whose mean statistics replace the running statistics of batch normalization
    in the arm's first weights. 0: they keep their first values, mean 0 and variance 1, or those of the parent.
    """
    precision: Literal["bf16", "fp32"] | None = None
    """Arithmetic of the arm's runs. None: that of the other runs, chosen by the user or the hardware."""
    task: Literal["classify", "reconstruct"] = "classify"
    """ "classify": the loss is the cross-entropy, and runs have class errors. "reconstruct": the network returns a
    `models.reconstruction.Reconstruction`, whose relative squared error is the loss; there are no class errors.
    """

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"invalid share {self.share} of arm {self.name}: expected a number in (0, 1]")
        if self.length < 0:
            raise ValueError(f"invalid length {self.length} of arm {self.name}: expected a number of at least 0")
        if self.read_every is not None and self.read_every < 1:
            raise ValueError(
                f"invalid read_every {self.read_every} of arm {self.name}: expected a number of at least 1"
            )

    @property
    def sources(self) -> list[str]:
        """Names of the arms of the same experiment whose runs must be trained before this arm's."""
        parents = [self.start.arm] if self.start is not None and self.start.experiment is None else []
        return parents + list(self.search.arms if self.search else ())
