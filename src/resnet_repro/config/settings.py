"""Everything that determines what a run computes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from resnet_repro.config.arm import Arm, Weights
from resnet_repro.errors import UserError

SCORED_STEP = 500  # images: the fewest that are scored, and what more of them are a multiple of
SCORED_WHOLE = 2_000  # steps from which on scoring all images costs little beside the training


# Steps of a run from which on its step is one CUDA graph: recording it takes as long as some eager steps, and in shorter runs
# the gradients of most steps are read.
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
        return Scored(*(max(1, math.ceil(steps * per_step / SCORED_STEP)) * SCORED_STEP for per_step in (5, 25, 50)))


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
        """As JSON gives it back: tuples are lists."""
        return msgspec.json.decode(msgspec.json.encode(self))

    @staticmethod
    def from_json(data: object) -> RunSettings:
        """The settings that `to_json` gave, in this version or an earlier one; fields added since have their defaults.

        Raises UserError for those of another version.
        """
        try:
            settings = msgspec.convert(data, RunSettings)
            if unknown := _unknown(data, settings.to_json()):
                raise ValueError(f"it knows no {', '.join(unknown)}")
        except ValueError as error:
            raise UserError(f"these are settings of another version ({error}): train the run again") from error
        return settings


def _unknown(data: Any, known: Any) -> list[str]:
    """Keys of nested objects that the same objects of this version lack, but for those that say nothing."""
    if not (isinstance(data, Mapping) and isinstance(known, Mapping)):
        return []
    deeper = [key for name in data.keys() & known.keys() for key in _unknown(data[name], known[name])]
    return sorted(key for key in data.keys() - known.keys() if data[key] is not None) + deeper
