"""Curves of several seeds in one look: their mean as the line, the seeds themselves thin and pale behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[Sequence[float], Sequence[float]]

PALE = 0.35  # opacity of a seed's line
SMALLEST = 1e-38  # what a zero counts as in a geometric mean


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of what a logarithmic axis shows."""
    return math.exp(fmean(math.log(max(value, SMALLEST)) for value in values))


def mean_curve(runs: Sequence[Curve], centre: Callable[[Sequence[float]], float] = fmean) -> Curve:
    """The mean of the runs, only where every one of them has a value.

    It stands at the readings of the run that has the fewest. The others are taken as straight between two readings of
    their own, so that runs read at other steps can be averaged. Empty where a run has no reading at all.
    """
    if not runs or not all(len(x) for x, _ in runs):
        return [], []
    import numpy as np

    first, last = max(min(x) for x, _ in runs), min(max(x) for x, _ in runs)
    fewest = min((x for x, _ in runs), key=len)
    common = [place for place in fewest if first <= place <= last]
    columns = [np.interp(common, x, y).tolist() for x, y in runs]
    return common, [centre(values) for values in zip(*columns, strict=True)]


def draw_seeds(
    ax: Axes,
    runs: Sequence[Curve],
    look: dict[str, Any],
    line: str = "-",
    *,
    label: str,
    marks: int = 10,
    linewidth: float = 1.4,
    centre: Callable[[Sequence[float]], float] = fmean,
    zorder: float = 2,
) -> None:
    """Draw an arm: the mean over its runs with about so many marks (0 for none), and each run pale behind it.

    The mean ends where the first run does, while the pale lines go on. look: `color` and `marker`.
    """
    if len(runs) > 1:
        for x, y in runs:
            ax.plot(
                x,
                y,
                line,
                color=look["color"],
                alpha=PALE,
                linewidth=0.6,
                zorder=zorder - 0.2,
                label=f"_seed of {label}",
            )
    x, y = mean_curve(runs, centre)
    marker = {"marker": look["marker"], "markersize": 3.5, "markevery": every(x, marks)} if marks else {}
    ax.plot(x, y, line, color=look["color"], linewidth=linewidth, label=label, zorder=zorder, **marker)


def every(points: Sequence, marks: int = 10) -> int:
    """The distance between marks that gives a line of these points about so many."""
    return max(1, len(points) // marks)


def of_seeds(counts: Sequence[int]) -> str:
    """What lines stand for, as a sentence of a caption. counts: how many runs each arm has."""
    if max(counts, default=0) <= 1:
        return "Each line is one seed."
    return "Lines are means over seeds, as far as every seed has a value; the seeds are thin and pale behind them."
