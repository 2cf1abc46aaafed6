"""Figures of final errors: means over seeds with the single seeds behind them, and published values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import by_panel, listed, number, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.published import HE15_STEPS, he15_errors_at
from resnet_repro.figures.seeds import PALE
from resnet_repro.figures.style import COLOURS, MARKERS, PAPER_GREY, WIDTH
from resnet_repro.records.metrics import metrics_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# {layers: test error in percent} of He15 table 6; complete, so that reports show all of it for any arms.
HE15_TABLE_6 = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43, 1202: 7.93}
HE15_110_LAYERS = (6.61, 0.16)  # mean and standard deviation of five runs
SPLITS = (("train_error", "training error", 0), ("test_error", "test error", 1))


def errors_by_depth(arms: Sequence[Arm]) -> FigureSpec:
    """Final training and test error against the number of layers.

    The test error of He15 is behind ours if ours end at a step that the paper shows, otherwise in a separate panel.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        depths = {arm.name: int(arm.model.options["depth"]) for arm in arms if _values(context, arm, "test_error")}
        if not depths:
            return None
        published, source = _published(context, arms) if context.published else ({}, "")
        same_step = context.prefix is not None or context.iterations == HE15_STEPS
        panels = 2 if published and not same_step else 1
        figure = Figure(figsize=(WIDTH, 3.0))
        axes = figure.subplots(1, panels, squeeze=False)[0]
        for metric, label, look in SPLITS:
            seeds = {depths[arm.name]: _values(context, arm, metric) for arm in arms if arm.name in depths}
            means = {depth: mean(values) for depth, values in seeds.items() if values}
            for depth, values in seeds.items():
                _pale(axes[0], [depth] * len(values), values, look)
            line = ("-" if look else "--") + MARKERS[look]
            axes[0].plot(list(means), list(means.values()), line, color=COLOURS[look], markersize=4, label=label)
        axes[0].set_title(f"ours, {context.length} iterations" + (" (grey: He15)" if published and same_step else ""))
        if published:
            label = f"{source}: test error"
            style = {"color": PAPER_GREY, "markersize": 4, "zorder": 1.5, "label": label}
            axes[-1].plot(list(published), list(published.values()), "-s", **style)
            if context.prefix is None:
                spread = {"color": "black", "capsize": 2, "marker": "D", "markersize": 3, "linestyle": "none"}
                axes[-1].errorbar(110, *HE15_110_LAYERS, **spread, zorder=1.6)
        if panels == 2:
            axes[1].set_title(f"{source}, {HE15_STEPS:,} iterations")
        figure.legend(*_handles(axes), loc="outside lower center", ncols=3)
        shown = [set(depths.values()) | (set(published) if same_step else set()), set(published)]
        for ax, ticks in zip(axes, shown[:panels], strict=True):
            ax.set_xscale("log")
            ax.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
            ax.minorticks_off()
            ax.set_xlabel("layers")
            ax.set_ylim(0, 1.08 * max(ax.dataLim.y1, ax.get_ylim()[1] / 1.1))
        axes[0].set_ylabel("error (%)")
        caption = f"Error after the last step against the number of layers. {_of_seeds(context, arms)}"
        if published and context.prefix is None:
            caption += (
                " The published value at 110 layers is the best of five runs; black: their mean ± standard deviation."
            )
        elif published:
            caption += f" Grey: the paper's test error at {context.prefix:,} iterations, read from the curves."
        return Drawing(figure, caption, _by_depth(context, arms, depths) + _their_depths(source, published))

    return FigureSpec("errors_by_depth", draw)


def _by_depth(context: Context, arms: Sequence[Arm], depths: Mapping[str, int]) -> str:
    """Say the mean errors at each depth."""
    lines = {}
    for metric, label, _ in SPLITS:
        errors = {depths[arm.name]: _values(context, arm, metric) for arm in arms if arm.name in depths}
        lines[label] = {f"{depth} layers": f"have {number(mean(runs), '%')}" for depth, runs in errors.items() if runs}
    counts = [len(context.of(arm)) for arm in depths]
    return (
        f"Error after {context.length} iterations against the number of layers, {over_seeds(counts)}. "
        f"{by_panel({label: errors for label, errors in lines.items() if errors})}"
    )


def _their_depths(source: str, published: Mapping[int, float]) -> str:
    if not published:
        return ""
    return f" {source}, test error: {listed({f'{depth} layers': f'have {e:g} %' for depth, e in published.items()})}."


def _handles(axes: Sequence[Axes]) -> tuple[list, list[str]]:
    pairs = [pair for ax in axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    return [handle for handle, _ in pairs], [label for _, label in pairs]


def errors_by_arm(groups: Mapping[str, Sequence[Arm]]) -> FigureSpec:
    """Final training and test error of each arm.

    groups: {title: arms}, one panel each.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = {title: [arm for arm in arms if _values(context, arm, "test_error")] for title, arms in groups.items()}
        shown = {title: arms for title, arms in shown.items() if arms}
        if not shown:
            return None
        rows = sum(len(arms) for arms in shown.values())
        figure = Figure(figsize=(WIDTH, 0.6 + 0.35 * len(shown) + 0.19 * rows))
        axes = figure.subplots(
            len(shown), 1, squeeze=False, sharex=True, height_ratios=[len(arms) + 0.6 for arms in shown.values()]
        )
        for row, (title, arms) in zip(axes, shown.items(), strict=True):
            _strip(row[0], context, arms)
            row[0].set_title(title, loc="left")
        axes[-1][0].set_xlabel("error (%)")
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles[:2], labels[:2], loc="outside upper right", ncols=2)
        every_arm = [arm for arms in shown.values() for arm in arms]
        errors = {title: {arm.name: _both(context, arm) for arm in arms} for title, arms in shown.items()}
        return Drawing(
            figure,
            f"Error after the last step. {_of_seeds(context, every_arm)} A diverged run counts with the error of guessing.",
            f"Training and test error in percent after {context.length_of(arm.name for arm in every_arm)} iterations, "
            f"{over_seeds([len(context.of(arm.name)) for arm in every_arm])}. {by_panel(errors)}",
        )

    return FigureSpec("errors_by_arm", draw)


def _both(context: Context, arm: Arm) -> str:
    errors = [_values(context, arm, metric) for metric, _, _ in SPLITS]
    return "has " + " and ".join(number(mean(runs) if runs else math.nan) for runs in errors)


def _strip(ax: Axes, context: Context, arms: Sequence[Arm]) -> None:
    for place, arm in enumerate(arms):
        for metric, label, look in SPLITS:
            values = _values(context, arm, metric)
            height = place + (0.15 if look else -0.15)
            _pale(ax, values, [height] * len(values), look)
            ax.plot(mean(values), height, MARKERS[look], color=COLOURS[look], markersize=4.5, label=label)
    ax.set_yticks(range(len(arms)), [arm.name for arm in arms])
    ax.set_ylim(len(arms) - 0.4, -0.6)


def _pale(ax: Axes, x: Sequence[float], y: Sequence[float], look: int) -> None:
    """Draw the seeds behind their mean if there are several."""
    if len(x) > 1:
        ax.plot(x, y, MARKERS[look], color=COLOURS[look], alpha=PALE, markersize=3, markeredgewidth=0, zorder=1.8)


def _of_seeds(context: Context, arms: Sequence[Arm]) -> str:
    """Return the sentence of a caption that explains the markers."""
    several = any(len(context.of(arm.name)) > 1 for arm in arms)
    return "Markers are means over seeds; pale markers are single seeds." if several else "Each marker is one seed."


def _published(context: Context, arms: Sequence[Arm]) -> tuple[Mapping[int, float], str]:
    """Return the paper's {layers: test error} at the end, or at the step where a prefix ends, and its source."""
    if context.prefix is None:
        return HE15_TABLE_6, "He15 table 6"
    errors = {
        int(arm.model.options["depth"]): he15_errors_at(arm.name, context.prefix, arm.recipe.iterations).get("test")
        for arm in arms
    }
    return {
        depth: error for depth, error in errors.items() if error is not None and math.isfinite(error)
    }, "He15 figure 6"


def _values(context: Context, arm: Arm, metric: str) -> list[float]:
    values = (metrics_of(record).get(metric) for record in context.of(arm.name))
    return [value for value in values if value is not None]
