"""Figure of the shift test: accuracy on test images moved by some pixels."""

from __future__ import annotations

from resnet_repro.figures.alternative import by_panel, first_and_last, from_to, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.panels import Panels, legend_below, shown_panels
from resnet_repro.figures.seeds import Curve, draw_seeds, of_seeds
from resnet_repro.figures.style import WIDTH, looks
from resnet_repro.records.record import Record


def shift_curves(panels: Panels) -> FigureSpec:
    """Test accuracy against the shift of the images in pixels, one panel per group of arms."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = shown_panels(context, panels)
        if not shown:
            return None
        figure = Figure(figsize=(WIDTH, 2.6))
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        ends: dict[str, dict[str, str]] = {}
        for ax, (title, arms) in zip(axes, shown.items(), strict=True):
            style = looks([arm.name for arm in panels[title]])
            for arm in arms:
                runs = [_accuracy(record) for record in context.of(arm.name)]
                draw_seeds(ax, runs, style[arm.name], label=arm.name)
                ends.setdefault(title, {})[arm.name] = from_to(first_and_last(runs), "%")
            ax.set_title(title)
            ax.set_xlabel("shift (pixels)")
            ax.set_xticks(range(5))
            legend_below(ax, [arm.name for arm in arms], style, len(shown))
        axes[0].set_ylabel("test accuracy (%)")
        counts = [len(context.of(arm.name)) for arms in shown.values() for arm in arms]
        caption = (
            "Shift test: accuracy on all test images moved by whole pixels, mean over down, up, right and left; the vacated "
            f"border is black. {of_seeds(counts)}"
        )
        alternative = (
            f"Test accuracy without a shift and at the largest shift, of up to 4 pixels, {over_seeds(counts)}. "
            f"{by_panel(ends)}"
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("shifts", draw)


def _accuracy(record: Record) -> Curve:
    """Return (pixels, accuracies in percent) of the shift test; empty for runs without a score."""
    rows = record.table("shifts")
    return [int(row["pixels"]) for row in rows], [100 - float(row["error"]) for row in rows]
