"""Figure of the relative errors of reconstructions against depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import by_panel, number, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.layers import unique_legend
from resnet_repro.figures.seeds import Curve, draw_seeds, geometric_mean, mean_curve, of_seeds
from resnet_repro.figures.style import PAPER_GREY, WIDTH, looks
from resnet_repro.records.metrics import metrics_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXACT = 1e-6  # smaller errors, about what rounding to bf16 leaves, are drawn here
LINES = (("train", "--", "training images"), ("test", "-", "test images"))


def relative_errors_by_depth(panels: Mapping[str, Mapping[str, Sequence[Arm]]]) -> FigureSpec:
    """Final relative squared error against the number of layers, one panel per target.

    panels: {title: {label: arms of increasing depth}}. Grey lines: the error of the mean of each channel, which is 1, and
    that of the stack's input, unless it is 0.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = {
            title: {label: runs for label, arms in lines.items() if (runs := _by_seed(context, arms))}
            for title, lines in panels.items()
        }
        shown = {title: lines for title, lines in shown.items() if lines}
        if not shown:
            return None
        figure = Figure(figsize=(WIDTH, 3.1))
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        style = looks(list(dict.fromkeys(label for lines in panels.values() for label in lines)))
        errors: dict[str, dict[str, str]] = {}
        for ax, (title, lines) in zip(axes, shown.items(), strict=True):
            for label, runs in lines.items():
                depths_shown, means = mean_curve([run["test"] for run in runs], geometric_mean)
                errors.setdefault(title, {})[label] = " and ".join(
                    f"{number(error)} at {depth:g} layers" for depth, error in zip(depths_shown, means, strict=True)
                )
                for split, line, images in LINES:
                    draw_seeds(
                        ax, [run[split] for run in runs], style[label], line, label=f"{label}, {images}",
                        centre=geometric_mean,
                    )  # fmt: skip
            _references(ax, [run["input"] for runs in lines.values() for run in runs])
            depths = sorted({int(x) for runs in lines.values() for run in runs for x in run["test"][0]})
            ax.set_xticks(depths, [str(depth) for depth in depths])
            ax.set_yscale("log")
            ax.set_title(title)
            ax.set_xlabel("layers")
        axes[0].set_ylabel("squared error / variance of the target")
        entries = {label: handle for ax in axes for handle, label in zip(*unique_legend(ax), strict=True)}
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=3)
        counts = [len(runs) for lines in shown.values() for runs in lines.values()]
        caption = (
            "Relative squared error after the last step against the number of layers: 0 is the target itself, 1 the mean of "
            "each channel. Errors below a millionth are drawn as a millionth. "
            f"{of_seeds(counts).replace('means', 'geometric means')}"
        )
        alternative = (
            "Relative squared error on test images by the number of layers, where 1 is the mean of each channel, "
            f"{over_seeds(counts, 'geometric means')}. {by_panel(errors)}"
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("relative_errors_by_depth", draw)


def _by_seed(context: Context, arms: Sequence[Arm]) -> list[dict[str, Curve]]:
    """Return {"train", "test", "input": curve over depths} of each seed."""
    rows: dict[int, list[tuple[int, dict[str, float]]]] = {}
    for arm in arms:
        for record in context.of(arm.name):
            rows.setdefault(record.seed, []).append((int(arm.model.options["depth"]), metrics_of(record)))
    curves = []
    for of_seed in rows.values():
        curve: dict[str, Curve] = {}
        for key in ("train", "test", "input"):
            pairs = [(depth, row[f"{key}_relative_mse"]) for depth, row in of_seed if f"{key}_relative_mse" in row]
            curve[key] = [depth for depth, _ in pairs], [max(value, EXACT) for _, value in pairs]
        if len(curve["test"][0]):
            curves.append(curve)
    return curves


def _references(ax: Axes, inputs: Sequence[Curve]) -> None:
    ax.axhline(1, color=PAPER_GREY, linestyle=":", linewidth=1, zorder=1, label="mean of each channel")
    values = [value for _, of_seed in inputs for value in of_seed if value > EXACT]
    if values:
        ax.axhline(
            geometric_mean(values), color=PAPER_GREY, linestyle="-.", linewidth=1, zorder=1, label="input, unchanged"
        )
