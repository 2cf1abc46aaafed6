"""Axes and legends of figures with one panel per group of arms; legends do not cover data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from resnet_repro.config.arm import Arm
from resnet_repro.figures.figure import Context
from resnet_repro.figures.style import LEGEND_SIZE, PAPER_GREY, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Panels = Mapping[str, Sequence[Arm]]
Looks = Mapping[str, Mapping[str, Any]]

COLUMNS = 2  # panels side by side
LEGEND_DROP = 0.42  # inches from the axis to a legend below it: room for tick labels and the axis label
HANDLE, LETTER = 0.45, 0.057  # inches per legend entry: its line with gaps, and each letter
KEY_COLOUR = "#333333"


def shown_panels(context: Context, panels: Panels) -> dict[str, list[Arm]]:
    """Return the panels with only the arms that have runs, without empty panels."""
    with_runs = {title: [arm for arm in arms if context.of(arm.name)] for title, arms in panels.items()}
    return {title: arms for title, arms in with_runs.items() if arms}


def panel_grid(shown: Panels, extra_rows: int = 0) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and its rows of axes: one row with extra rows below it, or rows of `COLUMNS` panels."""
    from matplotlib.figure import Figure

    columns = len(shown) if extra_rows else min(len(shown), COLUMNS)
    rows = 1 + extra_rows if extra_rows else ceil(len(shown) / columns)
    lines = max(legend_lines([arm.name for arm in arms], columns) for arms in shown.values())
    height = 2.7 if rows == 1 else 2.15 * rows
    figure = Figure(figsize=(WIDTH, height + 0.4 + 0.16 * lines * (rows - extra_rows)))
    axes = figure.subplots(rows, columns, squeeze=False, sharey="row")
    for ax in axes.flat[len(shown) * (1 + extra_rows) :]:
        ax.set_visible(False)
    return figure, [list(row) for row in axes]


def panel_axes(rows: Sequence[Sequence[Axes]], shown: Panels) -> list[Axes]:
    """Return the axes of our curves, one per group shown, from any number of rows."""
    return [ax for row in rows for ax in row][: len(shown)]


def label_axes(rows: Sequence[Sequence[Axes]], label: str) -> None:
    """Label the axes: iterations below each panel, `label` on the left of each row."""
    for row in rows:
        row[0].set_ylabel(label)
        for ax in row:
            ax.set_xlabel("iteration")
            ax.set_xlim(left=0)


def legend_below(ax: Axes, names: Sequence[str], look: Looks, columns: int) -> None:
    """Draw a legend of arms below a panel.

    columns: number of panels side by side, which limits the width.
    """
    from matplotlib.transforms import ScaledTranslation

    figure = ax.get_figure()
    assert figure is not None
    below = ax.transAxes + ScaledTranslation(0, -LEGEND_DROP, figure.dpi_scale_trans)
    handles = [arm_handle(look[name]) for name in names]
    ax.legend(
        handles, names, ncols=entries_beside(names, columns), fontsize=LEGEND_SIZE, loc="upper center",
        bbox_to_anchor=(0.5, 0), bbox_transform=below, columnspacing=1.0, handlelength=1.7, borderaxespad=0,
    )  # fmt: skip


def arm_handle(look: Mapping[str, Any]) -> Line2D:
    """Return the legend handle of an arm, the same for all its line styles."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look["color"], marker=look["marker"], markersize=4)


def legend_lines(names: Sequence[str], columns: int) -> int:
    """Return the number of text lines that `legend_below` needs."""
    return ceil(len(names) / entries_beside(names, columns))


def entries_beside(names: Sequence[str], columns: int) -> int:
    """Return how many legend entries fit side by side below a panel, of as many `columns` as the figure has."""
    width = (WIDTH - 0.6) / columns
    return max(1, min(len(names), int(width / (HANDLE + LETTER * max(map(len, names))))))


def line_key(figure: Figure, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Draw a legend of line styles below the whole figure.

    entries: (label, properties of the line).
    """
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **{"color": KEY_COLOUR, **line}, label=label) for label, line in entries]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=LEGEND_SIZE, borderaxespad=0
    )


def seeds_entry(context: Context, arms: Iterable[Arm]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the `line_key` entry for the pale lines of seeds; empty if no arm has several seeds."""
    several = any(len(context.of(arm.name)) > 1 for arm in arms)
    return [("each seed", {"linewidth": 0.6, "alpha": 0.6})] if several else []


def paper_entry(name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the `line_key` entry for published curves behind ours."""
    return name, {"color": PAPER_GREY}
