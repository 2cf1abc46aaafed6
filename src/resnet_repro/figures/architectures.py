"""Figures of architectures: costs of their layers, and published accuracy against cost and year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_repro.config.arm import CountedArm
from resnet_repro.figures.alternative import by_panel, listed, number
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.style import COLOURS, LEGEND_SIZE, PAPER_GREY, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# (column of layers.csv, label, divisor to the unit shown)
QUANTITIES = (
    ("memory_kib", "memory (KiB)", 1.0),
    ("params", "parameters (k)", 1e3),
    ("macs", "multiply-adds (M)", 1e6),
)
KIND_COLOURS = {"conv": COLOURS[0], "fc": COLOURS[1], "pool": COLOURS[2], "norm": PAPER_GREY}
KIND_LABELS = {"conv": "convolutions", "fc": "linear layers", "pool": "pooling", "norm": "normalization"}

# {arm of the same architecture: top-1 error in percent} on ImageNet's validation images, one central crop of 224 pixels,
# of torchvision's first weights (IMAGENET1K_V1).
TORCHVISION_TOP_1 = {
    "alexnet-torchvision": 43.478,
    "vgg-16": 28.408,
    "vgg-19": 27.624,
    "googlenet": 30.222,
    "resnet-18": 30.242,
    "resnet-34": 26.686,
    "resnet-50": 23.870,
    "resnet-101": 22.626,
    "resnet-152": 21.688,
}

LABELLED_BELOW = ("resnet-18", "vgg-19", "resnet-152")  # neighbours at the same height leave no room beside them
LABELLED_ABOVE = ("googlenet",)

# (year, top-5 error in percent, network, whether it won) of the ImageNet classification challenge, as listed in notes-B.
ILSVRC = (
    (2011, 25.0, "no network", True),
    (2012, 16.4, "AlexNet", True),
    (2013, 11.7, "ZFNet", True),
    (2014, 7.3, "VGG", False),
    (2014, 6.7, "GoogLeNet", True),
    (2015, 3.57, "ResNet", True),
)
HUMAN_TOP_5 = 5.0


def layer_bars(arms: Sequence[CountedArm]) -> FigureSpec:
    """Memory, parameters and multiply-adds of each layer: one column of panels per net, one scale per row."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        tables = _tables(context, arms)
        if not tables:
            return None
        figure = Figure(figsize=(WIDTH, 5.4))
        widths = [len(rows) + 2 for rows in tables.values()]
        axes = figure.subplots(3, len(tables), squeeze=False, sharey="row", sharex="col", width_ratios=widths)
        for row, (column, label, unit) in zip(axes, QUANTITIES, strict=True):
            row[0].set_ylabel(label)
            for ax, rows in zip(row, tables.values(), strict=True):
                heights = [_height(r, column, unit) for r in rows]
                ax.bar(range(len(rows)), heights, color=[KIND_COLOURS[r["kind"]] for r in rows])
                _grid_behind(ax)
        for top, bottom, (name, rows) in zip(axes[0], axes[-1], tables.items(), strict=True):
            top.set_title(name)
            bottom.set_xticks(range(len(rows)), [r["layer"] for r in rows], rotation=90)
        _kind_legend(figure, {r["kind"] for rows in tables.values() for r in rows})
        caption = (
            "Output memory, parameters and multiply-adds of each layer, for one image; the nets share the scale of a row. "
            "Early convolutions dominate memory, the first linear layer parameters, and convolutions operations."
        )
        return Drawing(figure, caption, f"Largest layer of each net. {by_panel(_largest(tables))}")

    return FigureSpec("layer_bars", draw)


def stem_bars(small: CountedArm, large: CountedArm) -> FigureSpec:
    """Memory, parameters and multiply-adds of two stems as stacked bars, and the ratio of the second to the first."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        tables = _tables(context, (small, large))
        if len(tables) < 2:
            return None
        figure = Figure(figsize=(WIDTH, 2.6))
        axes = figure.subplots(1, 3)
        totals: dict[str, dict[str, str]] = {}
        for ax, (column, label, unit) in zip(axes, QUANTITIES, strict=True):
            sums = [_stack(ax, place, rows, column, unit) for place, rows in enumerate(tables.values())]
            ax.set_xticks(range(len(tables)), list(tables))
            ax.set_title(label)
            ax.set_ylim(0, 1.15 * max(sums))
            totals[label] = {name: f"has {number(total)}" for name, total in zip(tables, sums, strict=True)}
            _grid_behind(ax)
            ax.annotate(
                f"{sums[1] / sums[0]:.1f}×", (1, sums[1]), xytext=(0, 2), textcoords="offset points", ha="center"
            )
        _kind_legend(figure, {r["kind"] for rows in tables.values() for r in rows})
        caption = (
            f"From 224 to 28 pixels: {small.name} and {large.name}, layers stacked in the signal's order. The number is the "
            "ratio of the second to the first."
        )
        return Drawing(figure, caption, f"Costs from 224 to 28 pixels. {by_panel(totals)}")

    return FigureSpec("stem_bars", draw)


def accuracy_against_cost(errors: Mapping[str, float] = TORCHVISION_TOP_1) -> FigureSpec:
    """Published top-1 errors against counted multiply-adds and parameters.

    errors: {arm: top-1 error in percent}.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        records = {record.arm: record for record in context.networks}
        counted = {name: records[name] for name in errors if name in records}
        if not counted:
            return None
        figure = Figure(figsize=(WIDTH, 3.2))
        axes = figure.subplots(1, 2, sharey=True)
        for ax, (metric, label, unit) in zip(
            axes, (("macs", "multiply-adds (G)", 1e9), ("params", "parameters (M)", 1e6)), strict=True
        ):
            for name, record in counted.items():
                value = record.value(metric)
                assert value is not None, f"{name} was not counted"
                ax.plot(value / unit, errors[name], "o", color=_family_colour(name), markersize=4.5)
                above = name in LABELLED_ABOVE
                shift = (0, 5) if above else (4, -10 if name in LABELLED_BELOW else 3)
                ax.annotate(
                    name, (value / unit, errors[name]), xytext=shift, textcoords="offset points", fontsize=LEGEND_SIZE,
                    ha="center" if above else "left",
                )  # fmt: skip
            ax.set_xscale("log")
            ax.margins(x=0.22, y=0.1)
            ax.set_xlabel(label)
        axes[0].set_ylabel("top-1 error (%)")
        caption = (
            "Published top-1 error on ImageNet's validation images against counted operations and parameters. The errors are "
            "those of torchvision's first weights (IMAGENET1K_V1) on one central crop. Unlike ours, its GoogLeNet has batch "
            "normalization and 3×3 kernels in the branches named 5×5. No net was trained here."
        )
        costs = {
            name: f"has {errors[name]:g} % with {number((record.value('macs') or 0) / 1e9)} G multiply-adds and "
            f"{number((record.value('params') or 0) / 1e6)} M parameters"
            for name, record in counted.items()
        }
        return Drawing(figure, caption, f"Top-1 error against multiply-adds and parameters: {listed(costs)}.")

    return FigureSpec("accuracy_against_cost", draw)


def ilsvrc_by_year() -> FigureSpec:
    """Top-5 error in the ImageNet challenge by year, compared with human error."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, 2.6))
        ax = figure.subplots()
        for place, (_, error, _, won) in enumerate(ILSVRC):
            ax.bar(place, error, color=COLOURS[0] if won else PAPER_GREY, width=0.7)
            inside = error < HUMAN_TOP_5 < error + 3  # the line would cross a number above the bar
            ax.annotate(
                f"{error:g}", (place, error), xytext=(0, -9 if inside else 2), textcoords="offset points", ha="center",
                color="white" if inside else "black",
            )  # fmt: skip
        ax.axhline(
            HUMAN_TOP_5, color="black", linewidth=0.9, linestyle="--", label=f"human, about {HUMAN_TOP_5:g} %", zorder=0
        )
        ax.set_xticks(range(len(ILSVRC)), [f"{year}\n{name}" for year, _, name, _ in ILSVRC])
        ax.set_ylabel("top-5 error (%)")
        _grid_behind(ax)
        ax.legend()
        caption = (
            "Published top-5 error in the classification task of the ImageNet challenge. Blue: the winner of the year. In "
            "2014 GoogLeNet won and VGG (grey) came second; notes-B states the opposite. The winner of 2013 was an ensemble "
            "of nets like ZFNet."
        )
        by_year = {f"{year} ({name})": f"{error:g} %" for year, error, name, _ in ILSVRC}
        return Drawing(
            figure, caption, f"Bars of the top-5 error: {listed(by_year)}. Human error: about {HUMAN_TOP_5:g} %."
        )

    return FigureSpec("ilsvrc_by_year", draw)


def _tables(context: Context, arms: Sequence[CountedArm]) -> dict[str, list[dict[str, str]]]:
    """Return {arm: rows of its layers, without auxiliary heads} of the counted arms."""
    records = {record.arm: record for record in context.networks}
    counted = [records[arm.name] for arm in arms if arm.name in records]
    return {record.arm: [row for row in record.table("layers") if not row["in_heads"]] for record in counted}


def _largest(tables: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, dict[str, str]]:
    """Return {net: {quantity: its layer with the highest value}}."""
    largest: dict[str, dict[str, str]] = {}
    for name, rows in tables.items():
        for column, label, unit in QUANTITIES:
            row = max(rows, key=lambda row, column=column, unit=unit: _height(row, column, unit))
            largest.setdefault(name, {})[label] = f"{number(_height(row, column, unit))} in {row['layer']}"
    return largest


def _stack(ax: Axes, place: int, rows: Sequence[Mapping[str, str]], column: str, unit: float) -> float:
    """Draw the layers' values as a stacked bar; return its height."""
    bottom = 0.0
    for row in rows:
        height = _height(row, column, unit)
        colour = KIND_COLOURS[row["kind"]]
        ax.bar(place, height, bottom=bottom, width=0.6, color=colour, edgecolor="white", linewidth=0.5)
        bottom += height
    return bottom


def _height(row: Mapping[str, str], column: str, unit: float) -> float:
    """Return a layer's value in the unit shown; for pooling, which has no multiply-adds, `macs` counts as 0."""
    return 0.0 if column == "macs" and row["kind"] == "pool" else float(row[column]) / unit


def _grid_behind(ax: Axes) -> None:
    ax.grid(False, axis="x")
    ax.set_axisbelow(True)


def _kind_legend(figure: Figure, kinds: set[str]) -> None:
    from matplotlib.patches import Patch

    shown = [kind for kind in KIND_COLOURS if kind in kinds]
    handles = [Patch(color=KIND_COLOURS[kind], label=KIND_LABELS[kind]) for kind in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _family_colour(name: str) -> str:
    families = ("alexnet", "vgg", "googlenet", "resnet")
    return COLOURS[families.index(name.split("-")[0])]
