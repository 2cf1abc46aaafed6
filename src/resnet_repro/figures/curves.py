"""Figures of quantities along the training: errors, losses, distances, shifts of layer inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from resnet_repro.figures.alternative import by_panel, last, number, over_seeds, unit_of
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.panels import (
    Panels,
    label_axes,
    legend_below,
    line_key,
    panel_axes,
    panel_grid,
    paper_entry,
    seeds_entry,
    shown_panels,
)
from resnet_repro.figures.published import HE15_FIGURE_6, Published
from resnet_repro.figures.seeds import Curve, draw_seeds, every, of_seeds
from resnet_repro.figures.style import PAPER_GREY, looks
from resnet_repro.records.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINING_POINTS = 60  # approximate number of points to which the running error is averaged
ERROR_LINES = (("training, running", {"linestyle": "--"}), ("test", {"linestyle": "-"}))


def error_curves(panels: Panels, paper: Published = HE15_FIGURE_6) -> FigureSpec:
    """Training (dashed) and test (solid) error against iterations, one panel per group of arms, as in the paper's figure.

    The paper's curves of the same nets are grey behind ours if the schedules are equal, which prefixes satisfy too;
    otherwise they are in panels below.
    """
    caption = "Training error (dashed: running, on the training batches) and test error (solid, with markers)."
    lines = Lines("running_train_error", "test_error", "error (%)", caption, ERROR_LINES)
    return FigureSpec("error_curves", partial(_beside_published, panels, lines, paper))


@dataclass(frozen=True)
class Lines:
    """Two columns of metrics.csv that are drawn against iterations."""

    dashed: str
    solid: str
    label: str
    """Of the vertical axis."""
    caption: str
    key: Sequence[tuple[str, Mapping[str, Any]]]
    """(label, properties) of the line styles."""
    log: bool = False
    """Whether the vertical axis is logarithmic."""


def _beside_published(panels: Panels, lines: Lines, paper: Published, context: Context) -> Drawing | None:
    """Draw our curves with the published ones of the same nets: grey behind ours, or below if the schedules differ."""
    shown = shown_panels(context, panels)
    if not shown:
        return None
    same_schedule = _longest(context, shown) == paper.iterations
    published_arms = {
        title: [arm.name for arm in arms if paper.curves(arm.name)] if context.published else []
        for title, arms in shown.items()
    }
    behind = same_schedule and any(published_arms.values())
    below = not same_schedule and any(published_arms.values())
    figure, rows = panel_grid(shown, extra_rows=1 if below else 0)
    ends: dict[str, dict[str, str]] = {}
    for ax, (title, arms) in zip(panel_axes(rows, shown), shown.items(), strict=True):
        style = looks([arm.name for arm in arms])
        for arm in arms:
            drawn = _our_lines(ax, context.of(arm.name), style[arm.name], arm.name, lines.dashed, lines.solid)
            ends.setdefault(title, {})[arm.name] = _ends(drawn)
        ax.set_title(title + (f" (grey: {paper.source})" if same_schedule and published_arms[title] else ""))
        if same_schedule:
            for name in published_arms[title]:
                _published(ax, name, paper, style[name] | {"color": PAPER_GREY})
            if paper.limits:
                bottom, top = paper.limits
                ax.set_ylim(bottom, max(top, 1.1 * _worst(context, shown)))
        legend_below(ax, list(style), style, len(rows[0]))
    if below:
        for ax, (title, arms) in zip(rows[1], shown.items(), strict=True):
            style = looks([arm.name for arm in arms])
            for name in published_arms[title]:
                _published(ax, name, paper, style[name])
            ax.set_title(f"{paper.name}: {title},\n{paper.length:,} iterations")
            if paper.limits:
                ax.set_ylim(*paper.limits)
            ax.set_visible(bool(published_arms[title]))
    if lines.log:
        for ax in figure.axes:
            ax.set_yscale("log")
    label_axes(rows, lines.label)
    every_arm = [arm for arms in shown.values() for arm in arms]
    key = [*lines.key, *seeds_entry(context, every_arm), *([paper_entry(paper.name)] if behind else [])]
    line_key(figure, key)
    caption = f"{lines.caption} {of_seeds([len(context.of(arm.name)) for arm in every_arm])}"
    if behind:
        caption += f" Grey: the curves of {paper.name}."
    elif below:
        caption += f" Below: the curves of {paper.name} over {paper.length:,} iterations, on different axes."
    names = f"{_words(lines.dashed)} and {_words(lines.solid)}"
    subject = f"{names.capitalize()}{unit_of(lines.label)} {_against(context, shown)}"
    alternative = f"{subject}. At the end of the curves, {by_panel(ends)}"
    if behind or below:
        their_ends = {
            title: {name: _ends([y[-1] for _, y in paper.curves(name).values()]) for name in of_panel}
            for title, of_panel in published_arms.items()
            if of_panel
        }
        alternative += f" At the end of {paper.name}, after {paper.length:,} iterations, {by_panel(their_ends)}"
    return Drawing(figure, caption, alternative)


def _against(context: Context, shown: Panels) -> str:
    """Describe the horizontal axis and the seeds of an alternative text."""
    counts = [len(context.of(arm.name)) for arms in shown.values() for arm in arms]
    length = context.length_of(arm.name for arms in shown.values() for arm in arms)
    return f"against iterations, up to {length}, {over_seeds(counts)}"


def _ends(ends: Sequence[float]) -> str:
    return f"has {' and '.join(map(number, ends))}"


def _worst(context: Context, shown: Panels) -> float:
    """Return the highest final error in percent, which can exceed the paper's axis after a short prefix."""
    runs = [record for arms in shown.values() for arm in arms for record in context.of(arm.name)]
    return max((error for record in runs if (error := record.value("test_error")) is not None), default=0.0)


def curves(
    name: str,
    panels: Panels,
    dashed: str,
    solid: str,
    label: str,
    log: bool = False,
    published: Published | None = None,
) -> FigureSpec:
    """Two columns of metrics.csv against iterations, one panel per group of arms.

    name: of the figure. dashed, solid: the columns. label: of the vertical axis. log: whether that axis is logarithmic.
    published: published curves of these columns, drawn as by `error_curves`.
    """
    caption = f"{_words(dashed).capitalize()} (dashed) and {_words(solid)} (solid, with markers)."
    key = ((_words(dashed), {"linestyle": "--"}), (_words(solid), {"linestyle": "-"}))
    if published is not None:
        lines = Lines(dashed, solid, label, caption, key, log)
        return FigureSpec(name, partial(_beside_published, panels, lines, published))

    def paint(ax: Axes, runs: Sequence[Record], look: dict[str, Any], arm: str) -> list[float]:
        if log:
            ax.set_yscale("log")
        return _our_lines(ax, runs, look, arm, dashed, solid)

    return _panelled(name, panels, paint, label, caption, key)


def distance_curves(panels: Panels) -> FigureSpec:
    """Distance of the parameters from their values at the start, against iterations, for the arms that measure it."""

    def paint(ax: Axes, runs: Sequence[Record], look: dict[str, Any], arm: str) -> list[float]:
        distances = [record.curve("distance", "distance") for record in runs]
        if not any(x for x, _ in distances):
            return []  # trained from scratch; the arm still keeps its colour in the panel
        draw_seeds(ax, distances, look, label=arm)
        return [last(distances)]

    caption = "Distance of all parameters θ from those at the start of further training, |θ − θ₀| / |θ₀|."
    return _panelled("distance", panels, paint, "distance", caption)


def input_shifts(panels: Panels) -> FigureSpec:
    """Shift of the mean and standard deviation of layer inputs between two measurements, against iterations."""

    def paint(ax: Axes, runs: Sequence[Record], look: dict[str, Any], arm: str) -> list[float]:
        tables = [record.table("inputs") for record in runs]
        ends = []
        for column, line in (("mean_shift", "-"), ("std_shift", "--")):
            shifts = [_mean_by_iteration(rows, column) for rows in tables]
            label = f"{arm} {column.partition('_')[0]}"
            draw_seeds(ax, shifts, look, line, label=label, linewidth=1, marks=10 if line == "-" else 0)
            ends.append(last(shifts))
        ax.set_yscale("log")
        return ends

    caption = (
        "Shift of the layers' inputs since the previous measurement, a twentieth of the training earlier: mean (solid) and "
        "standard deviation (dashed) per channel, in units of the layer's standard deviation, averaged over layers."
    )
    key = (("mean", {"linestyle": "-"}), ("standard deviation", {"linestyle": "--"}))
    return _panelled("input_shifts", panels, paint, "shift (σ)", caption, key)


# -- helpers -----------------------------------------------------------------------------------------------------------


def _panelled(
    name: str,
    panels: Panels,
    paint: Callable[[Axes, Sequence[Record], dict[str, Any], str], list[float]],
    label: str,
    caption: str,
    key: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> FigureSpec:
    """Return a figure with one panel per group of arms.

    paint: called as paint(axes, runs, look, arm) for each arm; returns the last value of each line, in the order of `key`,
    or nothing if it drew nothing. key: (label, properties) of the line styles.
    """

    def draw(context: Context) -> Drawing | None:
        shown = shown_panels(context, panels)
        if not shown:
            return None
        figure, rows = panel_grid(shown)
        ends: dict[str, dict[str, str]] = {}
        for ax, (title, arms) in zip(panel_axes(rows, shown), shown.items(), strict=True):
            style = looks([arm.name for arm in arms])
            painted = {arm.name: paint(ax, context.of(arm.name), style[arm.name], arm.name) for arm in arms}
            drawn = {arm: values for arm, values in painted.items() if values}
            ax.set_title(title)
            if drawn:
                legend_below(ax, list(drawn), style, len(rows[0]))
                ends[title] = {arm: _ends(values) for arm, values in drawn.items()}
        label_axes(rows, label)
        every_arm = [arm for arms in shown.values() for arm in arms]
        if entries := [*key, *seeds_entry(context, every_arm)]:
            line_key(figure, entries)
        names = " and ".join(name for name, _ in key) or label
        alternative = f"{names.capitalize()}{unit_of(label)} {_against(context, shown)}."
        if ends:
            alternative += f" At the end of the curves, {by_panel(ends)}"
        return Drawing(figure, f"{caption} {of_seeds([len(context.of(arm.name)) for arm in every_arm])}", alternative)

    return FigureSpec(name, draw)


def _longest(context: Context, shown: Panels) -> int:
    return max(r.settings.iterations for arms in shown.values() for arm in arms for r in context.of(arm.name))


def _our_lines(ax: Axes, runs: Sequence[Record], look: dict, arm: str, dashed: str, solid: str) -> list[float]:
    """Draw two columns of metrics.csv; return the last value of each line."""
    running = [record.curve("metrics", dashed) for record in runs]
    size = max(1, max(len(x) for x, _ in running) // TRAINING_POINTS)
    thinned = [_thinned(x, y, size) for x, y in running]
    draw_seeds(ax, thinned, look, "--", label=f"{arm} train", linewidth=1, marks=0)
    scored = [_to_the_end(record, solid) for record in runs]
    draw_seeds(ax, scored, look, label=f"{arm} {solid.partition('_')[0]}")
    return [last(thinned), last(scored)]


def _to_the_end(record: Record, column: str) -> Curve:
    """Return a column of metrics.csv, completed by the final score if the last step has no row."""
    x, y = record.curve("metrics", column)
    final, end = record.value(column), record.iterations
    if final is not None and (not x or x[-1] < end):
        return [*x, end], [*y, final]
    return x, y


def _published(ax: Axes, arm: str, paper: Published, look: dict) -> None:
    for split, (x, y) in paper.curves(arm).items():
        dashed = split == "train"
        ax.plot(
            x,
            y,
            "--" if dashed else "-",
            color=look["color"],
            linewidth=0.8 if dashed else 1.2,
            marker=None if dashed else look["marker"],
            markersize=3,
            markevery=every(x),
            label=f"{paper.source} {arm} {split}",
            zorder=1,
        )


def _thinned(x: Sequence[int], y: Sequence[float], size: int) -> Curve:
    """Average consecutive groups of `size` points."""
    parts = [slice(i, i + size) for i in range(0, max(1, len(x) - size + 1), size)] if len(x) else []
    if parts:
        parts[-1] = slice(parts[-1].start, len(x))  # a short remainder would be noisier than the other groups
    return [fmean(x[part]) for part in parts], [fmean(y[part]) for part in parts]


def _mean_by_iteration(rows: Sequence[Mapping[str, str]], column: str) -> Curve:
    by_iteration: dict[int, list[float]] = {}
    for row in rows:
        by_iteration.setdefault(int(row["iteration"]), []).append(float(row[column]))
    return list(by_iteration), [fmean(values) for values in by_iteration.values()]


def _words(column: str) -> str:
    return re.sub(r"\btrain\b", "training", column.replace("_", " "))
