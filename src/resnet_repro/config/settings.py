"""Everything that determines what a run computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from resnet_repro.config.arm import Arm, Weights
from resnet_repro.errors import UserError
from resnet_repro.files import typed

SCORED_STEP = 500  # Images. Short budgets score a positive multiple of this number.
SCORED_WHOLE = 2_000  # Steps. In longer budgets, scoring all images costs little compared to training.

COMPUTED_IN = ("bf16", "fp32")  # precisions of a run
KINDS = ("cpu", "cuda", "mps")  # kinds of device


# Runs of at least this many steps execute each step as one CUDA graph. Recording the graph takes as long as several eager
# steps. In shorter runs the gradients of most steps are read, which makes these steps eager anyway.
FEWEST_CAPTURED = 80


@dataclass(frozen=True)
class Scored:
    """Numbers of images that score a run of a short budget: the first of each split, in the order of their digests."""

    along: int
    """Images of each split at evaluations during training."""
    train: int
    """Training images after the last step."""
    test: int
    """Test images, and validation images, after the last step."""

    @staticmethod
    def after(steps: int) -> Scored:
        """The numbers for a training of `steps` steps. At batch size 128, scoring takes at most a fifth of the time."""
        return Scored(*(max(1, math.ceil(steps * per_step / SCORED_STEP)) * SCORED_STEP for per_step in (5, 25, 50)))


@dataclass(frozen=True)
class RunSettings:
    """Everything that determines the results of a run. Stored with the results and compared before the run resumes."""

    experiment: str
    budget: str
    """Name of the budget's folder."""
    arm: Arm
    seed: int
    """Seed of the initialization, the order of the data, augmentation and dropout."""
    iterations: int
    """Length of the schedule in steps."""
    evaluate_every: int
    """Steps between evaluations."""
    dataset: str
    dataset_digest: str
    """Digest of the contents of the data set."""
    precision: str
    """ "bf16" or "fp32"."""
    device: str
    """Kind of device: "cpu", "cuda" or "mps"."""
    stretch: int | None = None
    """Steps after which the run ends without being scored. None: it is scored."""
    resolution: int | None = None
    """Side of the images in pixels at the input of the network. None: that of the data set."""
    weights: Weights | None = None
    """Pretrained weights that the arm starts from instead of another run. None: no such weights."""
    prefix: int | None = None
    """Steps of the published schedule after which the run ends and is scored. Its checkpoint is kept, so that a longer
    prefix can continue it. None: the run continues to the end of its schedule or share.
    """
    scored: Scored | None = None
    """Numbers of images to score. None: all."""

    @property
    def stop_at(self) -> int:
        """The last step of the run: the first end among the arm's share of the schedule, the prefix and the stretch."""
        return min(end for end in (self.whole, self.stretch, self.prefix) if end is not None)

    @property
    def followed(self) -> int:
        """The number of steps of the full schedule that the run is to follow: all, or those of the prefix."""
        return self.iterations if self.prefix is None else min(self.prefix, self.iterations)

    @property
    def whole(self) -> int:
        """The number of steps of the arm's schedule or share, even if the run ends earlier."""
        return max(1, round(self.iterations * self.arm.share)) if self.iterations else 0

    @property
    def scheduled(self) -> int:
        """The number of steps that the run takes. For a prefix: all of its schedule, since a longer one may continue it."""
        return self.stop_at if self.prefix is None else self.whole

    def to_json(self) -> dict[str, Any]:
        """The settings as decoded JSON. Tuples become lists."""
        return as_json(self)

    @staticmethod
    def from_json(data: object) -> RunSettings:
        """Read settings that `to_json` of this or an earlier version returned. Missing fields get their defaults.

        Raises UserError for settings that this version cannot read.
        """
        try:
            settings = typed(data, RunSettings)
            if unknown := unknown_fields(data, settings.to_json()):
                raise ValueError(f"unknown fields: {', '.join(unknown)}")
        except ValueError as error:
            raise UserError(f"these are settings of another version ({error}): train the run again") from error
        settings.check()
        return settings

    def check(self) -> None:
        """Raise UserError for a value that no run can be trained with. Nothing is replaced by another value."""
        arm, recipe = self.arm, self.arm.recipe
        known: dict[str, tuple[object, Sequence[object]]] = {
            "precision": (self.precision, COMPUTED_IN),
            "device": (self.device, KINDS),
        }
        for name, (value, values) in known.items():
            if value not in values:
                raise UserError(f"invalid {name} {value!r}: expected one of {', '.join(map(str, values))}")
        if arm.task == "reconstruct":
            if recipe.warm_up is not None and recipe.warm_up.until_error is not None:
                raise UserError(f"invalid warm-up of {arm.name} until a class error: expected a number of steps")
            if arm.search is not None and arm.search.metric != "validation_loss":
                raise UserError(f"invalid search of {arm.name} by {arm.search.metric}: expected validation_loss")
        least: dict[str, tuple[float | None, float]] = {
            "seed": (self.seed, 0),
            "iterations": (self.iterations, 0),
            "evaluate_every": (self.evaluate_every, 1),
            "stretch": (self.stretch, 0),
            "prefix": (self.prefix, 0),
            "resolution": (self.resolution, 1),
            f"calibrated_on of {arm.name}": (arm.calibrated_on, 0),
            f"perturbation of {arm.name}": (arm.start.perturbation if arm.start else None, 0),
            f"batch_size of {arm.name}": (recipe.batch_size, 1),
            f"validation_images of {arm.name}": (recipe.validation_images, 0),
            f"train_images of {arm.name}": (recipe.train_images, 0),
            f"padding of {arm.name}": (recipe.padding, 0),
        }
        for name, (value, smallest) in least.items():
            if value is not None and value < smallest:
                raise UserError(f"invalid {name} {value}: expected a number of at least {smallest}")


def as_json(value: Any) -> Any:
    """A dataclass as decoded JSON, with all fields.

    msgspec leaves out the fields of a dataclass that were missing in the JSON it was read from.
    """
    return msgspec.json.decode(msgspec.json.encode(asdict(value)))


def unknown_fields(data: Any, known: Any) -> list[str]:
    """Keys of nested objects that this version does not know. Keys with the value None are ignored."""
    if not (isinstance(data, Mapping) and isinstance(known, Mapping)):
        return []
    deeper = [key for name in data.keys() & known.keys() for key in unknown_fields(data[name], known[name])]
    return sorted(key for key in data.keys() - known.keys() if data[key] is not None) + deeper
