"""Figures of what changes along the training: errors, losses, distances, shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

from resnet_repro.experiment import Arm
from resnet_repro.files import series
from resnet_repro.report.figure import Context, FigureSpec
from resnet_repro.report.published import HE15_FIGURE_6, PublishedCurves, he15_error_curves
from resnet_repro.report.style import PAPER_GREY, WIDTH, looks
from resnet_repro.results import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panels = Mapping[str, Sequence[Arm]]

TRAINING_POINTS = 60  # the running error is averaged to about as many points
COLUMNS = 2  # panels side by side


def error_curves(panels: Panels, paper: PublishedCurves = HE15_FIGURE_6) -> FigureSpec:
    """Training (dashed) and test (solid) error against iterations, a panel for each group of arms, as the paper's figure.

    The paper's own curves of the same nets lie in grey behind ours where the budgets are the same, else in panels below.
    """

    def draw(context: Context) -> tuple[Figure, str] | None:
        shown = _shown(context, panels)
        if not shown:
            return None
        same_budget = _longest(context, shown) == paper.iterations
        theirs = {
            title: [arm.name for arm in arms if he15_error_curves(arm.name, paper)] if context.published else []
            for title, arms in shown.items()
        }
        below = not same_budget and any(theirs.values())
        figure, rows = _grid(shown, extra_rows=1 if below else 0)
        for ax, (title, arms) in zip(_panels(rows, shown), shown.items(), strict=True):
            style = looks([arm.name for arm in arms])
            for arm in arms:
                for record in context.of(arm.name):
                    _our_lines(ax, record, style[arm.name], arm.name, "running_train_error", "test_error")
            ax.set_title(title + (" (grey: He15)" if same_budget and theirs[title] else ""))
            if same_budget:
                for name in theirs[title]:
                    _published(ax, name, paper, style[name] | {"color": PAPER_GREY})
                ax.set_ylim(paper.bottom, paper.top)
        if below:
            for ax, (title, arms) in zip(rows[1], shown.items(), strict=True):
                style = looks([arm.name for arm in arms])
                for name in theirs[title]:
                    _published(ax, name, paper, style[name])
                ax.set_title(f"{paper.name}: {title},\n{paper.length:,} iterations")
                ax.set_ylim(paper.bottom, paper.top)
                ax.set_xlabel("iteration")
                ax.set_xlim(left=0)
            rows[1][0].set_ylabel("error (%)")
        _finish(figure, rows, "error (%)")
        caption = (
            "Training error (dashed; running, on the batches as they were trained on) and test error (solid, with a "
            "mark at each evaluation). Each line is one seed."
        )
        if same_budget and any(theirs.values()):
            caption += f" Grey: the curves of {paper.name}."
        elif below:
            caption += (
                f" Below, the curves of {paper.name} over {paper.length:,} iterations: the axes are not the same."
            )
        return figure, caption

    return FigureSpec("error_curves", draw)


def curves(name: str, panels: Panels, dashed: str, solid: str, label: str, log: bool = False) -> FigureSpec:
    """Two columns of metrics.csv against iterations, a panel for each group of arms; `label` is the unit's axis.

    log: a logarithmic axis, for what may be of any size.
    """

    def paint(ax: Axes, record: Record, look: dict[str, Any]) -> None:
        _our_lines(ax, record, look, record.arm, dashed, solid)
        if log:
            ax.set_yscale("log")

    caption = f"{_words(dashed).capitalize()} (dashed) and {_words(solid)} (solid, with a mark at each evaluation)."
    return _panelled(name, panels, paint, label, caption)


def distance_curves(panels: Panels) -> FigureSpec:
    """How far the parameters move from those they started with, against iterations; of the arms that measure it."""

    def paint(ax: Axes, record: Record, look: dict[str, Any]) -> None:
        x, y = series(record.table("distance"), "distance")
        if not x:
            return  # an arm that is trained from scratch keeps its place in the panel's colours
        ax.plot(x, y, **look, markersize=3, markevery=_every(x), label=record.arm)

    caption = "Distance of all parameters from the ones that training on started with, as a fraction of their length."
    return _panelled("distance", panels, paint, "distance", caption)


def input_shifts(panels: Panels) -> FigureSpec:
    """How far mean and standard deviation of the layers' inputs move between two points of the training."""

    def paint(ax: Axes, record: Record, look: dict[str, Any]) -> None:
        rows = record.table("inputs")
        for column, line in (("mean_shift", "-"), ("std_shift", "--")):
            x, y = _mean_by_iteration(rows, column)
            marks = look if line == "-" else {"color": look["color"]}
            label = f"{record.arm} {column.partition('_')[0]}"
            ax.plot(x, y, line, **marks, markersize=3, linewidth=1, markevery=_every(x), label=label)
        ax.set_yscale("log")

    caption = (
        "Movement of the layers' inputs since the point before, a twentieth of the training earlier: mean (solid) and "
        "standard deviation (dashed) of each channel, in units of the layer's standard deviation, mean over layers."
    )
    return _panelled("input_shifts", panels, paint, "shift (σ)", caption)


# -- parts -------------------------------------------------------------------------------------------------------------


def _panelled(
    name: str, panels: Panels, paint: Callable[[Axes, Record, dict[str, Any]], None], label: str, caption: str
) -> FigureSpec:
    """A figure with a panel for each group of arms, into which `paint` draws one run at a time in its arm's look."""

    def draw(context: Context) -> tuple[Figure, str] | None:
        shown = _shown(context, panels)
        if not shown:
            return None
        figure, rows = _grid(shown)
        for ax, (title, arms) in zip(_panels(rows, shown), shown.items(), strict=True):
            style = looks([arm.name for arm in arms])
            for arm in arms:
                for record in context.of(arm.name):
                    paint(ax, record, style[arm.name])
            ax.set_title(title)
        _finish(figure, rows, label)
        return figure, f"{caption} Each line is one seed."

    return FigureSpec(name, draw)


def _shown(context: Context, panels: Panels) -> dict[str, list[Arm]]:
    """The panels' arms that have runs; panels without any are left out."""
    found = {title: [arm for arm in arms if context.of(arm.name)] for title, arms in panels.items()}
    return {title: arms for title, arms in found.items() if arms}


def _longest(context: Context, shown: Panels) -> int:
    return max(r.settings.iterations for arms in shown.values() for arm in arms for r in context.of(arm.name))


def _grid(shown: Panels, extra_rows: int = 0) -> tuple[Figure, list[list[Axes]]]:
    """Axes in one row where an extra row lies below, else in rows of two."""
    from matplotlib.figure import Figure

    columns = len(shown) if extra_rows else min(len(shown), COLUMNS)
    rows = 1 + extra_rows if extra_rows else -(-len(shown) // columns)
    entries = max(len(arms) for arms in shown.values())
    figure = Figure(figsize=(WIDTH, 2.3 * rows + 0.5 + 0.14 * entries))
    axes = figure.subplots(rows, columns, squeeze=False, sharey="row")
    for ax in axes.flat[len(shown) * (1 + extra_rows) :]:
        ax.set_visible(False)
    return figure, [list(row) for row in axes]


def _panels(rows: Sequence[Sequence[Axes]], shown: Panels) -> list[Axes]:
    """The axes of our own curves, one for each group shown, however many rows they take."""
    return [ax for row in rows for ax in row][: len(shown)]


def _our_lines(ax: Axes, record: Record, look: dict, label: str, dashed: str, solid: str) -> None:
    rows = record.table("metrics")
    x, y = _thinned(*series(rows, dashed))
    ax.plot(x, y, "--", color=look["color"], linewidth=0.9, label=f"{label} train")
    x, y = series(rows, solid)
    kind = solid.partition("_")[0]
    ax.plot(x, y, "-", **look, markersize=3.5, markevery=_every(x), label=f"{label} {kind}")


def _published(ax: Axes, arm: str, paper: PublishedCurves, look: dict) -> None:
    for split, (x, y) in he15_error_curves(arm, paper).items():
        dashed = split == "train"
        ax.plot(
            x,
            y,
            "--" if dashed else "-",
            color=look["color"],
            linewidth=0.8 if dashed else 1.2,
            marker=None if dashed else look["marker"],
            markersize=3,
            markevery=_every(x),
            label=f"He15 {arm} {split}",
            zorder=1,
        )


def _finish(figure: Figure, rows: Sequence[Sequence[Axes]], label: str) -> None:
    """Axis labels, and a legend in every panel of ours."""
    for row in rows:
        row[0].set_ylabel(label)
        for ax in row:
            if not ax.get_visible():
                continue
            ax.set_xlabel("iteration")
            ax.set_xlim(left=0)
            handles, labels = unique_legend(ax)
            if handles and not any(text.startswith("He15") for text in labels):
                ax.legend(
                    handles,
                    labels,
                    ncols=2,
                    fontsize=5.5,
                    loc="upper center",
                    bbox_to_anchor=(0.5, -0.22),
                    columnspacing=1.0,
                    handlelength=1.7,
                )


def unique_legend(ax: Axes) -> tuple[list, list[str]]:
    """Handles and labels, each label once: seeds of an arm share theirs; the paper's grey curves need none."""
    handles, labels = ax.get_legend_handles_labels()
    grey = ax.get_title().endswith("(grey: He15)")
    unique = {
        label: handle for handle, label in zip(handles, labels, strict=True) if not (grey and label.startswith("He15"))
    }
    return list(unique.values()), list(unique)


def _thinned(x: Sequence[int], y: Sequence[float]) -> tuple[list[float], list[float]]:
    size = max(1, len(x) // TRAINING_POINTS)
    parts = [slice(i, i + size) for i in range(0, len(x) - size + 1, size)]
    if parts:
        parts[-1] = slice(parts[-1].start, len(x))  # a short rest would be noisier than the others
    return [mean(x[part]) for part in parts], [mean(y[part]) for part in parts]


def _mean_by_iteration(rows: Sequence[Mapping[str, str]], column: str) -> tuple[list[int], list[float]]:
    by_iteration: dict[int, list[float]] = {}
    for row in rows:
        by_iteration.setdefault(int(row["iteration"]), []).append(float(row[column]))
    return list(by_iteration), [mean(values) for values in by_iteration.values()]


def _every(points: Sequence, marks: int = 10) -> int:
    return max(1, len(points) // marks)


def _words(column: str) -> str:
    return column.replace("_", " ").replace("running train", "running training")
