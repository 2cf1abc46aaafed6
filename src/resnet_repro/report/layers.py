"""Figures by layer: gradients, responses. Each function returns a `FigureSpec`; matplotlib is imported when it draws."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median
from typing import TYPE_CHECKING

from resnet_repro.experiment import Arm
from resnet_repro.report.curves import unique_legend
from resnet_repro.report.figure import Context, FigureSpec
from resnet_repro.report.published import he15_layer_responses
from resnet_repro.report.style import WIDTH, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS_SHOWN = 5  # of the training, in the figure of gradients along it


def gradient_norms(arms: Sequence[Arm]) -> FigureSpec:
    """Gradient norm of every convolution at the first step, and its median over the later recorded steps."""

    def draw(context: Context) -> tuple[Figure, str] | None:
        from matplotlib.figure import Figure

        names = [arm.name for arm in arms if context.of(arm.name)]
        if not names:
            return None
        style = looks([arm.name for arm in arms])
        figure = Figure(figsize=(WIDTH, 2.7))
        axes = figure.subplots(1, 2, sharey=True)
        for name in names:
            for record in context.of(name):
                by_layer: dict[int, dict[int, float]] = {}
                for row in record.table("gradients"):
                    by_layer.setdefault(int(row["layer"]), {})[int(row["iteration"])] = float(row["norm"])
                layers = sorted(by_layer)
                for ax, later in zip(axes, (False, True), strict=True):
                    values = [_norm(by_layer[layer], later) for layer in layers]
                    ax.plot(
                        layers, values, color=style[name]["color"], marker=style[name]["marker"], markersize=2.5,
                        linewidth=0.9, markevery=_every(layers, 14), label=name,
                    )  # fmt: skip
        for ax, title in zip(axes, ("first step", "median of the later steps"), strict=True):
            ax.set_yscale("log")
            ax.set_xlabel("convolution, from input to output")
            ax.set_title(title)
        axes[0].set_ylabel("gradient norm")
        figure.legend(*unique_legend(axes[1]), loc="outside lower center", ncols=len(names))
        return figure, (
            "Norm of the loss's gradient with respect to each 3×3 convolution's weights, for one training batch at "
            "some of the steps that an arm was trained for. Vanishing gradients would show as curves that fall towards the "
            "left by orders of magnitude."
        )

    return FigureSpec("gradient_norms", draw)


def gradient_norms_along(arms: Sequence[Arm]) -> FigureSpec:
    """Gradient norm of every layer at several steps of the training, a panel for each arm, median over seeds."""

    def draw(context: Context) -> tuple[Figure, str] | None:
        from matplotlib.figure import Figure

        shown = {arm.name: runs for arm in arms if (runs := _norms_by_step(context, arm.name))}
        if not shown:
            return None
        columns = min(3, len(shown))
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(WIDTH, 0.5 + 2.1 * rows))
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for ax in axes.flat[len(shown) :]:
            ax.set_visible(False)
        for ax, (name, by_step) in zip(axes.flat[: len(shown)], shown.items(), strict=True):
            style = looks([str(place) for place in range(STEPS_SHOWN)])
            for place, step in enumerate(_spread_steps(list(by_step))):
                norms = by_step[step]
                layers = range(1, len(norms) + 1)
                ax.plot(
                    layers, norms, **style[str(place)], markersize=2.5, linewidth=0.9, markevery=_every(norms, 14),
                    label=f"step {step:,}",
                )  # fmt: skip
            ax.set_yscale("log")
            ax.set_title(name)
            ax.set_xlabel("layer, from input to output")
            ax.xaxis.get_major_locator().set_params(integer=True)
        for row in axes:
            row[0].set_ylabel("gradient norm")
        figure.legend(*unique_legend(axes[0][0]), loc="outside lower center", ncols=STEPS_SHOWN, fontsize=6)
        return figure, (
            "Norm of the loss's gradient with respect to each layer's weights, for one training batch at some steps, "
            "median over seeds. Gradients that vanish on their way show as curves that fall to the left; parallel branches "
            "stand one after the other, which makes their curves zigzag."
        )

    return FigureSpec("gradients_along", draw)


def _norms_by_step(context: Context, arm: str) -> dict[int, list[float]]:
    """{step: [norm of each layer]}, medians over the arm's runs; steps that all of them have."""
    runs = []
    for record in context.of(arm):
        by_step: dict[int, list[float]] = {}
        for row in record.table("gradients"):
            by_step.setdefault(int(row["iteration"]), []).append(float(row["norm"]))
        runs.append(by_step)
    steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    return {step: [median(layer) for layer in zip(*(run[step] for run in runs), strict=True)] for step in steps}


def _spread_steps(steps: Sequence[int]) -> list[int]:
    """The first step, the last, and some between, about as far apart in the logarithm."""
    wanted = [steps[0] * (steps[-1] / steps[0]) ** (place / (STEPS_SHOWN - 1)) for place in range(STEPS_SHOWN)]
    return sorted({min(steps, key=lambda step: abs(step - goal)) for goal in wanted})


def _norm(by_step: dict[int, float], later: bool) -> float:
    first = min(by_step)
    if not later or len(by_step) == 1:
        return by_step[first]
    return median(value for step, value in by_step.items() if step != first)


def layer_responses(arms: Sequence[Arm]) -> FigureSpec:
    """Standard deviation of each layer's response, in the layers' order and sorted, beside He15 figure 7."""

    def draw(context: Context) -> tuple[Figure, str] | None:
        from matplotlib.figure import Figure

        names = [arm.name for arm in arms]
        ours = {
            name: [[float(row["std"]) for row in record.table("responses")] for record in context.of(name)]
            for name in names
        }
        if not any(runs and runs[0] for runs in ours.values()):
            return None
        style = looks(names)
        titles = [f"ours, {context.iterations:,} iterations"]
        if context.published:
            titles.append("He15 figure 7, 64,000 iterations")
        figure = Figure(figsize=(WIDTH, 3.7))
        axes = figure.subplots(2, len(titles), squeeze=False)
        for name in names:
            published = he15_layer_responses(name) if context.published else None
            columns = (
                [_mean_by_layer(ours[name])] if ours[name] else [],
                [published] if published else [],
            )
            for column, curves in enumerate(columns):
                for x, y in curves:
                    look = {"color": style[name]["color"], "marker": style[name]["marker"]}
                    options = look | {"markersize": 2.5, "linewidth": 0.9, "markevery": _every(x, 14), "label": name}
                    axes[0][column].plot(x, y, **options)
                    axes[1][column].plot(range(1, len(y) + 1), sorted(y, reverse=True), **options)
        for column, title in enumerate(titles):
            axes[0][column].set_title(title)
            axes[0][column].set_xlabel("layer")
            axes[1][column].set_xlabel("layer, sorted by size of response")
            axes[0][column].set_ylim(bottom=0)
            axes[1][column].set_ylim(bottom=0)
        figure.legend(*unique_legend(axes[0][-1]), loc="outside lower center", ncols=len(names))
        for row in axes:
            row[0].set_ylabel("standard deviation")
        return figure, (
            "Layer responses: standard deviation of each 3×3 layer's output after batch normalization and before the "
            "nonlinearity and the addition, in evaluation mode on 1,000 training images, mean over seeds. "
            "Above in the layers' order, below sorted."
            + (" The scales on the left and on the right differ." if context.published else "")
        )

    return FigureSpec("layer_responses", draw)


def _mean_by_layer(runs: list[list[float]]) -> tuple[list[int], list[float]]:
    whole = [run for run in runs if run]
    values = [mean(layer) for layer in zip(*whole, strict=True)]
    return list(range(1, len(values) + 1)), values


def _every(points: Sequence, marks: int = 10) -> int:
    return max(1, len(points) // marks)
