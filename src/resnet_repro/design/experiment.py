"""Classes that declare an experiment.

An `Experiment` is a question with the arms that answer it. The command line expands arms × seeds of one `Profile` into
runs. The report judges the claims from the records of these runs. Nothing here imports torch, so that an experiment
file loads in milliseconds, also on machines that only read results.
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
    """How much of the published budget the runs of an experiment spend."""

    name: str
    """Name on the command line and in folder names, e.g. "quick"."""
    iterations: int | None
    """Optimizer steps. None: the number of each arm's recipe."""
    seeds: tuple[int, ...]
    """Seeds of each arm."""
    evaluations: int
    """Evaluations during training, on test images and a fixed part of the training images."""
    dataset: str = "auto"
    """Default of the `--dataset` flag."""
    arms: tuple[str, ...] | None = None
    """Arms that run unless the user selects others. None: all."""
    stretches: Mapping[str, int] = field(default_factory=dict)
    """{arm: steps} for arms too expensive for their whole schedule. They end after these steps, and are timed and
    measured but not scored.
    """
    prefix: int | None = None
    """Step of the published schedule after which the runs end and are scored. None: whole schedules."""
    resolution: int | None = None
    """Side of the images in pixels at the input of the networks. None: the experiment does not scale images."""
    substitutes: bool = True
    """Train a substitute if pretrained weights are unavailable. False: fail instead."""
    asked_for: bool = False
    """The user chose the number of steps, so it is not adapted to the size of the data."""

    def steps(self, arm: Arm) -> int:
        """The length of the arm's schedule in steps."""
        return round((self.iterations or arm.recipe.iterations) * arm.length)

    def evaluate_every(self, steps: int) -> int:
        """Steps between two evaluations of a run of `steps` steps."""
        return max(1, math.ceil(steps / self.evaluations))

    def scaled(self, iterations: int) -> Profile:
        """The profile at another length, which appears in its name and so in the folder of its runs.

        It has four evaluations, or one per 1,000 steps as in He15 figure 6 if these are more. The number does not depend
        on the original profile, so that all runs of one length are comparable.
        """
        evaluations = max(4, math.ceil(iterations / 1_000))
        return replace(self, name=f"{iterations}it", iterations=iterations, evaluations=evaluations, asked_for=True)

    def cut_after(self, prefix: int) -> Profile:
        """The profile cut after `prefix` steps. Learning rates and steps of evaluations do not change."""
        return replace(self, name=f"prefix{prefix}", prefix=prefix)

    def prefix_of(self, arm: Arm) -> int | None:
        """The step at which the prefix ends for the arm; None if the arm's whole schedule or share is trained.

        For an arm that is not trained: the prefix of the runs whose weights it reads.
        """
        if self.prefix is None or not arm.length:
            return self.prefix
        prefix = round(self.prefix * arm.length)
        return prefix if prefix < round(self.steps(arm) * arm.share) else None

    def scored(self, arm: Arm, factor: float = 1.0) -> Scored | None:
        """The numbers of images that score the arm's runs; None for all images, as in the published budget.

        An untrained network is scored on as few as possible: it is at chance, and what it is for are its diagnostics.
        factor: length of the schedule on the user's data relative to the profile's. Without a length of its own, the
        profile has that of the arm's recipe, which is adapted to the data.
        """
        if not arm.length and arm.start is None:
            return Scored.after(0)
        steps = arm.recipe.iterations if self.iterations is None else round(factor * self.iterations)
        return None if steps >= min(arm.recipe.iterations, SCORED_WHOLE) else Scored.after(steps)

    def at(self, resolution: int) -> Profile:
        """The profile at another resolution in pixels, which appears in its name and so in the folder of its runs."""
        return replace(self, name=f"{self.name}-{resolution}px", resolution=resolution)


@dataclass(frozen=True)
class Column:
    """A column of the table of results."""

    metric: str
    """Name of the metric, as in `records.metrics`."""
    heading: str
    digits: int = 2
    """Decimals."""


ERRORS = (Column("train_error", "train %"), Column("test_error", "test %"), Column("best_test_error", "best test %"))


@dataclass(frozen=True)
class Experiment:
    """A question, the arms that answer it, and the presentation of their results."""

    name: str
    """Name on the command line, as that of the experiment's file."""
    title: str
    """Title of the report."""
    question: str
    source: str
    """Publications and sections that the experiment reproduces."""
    dataset: str
    """Data set of the published results; the default if it is available."""
    arms: Sequence[Arm]
    """Configurations to train."""
    profiles: Sequence[Profile]
    """The default profile first. "paper" is the published budget."""
    claims: Sequence[Claim]
    """Claims of the source that the report judges."""
    figures: Sequence[FigureSpec]
    """Figures of the report. The first appears on its first page."""
    published: Mapping[str, Mapping[str, float]]
    """Published values on `dataset`, {arm: {metric: value}}. The table of results shows them beside its columns."""
    published_note: str
    """Origin of the published values."""
    deviations: Sequence[str]
    """Differences from the source, one sentence or more each."""
    answers: Sequence[str] = ()
    """Sentences that answer the question, with placeholders as in `report.headline`. Each must be true for all numbers,
    so it says how much and not which is better. Sentences without their numbers are left out.
    """
    networks: Sequence[CountedArm] = ()
    """Networks to count, in addition to the arms or alone."""
    columns: Sequence[Column] = ERRORS
    """Columns of the table of results: mean ± standard deviation over seeds, for each arm that is not a control."""
    spread: bool = False
    """Each run uses all GPUs and splits its batches over them. False: one GPU per run."""
    folders: bool = False
    """The experiment also runs on class folders, and its networks accept images of any size."""

    def arm(self, name: str) -> Arm:
        """The arm of this name. Raises UserError that lists the known names."""
        return _named(self.arms, name, "arm", self.name)

    def profile(self, name: str) -> Profile:
        """The profile of this name. Raises UserError that lists the known names."""
        return _named(self.profiles, name, "profile", self.name)

    @property
    def published_profile(self) -> Profile:
        """The profile of the published budget."""
        return self.profile("paper")

    def prefix(self, steps: int) -> Profile:
        """The first `steps` steps of the published schedule; the published profile itself if these are all steps."""
        return self.published_profile if steps == self.published_steps else self.published_profile.cut_after(steps)

    @property
    def published_steps(self) -> int:
        """The length of the longest published schedule among the arms, in steps."""
        profile = self.published_profile
        return max((profile.iterations or arm.recipe.iterations for arm in self.arms_of(profile)), default=0)

    def arms_of(self, profile: Profile) -> list[Arm]:
        """The arms that a profile trains by default, in the experiment's order."""
        return [arm for arm in self.arms if profile.arms is None or arm.name in profile.arms]

    @property
    def names(self) -> list[str]:
        """The names of all arms, counted networks last."""
        return [arm.name for arm in (*self.arms, *self.networks)]

    @property
    def published_resolution(self) -> int | None:
        """The largest resolution of the profiles, in pixels; None if the experiment does not scale images."""
        return max((profile.resolution for profile in self.profiles if profile.resolution), default=None)

    @property
    def is_counted(self) -> bool:
        """Whether the experiment only counts networks, and so needs no data."""
        return not self.arms

    def compared_metrics(self, arm: str) -> set[str]:
        """The metrics of an arm or network that claims compare."""
        return {comparison.metric for claim in self.claims for comparison in claim.test if arm in comparison.arms}

    def runs_of(self, profile: Profile, seeds: Sequence[int]) -> list[tuple[str, int]]:
        """(arm, seed) of all runs of a profile at these seeds, counted networks included."""
        trained = [(arm.name, seed) for arm in self.arms_of(profile) for seed in seeds]
        return trained + [(network.name, COUNTED_SEED) for network in self.networks]


def _named(items: Sequence[Any], name: str, kind: str, experiment: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in items)
    raise UserError(f"unknown {kind} {name!r} of {experiment}: expected one of {known}")
