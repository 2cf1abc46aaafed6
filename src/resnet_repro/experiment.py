"""The vocabulary in which an experiment is written down.

Nothing here imports torch: an experiment file must load in milliseconds, on machines that only read results too.
An `Experiment` is a question with the arms that answer it. The command line expands arms × seeds of one `Profile`
into runs; the report judges the claims on what those runs left behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from resnet_repro.errors import UserError

if TYPE_CHECKING:
    from resnet_repro.analysis.claims import Claim
    from resnet_repro.report.figure import FigureSpec


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
    milestones: tuple[int, ...]
    divide_by: float
    momentum: float
    weight_decay: float
    padding: int
    flip: bool
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


@dataclass(frozen=True)
class Counted:
    """What an arm that is counted and not trained is counted on: one image of `shape` (C, H, W), and so many classes."""

    shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True)
class Arm:
    """One configuration compared in an experiment. `control` arms serve a claim but stand in no table of errors.

    share: the part of the schedule that the arm is trained for, in (0, 1]: a control that only has to show its first
    steps need not spend the whole budget. The learning rate at a step is that of the full schedule.
    length: the arm's own schedule as a multiple of the profile's; 0 for an arm that is scored and not trained.
    start: the run whose weights it starts from; None for an initialization of its own.
    search: the arms among which its learning rate is found; None for the recipe's.
    counted: of an arm whose network is counted, layer by layer, and never trained; it has one run, that of seed 0.
    watch: measurements beyond those that every run takes, by the names in `analysis.watches`.
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
    counted: Counted | None = None
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

    def seeds(self, seeds: Sequence[int]) -> Sequence[int]:
        """Those of `seeds` at which the arm has runs: a counted arm has nothing that is drawn."""
        return (0,) if self.counted else seeds


SCORED_WHOLE = 2_000  # steps from which on scoring all images costs little beside the training


# Steps of a run from which on its step is one CUDA graph: recording it takes as long as some eager steps, and in shorter runs
# most steps are watched.
FEWEST_CAPTURED = 80


@dataclass(frozen=True)
class Scored:
    """On how many images a run of a short budget is scored, the first of each split in the order of their digests.

    along: of every split, at the evaluations along the way. train: of the training images, at the end; test: of the
    test and validation images, at the end.
    """

    along: int
    train: int
    test: int

    @staticmethod
    def after(steps: int) -> Scored:
        """As many as a training of so many steps affords: with batch 128 scoring takes a fifth of the time at most."""
        return Scored(*(max(500, math.ceil(steps * per_step / 500) * 500) for per_step in (5, 25, 50)))


@dataclass(frozen=True)
class Profile:
    """How much of the published budget is spent.

    iterations: optimizer steps; None gives every arm its recipe's own number. seeds: the repetitions.
    evaluations: how often along the way the nets are scored on test images and on a fixed part of the training images.
    dataset: the default of the `--dataset` flag. arms: the arms that the profile runs unless asked for others; None
    for all. stretches: {arm: steps} for arms of which the profile affords a stretch of their schedule only; they are
    timed and measured, not scored. prefix: the step of the published schedule after which the runs end and are scored;
    None for whole schedules. resolution: pixels of an image's side as the networks see it; None for experiments
    that take the images as they are. substitutes: pretrained weights that cannot be had may be trained in their place.
    asked_for: the number of steps is the user's own, and holds for data of any size.
    """

    name: str
    iterations: int | None
    seeds: tuple[int, ...]
    evaluations: int
    dataset: str = "auto"
    arms: tuple[str, ...] | None = None
    stretches: Mapping[str, int] = field(default_factory=dict)
    prefix: int | None = None
    resolution: int | None = None
    substitutes: bool = True
    asked_for: bool = False

    def steps(self, arm: Arm) -> int:
        """The length of the arm's schedule in steps."""
        return round((self.iterations or arm.recipe.iterations) * arm.length)

    def evaluate_every(self, arm: Arm) -> int:
        """Steps between two evaluations of the arm."""
        return max(1, -(-self.steps(arm) // self.evaluations))

    def scaled(self, iterations: int) -> Profile:
        """The profile at another length; its name then says the length, and so does the runs' folder.

        It is evaluated four times, or every 1,000 steps as in He15 figure 6 where that is more, whatever profile it
        comes from: runs of one length are comparable.
        """
        evaluations = max(4, -(-iterations // 1_000))
        return replace(self, name=f"{iterations}it", iterations=iterations, evaluations=evaluations, asked_for=True)

    def cut_after(self, prefix: int) -> Profile:
        """The first `prefix` steps of the profile's schedule, with the same rates and evaluations at the same steps."""
        return replace(self, name=f"prefix{prefix}", prefix=prefix)

    def prefix_of(self, arm: Arm) -> int | None:
        """The step at which the prefix ends for the arm; None where the arm's whole schedule, or share of it, is run.

        Of arms that are not trained, that of the runs whose weights they read.
        """
        if self.prefix is None or not arm.length:
            return self.prefix
        prefix = round(self.prefix * arm.length)
        return prefix if prefix < round(self.steps(arm) * arm.share) else None

    def scored(self, arm: Arm, factor: float = 1.0) -> Scored | None:
        """On how many images runs of the arm's recipe are scored; None for all, as the published budget is.

        factor: by how much the data at hand lengthen the schedule.
        """
        steps = round(factor * (self.iterations or arm.recipe.iterations))
        return None if steps >= min(arm.recipe.iterations, SCORED_WHOLE) else Scored.after(steps)

    def at(self, resolution: int) -> Profile:
        """The profile at another resolution; its name then says so, and so does the runs' folder."""
        return replace(self, name=f"{self.name}-{resolution}px", resolution=resolution)


@dataclass(frozen=True)
class Column:
    """A metric in the table of results: its name in the records, the column's heading, decimals."""

    metric: str
    heading: str
    digits: int = 2


ERRORS = (Column("train_error", "train %"), Column("test_error", "test %"), Column("best_test_error", "best test %"))


@dataclass(frozen=True)
class Experiment:
    """One question, the arms that answer it, and what is made of their results.

    spread: one run takes all GPUs, its batches spread over them, in place of a GPU for every run.
    folders: it can be run on class folders too, and its networks take images of any size.
    figures: the first stands on the report's first page.
    answers: the answer to the question in sentences, with places for numbers; those of `report.headline` say what a place
    may hold. A sentence has to be true whatever the numbers are: it says how much, not which is better. The report and
    the console show those whose numbers are there.
    columns: what the table of results shows of every arm that is no control; mean ± standard deviation over seeds.
    published: figures of the source on the experiment's own data set, {arm: {metric: value}}; columns that have one
    are followed by it.
    """

    name: str
    title: str
    question: str
    source: str
    dataset: str
    arms: Sequence[Arm]
    profiles: Sequence[Profile]
    claims: Sequence[Claim]
    figures: Sequence[FigureSpec]
    published: Mapping[str, Mapping[str, float]]
    published_note: str
    deviations: Sequence[str]
    answers: Sequence[str] = ()
    columns: Sequence[Column] = ERRORS
    spread: bool = False
    folders: bool = False

    def arm(self, name: str) -> Arm:
        """The arm of that name. Raises UserError with the known names."""
        return _named(self.arms, name, "arm", self.name)

    def profile(self, name: str) -> Profile:
        """The profile of that name. Raises UserError with the known names."""
        return _named(self.profiles, name, "profile", self.name)

    @property
    def published_profile(self) -> Profile:
        """The profile of the published budget."""
        return self.profile("paper")

    def prefix(self, steps: int) -> Profile:
        """The first `steps` steps of the published schedule; the published profile where that is all of it."""
        return self.published_profile if steps == self.published_steps else self.published_profile.cut_after(steps)

    @property
    def published_steps(self) -> int:
        """The length of the longest published schedule among the arms."""
        profile = self.published_profile
        return max(profile.iterations or arm.recipe.iterations for arm in self.arms_of(profile))

    def arms_of(self, profile: Profile) -> list[Arm]:
        """The arms that a profile runs unless asked for others, in the experiment's order."""
        return [arm for arm in self.arms if profile.arms is None or arm.name in profile.arms]

    @property
    def published_resolution(self) -> int | None:
        """The largest resolution of the profiles, in pixels; None where images are taken as they are."""
        return max((profile.resolution for profile in self.profiles if profile.resolution), default=None)

    @property
    def is_counted(self) -> bool:
        """Whether nothing is trained: all arms are counted, and no data are needed."""
        return all(arm.counted for arm in self.arms)

    def runs_of(self, profile: Profile, seeds: Sequence[int]) -> list[tuple[str, int]]:
        """(arm, seed) of the runs that a profile asks for at these seeds."""
        return [(arm.name, seed) for arm in self.arms_of(profile) for seed in arm.seeds(seeds)]


def _named(items: Sequence[Any], name: str, kind: str, experiment: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in items)
    raise UserError(f"unknown {kind} {name!r}: {experiment} has {known}")


@dataclass(frozen=True)
class RunSettings:
    """Everything that determines what a run computes; stored beside its results and compared before it is resumed.

    iterations: the length of the schedule. stretch: steps after which the run ends unscored, None for a whole run.
    prefix: steps of the published schedule after which the run ends and is scored; its checkpoint stays, so that a longer
    prefix can continue it. None for runs to the end of their schedule or share. scored: on how many images; None for all.
    dataset_digest is that of the contents, precision one of "bf16" and "fp32", device the kind ("cpu", "cuda", "mps").
    resolution: pixels of an image's side as the network sees it; None for the data set's own. weights: those that the
    arm starts from in place of another run's; None where it does not.
    """

    experiment: str
    budget: str
    arm: Arm
    seed: int
    iterations: int
    evaluate_every: int
    dataset: str
    dataset_digest: str
    precision: str
    device: str
    stretch: int | None = None
    resolution: int | None = None
    weights: Weights | None = None
    prefix: int | None = None
    scored: Scored | None = None

    @property
    def stop_at(self) -> int:
        """The step at which the run ends: of the budget, the arm's share of it, the prefix or the stretch the first."""
        return min(end for end in (self.whole, self.stretch, self.prefix) if end is not None)

    @property
    def followed(self) -> int:
        """The steps of its schedule that the run is to follow: all of them, or those of the prefix."""
        return self.iterations if self.prefix is None else min(self.prefix, self.iterations)

    @property
    def whole(self) -> int:
        """The steps of the arm's schedule or share, also of a run that ends before."""
        return max(1, round(self.iterations * self.arm.share)) if self.iterations else 0

    @property
    def scheduled(self) -> int:
        """The steps that the run takes; of a prefix those of the whole schedule, since a longer one may continue it."""
        return self.stop_at if self.prefix is None else self.whole

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RunSettings:
        """The settings that `to_json` gave. Raises UserError for those of another version."""
        try:
            arm = dict(data["arm"])
            recipe = dict(arm["recipe"])
            recipe["milestones"] = tuple(recipe["milestones"])
            recipe["scale"] = tuple(recipe["scale"]) if recipe.get("scale") else None
            recipe["warm_up"] = WarmUp(**recipe["warm_up"]) if recipe["warm_up"] else None
            if compressed := recipe.get("compressed"):
                recipe["compressed"] = Compressed(compressed["name"], WarmUp(**compressed["warm_up"]))
            arm["recipe"] = Recipe(**recipe)
            arm["model"] = ModelSpec(**arm["model"])
            arm["start"] = Start(**arm["start"]) if arm["start"] else None
            arm["watch"] = tuple(arm["watch"])
            if search := arm.get("search"):
                arm["search"] = Search(tuple(search["arms"]), search["metric"])
            if counted := arm.get("counted"):
                arm["counted"] = Counted(tuple(counted["shape"]), counted["classes"])
            weights = Weights(**data["weights"]) if data.get("weights") else None
            scored = Scored(**data["scored"]) if data.get("scored") else None
            return RunSettings(**{**data, "arm": Arm(**arm), "weights": weights, "scored": scored})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"these are settings of another version ({error}): train the run again") from error
