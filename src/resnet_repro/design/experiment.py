"""The vocabulary in which an experiment is written down.

Nothing here imports torch: an experiment file must load in milliseconds, on machines that only read results too.
An `Experiment` is a question with the arms that answer it. The command line expands arms × seeds of one `Profile`
into runs; the report judges the claims on what those runs left behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from resnet_repro.config.arm import COUNTED_SEED, Arm, CountedArm
from resnet_repro.config.settings import SCORED_WHOLE, Scored
from resnet_repro.errors import UserError

if TYPE_CHECKING:
    from resnet_repro.claims.claim import Claim
    from resnet_repro.figures.figure import FigureSpec


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

    def evaluate_every(self, steps: int) -> int:
        """Steps between two evaluations of a run of so many steps."""
        return max(1, math.ceil(steps / self.evaluations))

    def scaled(self, iterations: int) -> Profile:
        """The profile at another length; its name then says the length, and so does the runs' folder.

        It is evaluated four times, or every 1,000 steps as in He15 figure 6 where that is more, whatever profile it
        comes from: runs of one length are comparable.
        """
        evaluations = max(4, math.ceil(iterations / 1_000))
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
    networks: those that are counted beside the arms that are trained, or alone.
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
    networks: Sequence[CountedArm] = ()
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
        return max((profile.iterations or arm.recipe.iterations for arm in self.arms_of(profile)), default=0)

    def arms_of(self, profile: Profile) -> list[Arm]:
        """The arms that a profile trains unless asked for others, in the experiment's order."""
        return [arm for arm in self.arms if profile.arms is None or arm.name in profile.arms]

    @property
    def names(self) -> list[str]:
        """Of all arms, those of counted networks last."""
        return [arm.name for arm in (*self.arms, *self.networks)]

    @property
    def published_resolution(self) -> int | None:
        """The largest resolution of the profiles, in pixels; None where images are taken as they are."""
        return max((profile.resolution for profile in self.profiles if profile.resolution), default=None)

    @property
    def is_counted(self) -> bool:
        """Whether nothing is trained, and no data are needed."""
        return not self.arms

    def runs_of(self, profile: Profile, seeds: Sequence[int]) -> list[tuple[str, int]]:
        """(arm, seed) of the runs that a profile asks for at these seeds."""
        trained = [(arm.name, seed) for arm in self.arms_of(profile) for seed in seeds]
        return trained + [(network.name, COUNTED_SEED) for network in self.networks]


def _named(items: Sequence[Any], name: str, kind: str, experiment: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in items)
    raise UserError(f"unknown {kind} {name!r}: {experiment} has {known}")
