"""Figure of the shift test: error on test images moved by some pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_repro.experiment import Arm
from resnet_repro.report.curves import unique_legend
from resnet_repro.report.figure import Context, FigureSpec
from resnet_repro.report.style import WIDTH, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shift_curves(panels: Mapping[str, Sequence[Arm]]) -> FigureSpec:
    """Test accuracy against the number of pixels by which the images are shifted, a panel for each group of arms."""

    def draw(context: Context) -> tuple[Figure, str] | None:
        from matplotlib.figure import Figure

        found = {title: [arm for arm in arms if context.of(arm.name)] for title, arms in panels.items()}
        shown = {title: arms for title, arms in found.items() if arms}
        if not shown:
            return None
        figure = Figure(figsize=(WIDTH, 2.6))
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for ax, (title, arms) in zip(axes, shown.items(), strict=True):
            style = looks([arm.name for arm in panels[title]])
            for arm in arms:
                for record in context.of(arm.name):
                    rows = record.table("shifts")
                    pixels = [int(row["pixels"]) for row in rows]
                    accuracy = [100 - float(row["error"]) for row in rows]
                    ax.plot(pixels, accuracy, **style[arm.name], markersize=4, linewidth=1, label=arm.name)
            ax.set_title(title)
            ax.set_xlabel("shift (pixels)")
            ax.set_xticks(range(5))
            ax.legend(*unique_legend(ax), loc="lower left")
        axes[0].set_ylabel("test accuracy (%)")
        return figure, (
            "The shift test: accuracy on all test images moved by whole pixels, mean over down, up, right and left; the room "
            "that the shift leaves is black. Each line is one seed."
        )

    return FigureSpec("shifts", draw)
