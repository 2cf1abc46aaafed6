"""Figures that experiment files ask for. Each function returns a `FigureSpec`; matplotlib is imported when it draws."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median
from typing import TYPE_CHECKING

from resnet_repro.experiment import Arm
from resnet_repro.report.figure import Context, FigureSpec
from resnet_repro.report.published import he15_error_curves, he15_layer_responses
from resnet_repro.report.style import PAPER_GREY, WIDTH, looks
from resnet_repro.results import Record, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING_POINTS = 60  # the running error is averaged to about as many points


def error_curves(left: Sequence[Arm], right: Sequence[Arm]) -> FigureSpec:
    """Training (dashed) and test (solid) error against iterations, two groups of arms side by side, as He15 figure 6.

    The paper's own curves lie in grey behind ours where the budgets are the same, else in panels below.
    """

    def draw(context: Context) -> tuple[Figure, str] | None:
        from matplotlib.figure import Figure

        groups = [[arm.name for arm in group] for group in (left, right)]
        if not any(context.of(arm) for group in groups for arm in group):
            return None
        published_length = left[0].recipe.iterations
        same_budget = context.iterations == published_length
        figure = Figure(figsize=(WIDTH, 2.9 if same_budget else 4.9))
        axes = figure.subplots(1 if same_budget else 2, 2, squeeze=False, sharey="row")
        for column, group in enumerate(groups):
            style = looks(group)
            ours = axes[0][column]
            for arm in group:
                for record in context.of(arm):
                    _our_error(ours, record, style[arm], label=arm)
            theirs = ours if same_budget else axes[1][column]
            for arm in group:
                _paper_error(theirs, arm, style[arm], grey=same_budget)
            kind = "plain nets" if column == 0 else "residual nets"
            ours.set_title(f"{kind}, {context.iterations:,} iterations" + (" (grey: He15)" if same_budget else ""))
            if not same_budget:
                theirs.set_title(f"He15 figure 6: {kind}, {published_length:,} iterations")
                theirs.set_ylim(0, 20)
            for ax in {ours, theirs}:
                ax.set_xlabel("iteration")
                ax.set_xlim(left=0)
        for column in range(2):
            place = "outside lower left" if column == 0 else "outside lower right"
            figure.legend(*_unique_legend(axes[0][column]), loc=place, ncols=2)
        for row in axes:
            row[0].set_ylabel("error (%)")
        if same_budget:
            axes[0][0].set_ylim(0, 20)
        caption = (
            "Training error (dashed; running, on augmented batches) and test error (solid, with a mark at each "
            "evaluation) on the left for plain nets, on the right for residual nets. Each line is one seed. "
        )
        caption += (
            "Grey: the curves of He15 figure 6."
            if same_budget
            else f"Below, the curves of He15 figure 6 after {published_length:,} iterations: the axes are not the same."
        )
        return figure, caption

    return FigureSpec("error_curves", draw)


def _our_error(ax: Axes, record: Record, look: dict, label: str) -> None:
    rows = record.table("metrics")
    x, y = _thinned(*series(rows, "running_train_error"))
    ax.plot(x, y, "--", color=look["color"], linewidth=0.9, label=f"{label} train")
    x, y = series(rows, "test_error")
    ax.plot(
        x,
        y,
        "-",
        color=look["color"],
        marker=look["marker"],
        markersize=3.5,
        markevery=_every(x),
        label=f"{label} test",
    )


def _paper_error(ax: Axes, arm: str, look: dict, grey: bool) -> None:
    curves = he15_error_curves(arm)
    colour = PAPER_GREY if grey else look["color"]
    for split, (x, y) in curves.items():
        dashed = split == "train"
        ax.plot(
            x,
            y,
            "--" if dashed else "-",
            color=colour,
            linewidth=0.8 if dashed else 1.2,
            marker=None if dashed else look["marker"],
            markersize=3,
            markevery=_every(x),
            label=f"He15 {arm} {split}",
            zorder=1,
        )


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
        figure.legend(*_unique_legend(axes[1]), loc="outside lower center", ncols=len(names))
        return figure, (
            "Norm of the loss's gradient with respect to each 3×3 convolution's weights, for one training batch at "
            "some of the steps that an arm was trained for. Vanishing gradients would show as curves that fall towards the "
            "left by orders of magnitude."
        )

    return FigureSpec("gradient_norms", draw)


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
        figure = Figure(figsize=(WIDTH, 3.7))
        axes = figure.subplots(2, 2)
        for name in names:
            published = he15_layer_responses(name)
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
        for column, title in enumerate(
            (f"ours, {context.iterations:,} iterations", "He15 figure 7, 64,000 iterations")
        ):
            axes[0][column].set_title(title)
            axes[0][column].set_xlabel("layer")
            axes[1][column].set_xlabel("layer, sorted by size of response")
            axes[0][column].set_ylim(bottom=0)
            axes[1][column].set_ylim(bottom=0)
        figure.legend(*_unique_legend(axes[0][1]), loc="outside lower center", ncols=len(names))
        for row in axes:
            row[0].set_ylabel("standard deviation")
        return figure, (
            "Layer responses: standard deviation of each 3×3 layer's output after batch normalization and before the "
            "nonlinearity and the addition, in evaluation mode on 1,000 training images, mean over seeds. "
            "Above in the layers' order, below sorted; the scales on the left and on the right differ."
        )

    return FigureSpec("layer_responses", draw)


def _mean_by_layer(runs: list[list[float]]) -> tuple[list[int], list[float]]:
    whole = [run for run in runs if run]
    values = [mean(layer) for layer in zip(*whole, strict=True)]
    return list(range(1, len(values) + 1)), values


def _thinned(x: Sequence[int], y: Sequence[float]) -> tuple[list[float], list[float]]:
    size = max(1, len(x) // TRAINING_POINTS)
    parts = [slice(i, i + size) for i in range(0, len(x) - size + 1, size)]
    if parts:
        parts[-1] = slice(parts[-1].start, len(x))  # a short rest would be noisier than the others
    return [mean(x[part]) for part in parts], [mean(y[part]) for part in parts]


def _every(points: Sequence, marks: int = 10) -> int:
    return max(1, len(points) // marks)


def _unique_legend(ax: Axes) -> tuple[list, list[str]]:
    """Handles and labels, each label once: seeds of an arm share theirs; the paper's grey curves need none."""
    handles, labels = ax.get_legend_handles_labels()
    grey = ax.get_title().endswith("(grey: He15)")
    unique = {
        label: handle for handle, label in zip(handles, labels, strict=True) if not (grey and label.startswith("He15"))
    }
    return list(unique.values()), list(unique)
