"""Figures of final errors: every seed a mark, beside the published values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from resnet_repro.experiment import Arm
from resnet_repro.report.counted import counted
from resnet_repro.report.figure import Context, FigureSpec
from resnet_repro.report.style import COLOURS, MARKERS, PAPER_GREY, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# He15 table 6; the whole of it, so that a report shows it whatever was trained.
HE15_TABLE_6 = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43, 1202: 7.93}
SPLITS = (("train_error", "training error", 0), ("test_error", "test error", 1))


def errors_by_depth(arms: Sequence[Arm]) -> FigureSpec:
    """Final training and test error against the number of layers, beside He15 table 6."""

    def draw(context: Context) -> tuple[Figure, str] | None:
        from matplotlib.figure import Figure

        depths = {arm.name: int(arm.model.options["depth"]) for arm in arms if _values(context, arm, "test_error")}
        if not depths:
            return None
        panels = 2 if context.published else 1
        figure = Figure(figsize=(WIDTH, 2.8))
        axes = figure.subplots(1, panels, squeeze=False)[0]
        for metric, label, look in SPLITS:
            x, y, middle = [], [], {}
            for arm in arms:
                values = _values(context, arm, metric)
                if values:
                    x += [depths[arm.name]] * len(values)
                    y += values
                    middle[depths[arm.name]] = mean(values)
            axes[0].plot(x, y, MARKERS[look], color=COLOURS[look], markersize=4, label=label)
            axes[0].plot(list(middle), list(middle.values()), "-" if look else "--", color=COLOURS[look], linewidth=1)
        axes[0].set_title(f"ours, {context.iterations:,} iterations")
        axes[0].legend()
        if context.published:
            axes[1].plot(list(HE15_TABLE_6), list(HE15_TABLE_6.values()), "-s", color=PAPER_GREY, markersize=4)
            axes[1].errorbar(110, 6.61, 0.16, color="black", capsize=2, marker="D", markersize=3, linestyle="none")
            axes[1].set_title("He15 table 6: test error, 64,000 iterations")
            axes[1].set_ylim(bottom=0)
        for ax in axes:
            ax.set_xscale("log")
            ticks = sorted(HE15_TABLE_6 if ax is not axes[0] else set(depths.values()))
            ax.set_xticks(ticks, [str(tick) for tick in ticks])
            ax.minorticks_off()
            ax.set_xlabel("layers")
        axes[0].set_ylabel("error (%)")
        caption = (
            "Error at the end of training against the number of layers. Each mark is one seed; lines join the means."
        )
        if context.published:
            caption += (
                " On the right the published values, 110 layers as the best of five runs and as their mean ± std."
            )
        return figure, caption

    return FigureSpec("errors_by_depth", draw)


def errors_by_arm(groups: Mapping[str, Sequence[Arm]]) -> FigureSpec:
    """Final training and test error of every arm, in groups."""

    def draw(context: Context) -> tuple[Figure, str] | None:
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
        return (
            figure,
            "Error at the end of training, each mark one seed, and the mean as a line. "
            "A run that diverged counts with the error of guessing.",
        )

    return FigureSpec("errors_by_arm", draw)


def _strip(ax: Axes, context: Context, arms: Sequence[Arm]) -> None:
    for place, arm in enumerate(arms):
        for metric, label, look in SPLITS:
            values = _values(context, arm, metric)
            height = place + (0.15 if look else -0.15)
            ax.plot(values, [height] * len(values), MARKERS[look], color=COLOURS[look], markersize=4, label=label)
            ax.plot([mean(values)] * 2, [height - 0.14, height + 0.14], color=COLOURS[look], linewidth=1.5)
    ax.set_yticks(range(len(arms)), [arm.name for arm in arms])
    ax.set_ylim(len(arms) - 0.4, -0.6)


def _values(context: Context, arm: Arm, metric: str) -> list[float]:
    found = (counted(record).get(metric) for record in context.of(arm.name))
    return [value for value in found if value is not None]
