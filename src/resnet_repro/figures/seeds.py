"""Curves of several seeds: the mean as a line, the single seeds thin and pale behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[Sequence[float], Sequence[float]]

PALE = 0.35  # opacity of a seed's line
SMALLEST = 1e-38  # replaces zeros in a geometric mean


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean, which is the mean on a logarithmic axis."""
    return math.exp(fmean(math.log(max(value, SMALLEST)) for value in values))


def mean_curve(runs: Sequence[Curve], centre: Callable[[Sequence[float]], float] = fmean) -> Curve:
    """Return the mean curve over the range in which every run has values.

    Its points are those of the run with the fewest; other runs are linearly interpolated, since they may be measured at
    other steps. Empty if any run has no points. centre: the mean to take.
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
    """Draw an arm: the mean over its runs, and each run pale behind it.

    The mean ends with the shortest run; the pale lines continue. look: `color` and `marker`. marks: approximate number of
    markers, 0 for none.
    """
    if len(runs) > 1:
        # One line with gaps for all seeds: hundreds of separate lines take many times longer to draw.
        gap = [math.nan]
        every_x = [value for x, _ in runs for value in (*x, *gap)]
        every_y = [value for _, y in runs for value in (*y, *gap)]
        ax.plot(
            every_x,
            every_y,
            line,
            color=look["color"],
            alpha=PALE,
            linewidth=0.6,
            zorder=zorder - 0.2,
            label=f"_seeds of {label}",
        )
    x, y = mean_curve(runs, centre)
    marker = {"marker": look["marker"], "markersize": 3.5, "markevery": every(x, marks)} if marks else {}
    ax.plot(x, y, line, color=look["color"], linewidth=linewidth, label=label, zorder=zorder, **marker)


def every(points: Sequence, marks: int = 10) -> int:
    """Return the spacing at which a line of these points gets about `marks` markers."""
    return max(1, len(points) // marks)


def of_seeds(counts: Sequence[int]) -> str:
    """Return the sentence of a caption that explains the lines.

    counts: number of runs of each arm.
    """
    if max(counts, default=0) <= 1:
        return "Each line is one seed."
    return "Lines are means over seeds, as far as every seed has values; thin pale lines are single seeds."
