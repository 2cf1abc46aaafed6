"""Figures by layer: gradients and responses. matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import by_panel, first_and_last, from_to, listed, number, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.panels import arm_handle, entries_beside
from resnet_repro.figures.published import HE15_STEPS, he15_layer_responses
from resnet_repro.figures.seeds import SMALLEST, Curve, draw_seeds, geometric_mean, mean_curve, of_seeds
from resnet_repro.figures.style import LEGEND_SIZE, PAPER_GREY, WIDTH, looks
from resnet_repro.records.gradients import norms_by_step
from resnet_repro.records.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIMES = {"first step": False, "median of the later steps": True}  # {title of a panel: whether it shows later steps}
STEPS_SHOWN = 5  # training steps in `gradient_norms_along`
PANELS_ABREAST = 3


def gradient_norms(arms: Sequence[Arm]) -> FigureSpec:
    """Gradient norm of each convolution at the first step, and its median over the later recorded steps."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        names = [arm.name for arm in arms if context.of(arm.name)]
        if not names:
            return None
        style = looks([arm.name for arm in arms])
        figure = Figure(figsize=(WIDTH, 2.7))
        axes = figure.subplots(1, 2, sharey=True)
        ends: dict[str, dict[str, str]] = {}
        drawn: list[list[Curve]] = []
        for name in names:
            tables = [table for record in context.of(name) if (table := _norms_by_step(record))]
            for ax, (title, later) in zip(axes, TIMES.items(), strict=True):
                runs = [_norm_by_layer(table, later) for table in tables]
                drawn.append(runs)
                draw_seeds(ax, runs, style[name], label=name, marks=8, linewidth=1.1, centre=geometric_mean)
                ends.setdefault(title, {})[name] = from_to(first_and_last(runs, geometric_mean))
        for ax, title in zip(axes, TIMES, strict=True):
            ax.set_yscale("log")
            ax.set_xlabel("convolution, from input to output")
            ax.set_title(title)
        axes[0].set_ylabel("gradient norm")
        figure.legend(*unique_legend(axes[1]), loc="outside lower center", ncols=entries_beside(names, 1))
        norms = [norm for curves in drawn for _, y in curves for norm in y]
        positive = [norm for norm in norms if norm > SMALLEST]
        if positive:  # zeros would stretch the axis by dozens of decades
            axes[0].set_ylim(bottom=min(positive) / 3)
        below = " Norms of zero lie below the axis." if len(positive) < len(norms) else ""
        caption = (
            "Norm of the loss gradient with respect to the weights of each 3×3 convolution, for one training batch at some of "
            "the arm's training steps. Vanishing gradients would appear as curves that fall towards the left by orders of "
            f"magnitude.{below} {_of_seeds(context, names)}"
        )
        alternative = (
            f"Gradient norm from the first convolution to the last, {_over_seeds(context, names)}. {by_panel(ends)}"
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("gradient_norms", draw)


def gradient_norms_along(arms: Sequence[Arm]) -> FigureSpec:
    """Gradient norm of each layer at several training steps, one panel per arm."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = {arm.name: runs for arm in arms if (runs := _common_steps(context, arm.name))}
        if not shown:
            return None
        columns = min(PANELS_ABREAST, len(shown))
        rows = ceil(len(shown) / columns)
        figure = Figure(figsize=(WIDTH, 0.5 + 2.1 * rows))
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for ax in axes.flat[len(shown) :]:
            ax.set_visible(False)
        style = looks([str(place) for place in range(STEPS_SHOWN)])
        ends: dict[str, dict[str, str]] = {}
        for ax, (name, by_step) in zip(axes.flat[: len(shown)], shown.items(), strict=True):
            for place, step in enumerate(_spread_steps(list(by_step))):
                runs = [(range(1, len(norms) + 1), norms.tolist()) for norms in by_step[step]]
                draw_seeds(
                    ax, runs, style[str(place)], label=f"step {step:,}", marks=8, linewidth=1.1, centre=geometric_mean
                )
                ends.setdefault(name, {})[f"at step {step:,} it"] = from_to(first_and_last(runs, geometric_mean))
            ax.set_yscale("log")
            ax.set_title(name)
            ax.set_xlabel("layer, from input to output")
            ax.xaxis.get_major_locator().set_params(integer=True)
        for row in axes:
            row[0].set_ylabel("gradient norm")
        figure.legend(*unique_legend(axes[0][0]), loc="outside lower center", ncols=STEPS_SHOWN, fontsize=LEGEND_SIZE)
        caption = (
            "Norm of the loss gradient with respect to each layer's weights, for one training batch at some steps. Vanishing "
            "gradients appear as curves that fall towards the left. Parallel branches are listed one after the other, which "
            f"makes their curves zigzag. {_of_seeds(context, list(shown))}"
        )
        alternative = (
            f"Gradient norm from the first layer to the last, {_over_seeds(context, list(shown))}. {by_panel(ends)}"
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("gradients_along", draw)


def _of_seeds(context: Context, names: Sequence[str]) -> str:
    return of_seeds([len(context.of(name)) for name in names]).replace("means", "geometric means")


def _over_seeds(context: Context, names: Sequence[str]) -> str:
    return over_seeds([len(context.of(name)) for name in names], "geometric means")


def unique_legend(ax: Axes) -> tuple[list, list[str]]:
    """Return the handles and labels of the axes, each label once."""
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    return list(unique.values()), list(unique)


def _norms_by_step(record: Record) -> Mapping[int, np.ndarray]:
    return norms_by_step(record.folder / "gradients.csv")


def _common_steps(context: Context, arm: str) -> dict[int, list[np.ndarray]]:
    """Return {step: [norm of each layer, of each run]} for the steps that all runs of the arm have."""
    runs = [_norms_by_step(record) for record in context.of(arm)]
    steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    return {step: [run[step] for run in runs] for step in steps}


def _spread_steps(steps: Sequence[int]) -> list[int]:
    """Return `STEPS_SHOWN` steps or fewer from the first to the last, about equally spaced in the logarithm."""
    targets = [steps[0] * (steps[-1] / steps[0]) ** (place / (STEPS_SHOWN - 1)) for place in range(STEPS_SHOWN)]
    return sorted({min(steps, key=lambda step: abs(step - target)) for target in targets})


def _norm_by_layer(by_step: Mapping[int, np.ndarray], later: bool) -> Curve:
    """Return (layer, norm) at the first step, or the median over the later ones."""
    first, *rest = by_step.values()
    norms = np.median(rest, axis=0) if later and rest else first
    return range(1, len(norms) + 1), norms.tolist()


def layer_responses(arms: Sequence[Arm]) -> FigureSpec:
    """Standard deviation of each layer's response, in the layers' order and sorted, with the values of He15 figure 7.

    The paper's curves are grey behind ours after full training, otherwise in panels beside ours.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        names = [arm.name for arm in arms]
        ours = {name: [run for record in context.of(name) if (run := _responses(record))[0]] for name in names}
        if not any(ours.values()):
            return None
        style = looks(names)
        published = {name: curve for name in names if context.published and (curve := he15_layer_responses(name))}
        behind = bool(published) and context.prefix is None and context.iterations == HE15_STEPS
        beside = bool(published) and not behind
        figure = Figure(figsize=(WIDTH, 3.7 if beside else 2.9))
        # Rows: in the layers' order, sorted. Columns: ours, published.
        axes = figure.subplots(2, 2) if beside else figure.subplots(1, 2).reshape(2, 1)
        for name in names:
            if ours[name]:
                _draw_responses(axes[:, 0], ours[name], style[name], name)
            if name in published:
                look = style[name] | ({"color": PAPER_GREY} if behind else {})
                _draw_responses(axes[:, -1], [published[name]], look, f"He15 {name}", zorder=1 if behind else 2)
        axes[0, 0].set_title(f"ours, {context.length} iterations" + (" (grey: He15)" if behind else ""))
        if beside:
            axes[0, 1].set_title(f"He15 figure 7, {HE15_STEPS:,} iterations")
        for ax, label in zip(axes, ("layer", "layer, sorted by size of response"), strict=True):
            for panel in ax:
                panel.set_xlabel(label)
                panel.set_ylim(bottom=0)
            ax[0].set_ylabel("standard deviation")
        shown = [name for name in names if ours[name] or name in published]
        figure.legend(
            handles=[arm_handle(style[name]) for name in shown],
            labels=shown,
            loc="outside lower center",
            ncols=len(shown),
        )
        caption = (
            "Layer responses: standard deviation of the output of each 3×3 layer, after batch normalization and before the "
            "nonlinearity and the addition, in evaluation mode on 1,000 training images; in the layers' order and sorted. "
            f"{of_seeds([len(runs) for runs in ours.values()])}"
        )
        if behind:
            caption += " Grey: He15 figure 7."
        elif beside:
            caption += " The left and right scales differ."
        if beside and context.prefix is not None:
            caption += " On the left, training has not ended; on the right, it has."
        alternative = (
            f"Standard deviation of the responses from the first layer to the last after {context.length} iterations, "
            f"{over_seeds([len(runs) for runs in ours.values()])}. "
            f"{listed({name: _responses_in_words(runs) for name, runs in ours.items() if runs})}."
        )
        if published:
            theirs = {name: _responses_in_words([curve]) for name, curve in published.items()}
            alternative += f" He15 figure 7, after {HE15_STEPS:,} iterations: {listed(theirs)}."
        return Drawing(figure, caption, alternative)

    return FigureSpec("layer_responses", draw)


def _responses_in_words(runs: Sequence[Curve]) -> str:
    _, y = mean_curve(runs)
    return f"{from_to(first_and_last(runs))} with a mean of {number(fmean(y))}"


def _draw_responses(axes: Sequence[Axes], runs: Sequence[Curve], look: dict, label: str, zorder: float = 2) -> None:
    """Draw a net's responses in the layers' order on the first panel, and sorted on the second."""
    for ax, curves in zip(axes, (runs, [_sorted(run) for run in runs]), strict=True):
        draw_seeds(ax, curves, look, label=label, linewidth=1.1, zorder=zorder)


def _responses(record: Record) -> Curve:
    """Return (layer, response) of the trained net; empty for runs without a score, e.g. diverged ones."""
    values = [float(row["std"]) for row in record.table("responses")]
    return range(1, len(values) + 1), values


def _sorted(run: Curve) -> Curve:
    return range(1, len(run[1]) + 1), sorted(run[1], reverse=True)
