"""Figure of the gradient norms by layer at initialization, with the growth that mean-field theory predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import by_panel, last, number, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.layers import unique_legend
from resnet_repro.figures.seeds import Curve, draw_seeds, geometric_mean, of_seeds
from resnet_repro.figures.style import PAPER_GREY, WIDTH, looks
from resnet_repro.records.gradients import norms_by_step
from resnet_repro.records.record import Record
from resnet_repro.theory import MEAN_FIELD_GROWTH

STEPS = (0, 1, 10, 100, 1_000)  # of those at which `diagnostics.loss_gradients.Growth` measures


def growth_by_layer(groups: Mapping[str, Sequence[Arm]]) -> FigureSpec:
    """Gradient norm of each convolution's weights before training, relative to the last layer's, one panel per group.

    groups: {title: arms of increasing depth}. Layers are counted from the output, so that nets of all depths lie over each
    other.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = {
            title: {
                arm.name: runs for arm in arms if (runs := [c for r in context.of(arm.name) if (c := _relative(r))])
            }
            for title, arms in groups.items()
        }
        shown = {title: runs for title, runs in shown.items() if runs}
        if not shown:
            return None
        figure = Figure(figsize=(WIDTH, 3.0))
        ratios: dict[str, dict[str, str]] = {}
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for ax, (title, arms) in zip(axes, shown.items(), strict=True):
            style = looks([arm.name for arm in groups[title]])  # a depth looks alike in all panels
            deepest = 0
            for name, runs in arms.items():
                draw_seeds(ax, runs, style[name], label=_depth_of(name), marks=8, linewidth=1.1, centre=geometric_mean)
                ratios.setdefault(title, {})[_depth_of(name)] = (
                    f"have {number(last(runs, geometric_mean))} times the norm"
                )
                deepest = max(deepest, *(len(layers) for layers, _ in runs))
            ends = [0, deepest - 1]
            ax.plot(
                ends,
                [MEAN_FIELD_GROWTH**end for end in ends],
                color=PAPER_GREY,
                linestyle="--",
                label="theory",
                zorder=1,
            )
            ax.set_yscale("log")
            ax.set_title(title)
            ax.set_xlabel("layers from the output")
        axes[0].set_ylabel("gradient norm, relative to the last layer")
        figure.legend(*unique_legend(axes[0]), loc="outside lower center", ncols=6)
        counts = [len(runs) for arms in shown.values() for runs in arms.values()]
        caption = (
            "Norm of the loss gradient with respect to the weights of each 3×3 convolution before the first step, relative to "
            "that of the last convolution. Exploding gradients rise to the right. Dashed: growth of "
            f"{MEAN_FIELD_GROWTH:.3f} per layer, the mean-field prediction for wide nets with batch normalization and ReLU. "
            f"{of_seeds(counts).replace('means', 'geometric means')}"
        )
        alternative = (
            "Gradient norm at the first convolution relative to the last one, before training, by depth of the net, "
            f"{over_seeds(counts, 'geometric means')}. {by_panel(ratios)} The theory has a growth of {MEAN_FIELD_GROWTH:.3f} "
            "per layer."
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("growth_by_layer", draw)


def norms_after_steps(arms: Sequence[Arm]) -> FigureSpec:
    """Gradient norm of each convolution's weights after some steps of training, relative to the last, one panel per arm."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = {arm.name: runs for arm in arms if (runs := [r for r in context.of(arm.name) if _norms_by_step(r)])}
        if not shown:
            return None
        figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * -(-len(shown) // 2)))
        axes = figure.subplots(-(-len(shown) // 2), min(2, len(shown)), sharey=True, squeeze=False)
        for ax in axes.flat[len(shown) :]:
            ax.set_visible(False)
        style = looks([f"{step}" for step in STEPS])
        ends: dict[str, dict[str, str]] = {}
        for ax, (name, runs) in zip(axes.flat, shown.items(), strict=False):
            for step in STEPS:
                measured = [curve for record in runs if (curve := _relative(record, step))]
                if measured:
                    draw_seeds(
                        ax, measured, style[f"{step}"], label=f"step {step:,}", marks=8, linewidth=1.1,
                        centre=geometric_mean,
                    )  # fmt: skip
                    ratio = number(last(measured, geometric_mean))
                    ends.setdefault(name, {})[f"at step {step:,}"] = f"it is {ratio} times as large"
            ax.set_yscale("log")
            ax.set_title(name)
            ax.set_xlabel("layers from the output")
        for row in axes:
            row[0].set_ylabel("relative gradient norm")
        figure.legend(*unique_legend(axes[0][0]), loc="outside lower center", ncols=len(STEPS))
        counts = [len(runs) for runs in shown.values()]
        caption = (
            "Norm of the loss gradient with respect to the weights of each 3×3 convolution after some steps, relative to that "
            "of the last convolution. Exploding gradients rise to the right. "
            f"{of_seeds(counts).replace('means', 'geometric means')}"
        )
        alternative = (
            "Gradient norm at the first convolution relative to the last one after some steps, "
            f"{over_seeds(counts, 'geometric means')}. {by_panel(ends)}"
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("norms_after_steps", draw)


def _relative(record: Record, step: int = 0) -> Curve | None:
    """Return (layers from the output, gradient norm relative to the last layer) after `step` steps; None if not measured."""
    norms = _norms_by_step(record).get(step)
    return None if norms is None else (range(len(norms)), (norms[::-1] / norms[-1]).tolist())


def _norms_by_step(record: Record) -> Mapping[int, np.ndarray]:
    return norms_by_step(record.folder / "growth.csv")


def _depth_of(arm: str) -> str:
    """Return the depth in the name of an arm, e.g. "56 layers"."""
    return f"{next(part for part in arm.split('-') if part.isdigit())} layers"
