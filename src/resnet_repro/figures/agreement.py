"""Figure of how far the gradients of different images agree, against depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import by_panel, first_and_last, from_to, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.layers import unique_legend
from resnet_repro.figures.seeds import Curve, draw_seeds, of_seeds
from resnet_repro.figures.style import PAPER_GREY, WIDTH, looks
from resnet_repro.records.metrics import metrics_of

STAGES = (1, 2, 3)


def agreement_by_depth(groups: Mapping[str, Sequence[Arm]]) -> FigureSpec:
    """Mean cosine between the gradients of images against the number of layers, one panel per stage, one line per group.

    groups: {label: arms of increasing depth}, whose models have the option `depth`. Grey: no agreement.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        curves = {stage: {label: _by_seed(context, arms, stage) for label, arms in groups.items()} for stage in STAGES}
        shown = {
            stage: {label: runs for label, runs in lines.items() if runs}
            for stage, lines in curves.items()
            if any(lines.values())
        }
        if not shown:
            return None
        figure = Figure(figsize=(WIDTH, 3.0))
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        style = looks(list(groups))
        ends: dict[str, dict[str, str]] = {}
        for ax, (stage, lines) in zip(axes, shown.items(), strict=True):
            ax.axhline(0, color=PAPER_GREY, linestyle=":", linewidth=1, zorder=1)
            for label, runs in lines.items():
                draw_seeds(ax, runs, style[label], label=label)
                ends.setdefault(f"stage {stage}", {})[label] = from_to(first_and_last(runs))
            depths = sorted({int(x) for runs in lines.values() for layers, _ in runs for x in layers})
            ax.set_xticks(depths, [str(depth) for depth in depths])
            ax.set_title(f"stage {stage}")
            ax.set_xlabel("layers")
        axes[0].set_ylabel("mean cosine of images' gradients")
        figure.legend(*unique_legend(axes[0]), loc="outside lower center", ncols=len(groups))
        counts = [len(runs) for lines in shown.values() for runs in lines.values()]
        caption = (
            "Mean cosine between the gradients of 64 training images that are given the same label, with respect to the "
            "weights of the convolutions of a stage, at the end of the run: before training for untrained nets. "
            f"1: all images ask for the same change. 0: they have nothing in common. {of_seeds(counts)}"
        )
        alternative = (
            "Mean cosine between the gradients of different images from the shallowest to the deepest net, "
            f"{over_seeds(counts)}. {by_panel(ends)}"
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("agreement_by_depth", draw)


def _by_seed(context: Context, arms: Sequence[Arm], stage: int) -> list[Curve]:
    """Return (layers, mean cosines) of each seed."""
    curves: dict[int, tuple[list[float], list[float]]] = {}
    for arm in arms:
        for record in context.of(arm.name):
            cosine = metrics_of(record).get(f"agreement_{stage}")
            if cosine is not None:
                layers, cosines = curves.setdefault(record.seed, ([], []))
                layers.append(arm.model.options["depth"])
                cosines.append(cosine)
    return list(curves.values())
