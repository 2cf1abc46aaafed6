"""The curves of the paper, read from the vector paths of its figures (±0.04 points)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

Curve = tuple[list[float], list[float]]


@cache
def _figures() -> dict[str, Any]:
    return json.loads((files("resnet_repro.report") / "he15_figures.json").read_text())


def he15_error_curves(arm: str) -> dict[str, Curve]:
    """{"train" or "test": (iterations, error in percent)} of He15 figure 6; empty for nets that it does not show.

    Training error is the running one, on augmented batches. The figure is cut off at 20 %.
    """
    curves = _figures()["fig6_cifar10_error_percent"].get(arm, {})
    return {split: _columns(points) for split, points in curves.items()}


def he15_layer_responses(arm: str) -> Curve | None:
    """(layer, standard deviation of its response) of He15 figure 7, in the layers' order; None where not shown."""
    shown = _figures()["fig7_layer_response_std"].get(arm)
    return _columns(shown["original_order"]) if shown else None


def _columns(points: list[list[float]]) -> Curve:
    return [point[0] for point in points], [point[1] for point in points]
