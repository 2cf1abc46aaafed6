"""The curves of the paper, read from the vector paths of its figures (±0.04 points)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Curve = tuple[list[float], list[float]]


@dataclass(frozen=True)
class PublishedCurves:
    """A figure of error curves: its name, the length of its schedule, where its axis of errors ends, in percent.

    key: its entry in the file of figures. splits: what its curves are called there, {name there: "train" or "test"}.
    drawn_to: the iteration where the curves end, if not with the schedule.
    """

    name: str
    iterations: int
    bottom: float
    top: float
    key: str
    splits: dict[str, str]
    drawn_to: int | None = None

    @property
    def length(self) -> int:
        """Iterations that the curves show."""
        return self.drawn_to or self.iterations


HE15_STEPS = 64_000  # of the nets for CIFAR-10, in figures 6 and 7 and table 6
HE15_FIGURE_6 = PublishedCurves(
    "He15 figure 6", HE15_STEPS, 0, 20, "fig6_cifar10_error_percent", {"train": "train", "test": "test"}
)
# Drawn to 551,000 iterations; the iterations here are those of the schedule customary since, with rates divided at the same
# places. Its test curves are those of the validation images, on the middle crop.
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
    return json.loads((files("resnet_repro.figures") / "he15_figures.json").read_text())


def he15_error_curves(arm: str, figure: PublishedCurves = HE15_FIGURE_6) -> dict[str, Curve]:
    """{"train" or "test": (iterations, error in percent)} of a figure of He15; empty for nets that it does not show.

    Training error is the running one, on augmented batches. Figure 6 is cut off at 20 %.
    """
    curves = _figures()[figure.key].get(arm, {})
    return {figure.splits[split]: _columns(points) for split, points in curves.items()}


def he15_figure_of(arm: str, schedule: int) -> PublishedCurves | None:
    """The figure of He15 that shows the net, trained on a schedule of so many iterations; None where none does."""
    figures = (HE15_FIGURE_6, HE15_FIGURE_4)
    return next((f for f in figures if f.iterations == schedule and he15_error_curves(arm, f)), None)


def he15_errors_at(arm: str, step: int, schedule: int) -> dict[str, float]:
    """{"train" or "test": error in percent} that He15's curves have at a step of a schedule of so many iterations.

    Straight between the points read; infinite where the figure's upper edge cuts the curve off. Empty for nets that no
    figure of that schedule shows.
    """
    figure = he15_figure_of(arm, schedule)
    if figure is None:
        return {}
    return {split: _value_at(step, curve, figure.top) for split, curve in he15_error_curves(arm, figure).items()}


def _value_at(step: int, curve: Curve, top: float) -> float:
    """A curve's value; above `top` it is cut off, before its first point too, since errors come from above."""
    import numpy as np

    value = float(np.interp(step, *curve, left=math.inf))
    return value if value < top else math.inf


def he15_layer_responses(arm: str) -> Curve | None:
    """(layer, standard deviation of its response) of He15 figure 7, in the layers' order; None where not shown."""
    shown = _figures()["fig7_layer_response_std"].get(arm)
    return _columns(shown["original_order"]) if shown else None


def _columns(points: list[list[float]]) -> Curve:
    return [point[0] for point in points], [point[1] for point in points]
