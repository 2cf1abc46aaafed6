"""Published curves: He15's, read from the vector paths of its figures (±0.04 points), and impl-D's table of results."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Curve = tuple[list[float], list[float]]


class Published(ABC):
    """Published curves of nets on a schedule."""

    name: str
    """As captions print it, e.g. "He15 figure 6"; begins with the source's short name."""
    iterations: int
    """Length of the schedule in steps."""

    @property
    def limits(self) -> tuple[float, float] | None:
        """Range of the published vertical axis. None: that of the curves."""
        return None

    @property
    def source(self) -> str:
        """Short name of the source."""
        return self.name.partition(" ")[0]

    @property
    def length(self) -> int:
        """Number of iterations that the curves cover."""
        return self.iterations

    @abstractmethod
    def curves(self, arm: str) -> dict[str, Curve]:
        """Return {split: (iterations, values)} of a net, "train" first; empty if it is not shown."""


@dataclass(frozen=True)
class PublishedCurves(Published):
    """A published figure of error curves, in percent."""

    name: str
    iterations: int
    bottom: float
    """Lower end of the error axis, in percent."""
    top: float
    """Upper end of the error axis, in percent; curves are cut off above it."""
    key: str
    """Entry in he15_figures.json."""
    splits: dict[str, str]
    """{name of a curve in that file: "train" or "test"}."""
    drawn_to: int | None = None
    """Iteration at which the curves end. None: the end of the schedule."""

    @property
    def length(self) -> int:
        return self.drawn_to or self.iterations

    @property
    def limits(self) -> tuple[float, float]:
        return self.bottom, self.top

    def curves(self, arm: str) -> dict[str, Curve]:
        return he15_error_curves(arm, self)


HE15_STEPS = 64_000  # of the nets for CIFAR-10, in figures 6 and 7 and table 6
HE15_FIGURE_6 = PublishedCurves(
    "He15 figure 6", HE15_STEPS, 0, 20, "fig6_cifar10_error_percent", {"train": "train", "test": "test"}
)
# Drawn to 551,000 iterations; 450,450 is the length of the schedule in common use since, which divides the rate at the same
# iterations. The test curves are errors on the validation images, central crop.
HE15_FIGURE_4 = PublishedCurves(
    "He15 figure 4",
    450_450,
    20,
    65,
    "fig4_imagenet_error_percent",
    {"train": "train", "val_center_crop": "test"},
    drawn_to=551_000,
)


@cache
def _figures() -> dict[str, Any]:
    return json.loads((files("resnet_repro.figures") / "he15_figures.json").read_text(encoding="utf-8"))


def he15_error_curves(arm: str, figure: PublishedCurves = HE15_FIGURE_6) -> dict[str, Curve]:
    """Return {"train" or "test": (iterations, errors in percent)} of a net; empty if the figure does not show it.

    The training error is the running error on augmented batches. Figure 6 is cut off at 20 %.
    """
    curves = _figures()[figure.key].get(arm, {})
    return {figure.splits[split]: _columns(points) for split, points in curves.items()}


def he15_figure_of(arm: str, schedule: int) -> PublishedCurves | None:
    """Return the figure of He15 that shows the net on a schedule of that many iterations; None without one."""
    figures = (HE15_FIGURE_6, HE15_FIGURE_4)
    return next((f for f in figures if f.iterations == schedule and he15_error_curves(arm, f)), None)


def he15_errors_at(arm: str, step: int, schedule: int) -> dict[str, float]:
    """Return {"train" or "test": error in percent} of He15's curves at a step; schedule: its length in iterations.

    Values are linearly interpolated, and infinite if the figure's upper edge cuts the curve off. Empty if no figure of that
    schedule shows the net.
    """
    figure = he15_figure_of(arm, schedule)
    if figure is None:
        return {}
    return {split: _value_at(step, curve, figure.top) for split, curve in he15_error_curves(arm, figure).items()}


def _value_at(step: int, curve: Curve, top: float) -> float:
    """Interpolate a curve; infinite from `top` on and before its first point, where it is still above the figure."""
    import numpy as np

    value = float(np.interp(step, *curve, left=math.inf))
    return value if value < top else math.inf


def he15_layer_responses(arm: str) -> Curve | None:
    """Return (layers, standard deviations of their responses) of He15 figure 7, in the layers' order; None if not shown."""
    responses = _figures()["fig7_layer_response_std"].get(arm)
    return _columns(responses["original_order"]) if responses else None


IMPL_D_EPOCH = 450  # steps
IMPL_D_NETS = {"original-as-written": "original", "preact-as-written": "proposed", "plain-as-written": "cnn"}


@dataclass(frozen=True)
class ImplDCurves(Published):
    """The course of impl-D's nets, evaluated after each of 50 epochs: the losses in nats, or the errors in percent."""

    quantity: Literal["loss", "error"]
    name: str = "impl-D"
    iterations: int = 50 * IMPL_D_EPOCH

    def curves(self, arm: str) -> dict[str, Curve]:
        if arm not in IMPL_D_NETS:
            return {}
        table = _impl_d()["curves"][IMPL_D_NETS[arm]]
        curves = {}
        for split in ("train", "validation"):
            if self.quantity == "loss":
                values = table[f"{split}_loss"]
            else:
                values = [100 * (1 - accuracy) for accuracy in table[f"{split}_accuracy"]]
            curves[split] = [float(IMPL_D_EPOCH * epoch) for epoch in range(1, len(values) + 1)], values
        return curves


@cache
def _impl_d() -> dict[str, Any]:
    return json.loads((files("resnet_repro.figures") / "impl_d_curves.json").read_text(encoding="utf-8"))


def _columns(points: list[list[float]]) -> Curve:
    return [point[0] for point in points], [point[1] for point in points]
