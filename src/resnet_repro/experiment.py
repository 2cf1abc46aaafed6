"""The vocabulary in which an experiment is written down.

Nothing here imports torch: an experiment file must load in milliseconds, on machines that only read results too.
An `Experiment` is a question with the arms that answer it. The command line expands arms × seeds of one `Profile`
into runs; the report judges the claims on what those runs left behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

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
class Recipe:
    """How a network is trained: optimizer, schedule, augmentation.

    `iterations` and `milestones` are the published ones; a budget of another length scales the milestones with it.
    Learning rates are per step of one batch; `padding` is in pixels.
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


@dataclass(frozen=True)
class Arm:
    """One configuration compared in an experiment. `control` arms serve a claim but stand in no table of errors.

    `share` is the part of the schedule that the arm is trained for, in (0, 1]: a control that only has to show its
    first steps need not spend the whole budget. The learning rate at a step is that of the full schedule.
    """

    name: str
    model: ModelSpec
    recipe: Recipe
    control: bool = False
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share of arm {self.name} is {self.share}: it must lie in (0, 1]")


@dataclass(frozen=True)
class Profile:
    """How much of the published budget is spent.

    iterations: optimizer steps. seeds: the repetitions. evaluations: how often along the way the nets are scored on
    test images and on a fixed part of the training images. dataset: the default of the `--dataset` flag.
    """

    name: str
    iterations: int
    seeds: tuple[int, ...]
    evaluations: int
    dataset: str = "auto"

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        return -(-self.iterations // self.evaluations)

    def scaled(self, iterations: int) -> Profile:
        """The profile at another length; its name then says the length, and so does the runs' folder.

        It is evaluated four times, or every 1,000 steps as in He15 figure 6 where that is more, whatever profile it
        comes from: runs of one length are comparable.
        """
        evaluations = max(4, -(-iterations // 1_000))
        return replace(self, name=f"{iterations}it", iterations=iterations, evaluations=evaluations)


@dataclass(frozen=True)
class Experiment:
    """One question, the arms that answer it, and what is made of their results.

    published: figures of the source for the table of final errors, {arm: {metric: percent}}.
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

    def arm(self, name: str) -> Arm:
        """The arm of that name. Raises UserError with the known names."""
        return _named(self.arms, name, "arm", self.name)

    def profile(self, name: str) -> Profile:
        """The profile of that name. Raises UserError with the known names."""
        return _named(self.profiles, name, "profile", self.name)


def _named(items: Sequence[Any], name: str, kind: str, experiment: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in items)
    raise UserError(f"unknown {kind} {name!r}: {experiment} has {known}")


@dataclass(frozen=True)
class RunSettings:
    """Everything that determines what a run computes; stored beside its results and compared before it is resumed.

    dataset_digest is that of the contents, precision one of "bf16" and "fp32", device the kind ("cpu", "cuda", "mps").
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

    @property
    def stop_at(self) -> int:
        """The step at which the run ends: the budget, or the arm's share of it."""
        return max(1, round(self.iterations * self.arm.share))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RunSettings:
        """The settings that `to_json` gave. Raises UserError for those of another version."""
        try:
            arm = dict(data["arm"])
            recipe = dict(arm["recipe"])
            recipe["milestones"] = tuple(recipe["milestones"])
            arm["recipe"] = Recipe(**recipe)
            arm["model"] = ModelSpec(**arm["model"])
            return RunSettings(**{**data, "arm": Arm(**arm)})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"these are settings of another version ({error}): train the run again") from error


def select_arms(experiment: Experiment, names: str | None) -> list[Arm]:
    """The arms of a comma-separated list, in the experiment's order; all of them for None.

    Raises UserError for an unknown or an empty name.
    """
    if names is None:
        return list(experiment.arms)
    wanted = {experiment.arm(name.strip()).name for name in names.split(",")}
    return [arm for arm in experiment.arms if arm.name in wanted]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from "0,1,2", "0-4" or a mixture, sorted, each once. Raises UserError where the text is neither."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or int(last) < int(first):
            raise UserError(f"SEEDS={text!r} is no list of seeds: write 0,1,2 or 0-4")
        if int(last) >= 2**31 or int(last) - int(first) >= 10_000:
            raise UserError(f"SEEDS={text!r} is too large: seeds lie under 2^31, 10,000 of them at most")
        seeds.update(range(int(first), int(last) + 1))
    return tuple(sorted(seeds))


def parse_count(text: str, name: str) -> int:
    """A positive whole number. Raises UserError naming the variable."""
    digits = text.strip().replace("_", "")
    if not (digits.isascii() and digits.isdigit()) or int(digits) < 1:
        raise UserError(f"{name}={text!r} is no positive whole number: write for example {name}=2000")
    return int(digits)
