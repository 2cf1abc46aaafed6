"""Figures of representations: probes and input recovery against depth, first filters, feature maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import by_panel, first_and_last, from_to, listed, number, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.layers import unique_legend
from resnet_repro.figures.seeds import draw_seeds, mean_curve, of_seeds
from resnet_repro.figures.style import LEGEND_SIZE, WIDTH, looks
from resnet_repro.records.record import Record

# (column of features.csv, its words, unit)
PROBES = (("probe_error", "test error of the probe", "%"), ("recovered", "R² of the recovered input", ""))


def probes_and_recovery(trained: Sequence[Arm], initial: Sequence[Arm]) -> FigureSpec:
    """Probe error and R² of the recovered input along the depth; trained nets solid, untrained ones dashed."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        names = [arm.name for arm in (*trained, *initial)]
        if not any(context.of(name) for name in names):
            return None
        styles = {**looks([arm.name for arm in trained]), **looks([arm.name for arm in initial])}
        figure = Figure(figsize=(WIDTH, 3.2))
        axes = figure.subplots(1, 2)
        ends: dict[str, dict[str, str]] = {}
        for name in names:
            line = "-" if name in {arm.name for arm in trained} else "--"
            tables = [record.table("features") for record in context.of(name)]
            for ax, (column, subject, unit) in zip(axes, PROBES, strict=True):
                runs = [(_depth(rows), [float(row[column]) for row in rows]) for rows in tables]
                if runs:
                    draw_seeds(ax, runs, styles[name], line, label=name, marks=8, linewidth=1.1)
                    ends.setdefault(subject, {})[name] = from_to(first_and_last(runs), unit)
        axes[0].set_title("linear probe")
        axes[0].set_ylabel("test error (%)")
        axes[1].set_title("recovered input")
        axes[1].set_ylabel("R²")
        axes[1].set_ylim(top=1.02)
        for ax in axes:
            ax.set_xlabel("relative depth (0: first convolution, 1: last block)")
        figure.legend(*unique_legend(axes[0]), loc="outside lower center", ncols=4)
        counts = [len(context.of(name)) for name in names]
        caption = (
            "Left: test error of a logistic regression on the channel means at each depth. Right: R² of a ridge regression "
            "that recovers the input image, averaged to 8×8. Solid: trained; dashed: untrained. "
            f"{of_seeds(counts)}"
        )
        alternative = f"From the first convolution to the last block, {over_seeds(counts)}. {by_panel(ends)}"
        return Drawing(figure, caption, alternative)

    return FigureSpec("probes", draw)


def errors_without_blocks(arms: Sequence[Arm]) -> FigureSpec:
    """Test error after leaving out each block in turn, along the depth; the whole net as a horizontal line."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = [arm.name for arm in arms if any(record.table("blocks") for record in context.of(arm.name))]
        if not shown:
            return None
        styles = looks(shown)
        figure = Figure(figsize=(WIDTH, 2.9))
        ax = figure.subplots()
        errors: dict[str, str] = {}
        for name in shown:
            tables = [rows for record in context.of(name) if (rows := record.table("blocks"))]
            parts = [[row for row in rows if row["name"] != "all"] for rows in tables]
            last = max(int(row["place"]) for row in parts[0])
            runs = [
                ([(int(row["place"]) - 1) / max(last - 1, 1) for row in rows], [float(row["error"]) for row in rows])
                for rows in parts
            ]
            draw_seeds(ax, runs, styles[name], "-", label=name, marks=40, linewidth=1.1)
            whole = [float(row["error"]) for rows in tables for row in rows if row["name"] == "all"]
            ax.axhline(sum(whole) / len(whole), color=styles[name]["color"], linestyle=":", linewidth=1)
            _, without = mean_curve(runs)
            bounds = f"{number(min(without))} to {number(max(without), '%')}"
            errors[name] = f"has {number(sum(whole) / len(whole), '%')} whole and {bounds} without a block"
        ax.set_xlabel("block that is left out (0: first, 1: last)")
        ax.set_ylabel("test error (%)")
        figure.legend(*unique_legend(ax), loc="outside lower center", ncols=4)
        counts = [len(context.of(name)) for name in shown]
        caption = (
            "Test error after leaving out one block. Dotted: the whole net. In plain nets, blocks that change the size stay. "
            f"{of_seeds(counts)}"
        )
        alternative = (
            "Test error of the whole net, and the lowest and highest one after leaving out one block, "
            f"{over_seeds(counts)}: {'; '.join(f'{name} {words}' for name, words in errors.items())}."
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("blocks", draw)


def first_filters(arms: Sequence[Arm]) -> FigureSpec:
    """The 3×3 filters of the first convolution as small colour images, for the first seed."""

    def draw(context: Context) -> Drawing | None:
        import numpy as np
        from matplotlib.figure import Figure

        shown = [record for arm in arms if (record := _first(context, arm, "filters"))]
        if not shown:
            return None
        figure = Figure(figsize=(WIDTH, 0.62 * len(shown) + 0.2))
        axes = figure.subplots(len(shown), 1, squeeze=False)
        filters: dict[str, str] = {}
        for ax, record in zip(axes[:, 0], shown, strict=True):
            rows = record.table("filters")
            count = 1 + max(int(row["filter"]) for row in rows)
            weights = np.zeros((3, count * 4 - 1, 3))
            weights[:] = np.nan
            largest = max(abs(float(row["weight"])) for row in rows)
            filters[record.arm] = f"has {count} filters with weights up to {number(largest)}"
            for row in rows:
                place = int(row["y"]), 4 * int(row["filter"]) + int(row["x"]), int(row["channel"])
                weights[place] = 0.5 + 0.5 * float(row["weight"]) / largest
            ax.imshow(np.nan_to_num(weights, nan=1.0))
            ax.set_ylabel(record.arm, rotation=0, ha="right", va="center")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(visible=False)
            ax.spines[:].set_visible(False)
        return Drawing(
            figure,
            "Filters of the first convolution: weights of red, green and blue; grey is zero. First seed.",
            f"Filters of the first convolution as images of 3×3 pixels, first seed: {listed(filters)}.",
        )

    return FigureSpec("filters", draw)


def feature_maps(arms: Sequence[Arm]) -> FigureSpec:
    """Feature maps of one test image at some depths, for the channels with the highest variance and the first seed."""

    def draw(context: Context) -> Drawing | None:
        import numpy as np
        from matplotlib.figure import Figure

        shown = [record for arm in arms if (record := _first(context, arm, "maps"))]
        if not shown:
            return None
        maps = []
        for record in shown:
            by_place: dict[str, dict[int, list[list[float]]]] = {}
            for row in record.table("maps"):
                lines = by_place.setdefault(row["name"], {}).setdefault(int(row["channel"]), [])
                lines.append([float(value) for value in row["values"].split()])
            maps.append(by_place)
        places = max(len(by_place) for by_place in maps)
        channels = max(len(by_channel) for by_place in maps for by_channel in by_place.values())
        rows = ceil(channels / 2)
        figure = Figure(figsize=(WIDTH, len(shown) * (WIDTH / (2 * places) * (rows + 0.35) + 0.25)))
        parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
        for part, record, by_place in zip(parts, shown, maps, strict=True):
            part.suptitle(record.arm, fontsize=8)
            axes = part.subplots(rows, places * 2, squeeze=False)
            for ax in axes.flat:
                ax.set_axis_off()
            for column, (name, by_channel) in enumerate(by_place.items()):
                for index, lines in enumerate(by_channel.values()):
                    ax = axes[index // 2][2 * column + index % 2]
                    ax.imshow(np.array(lines), cmap="gray")
                    if index == 0:
                        ax.set_title(name, fontsize=LEGEND_SIZE, loc="left")
        caption = (
            "Feature maps of one test image along the depth: the channels that vary most at each depth, each scaled to its "
            "own range. First seed."
        )
        sizes = {
            record.arm: {name: _size_of(by_channel) for name, by_channel in by_place.items()}
            for record, by_place in zip(shown, maps, strict=True)
        }
        return Drawing(
            figure, caption, f"Feature maps of one test image as grey pictures, first seed. {by_panel(sizes)}"
        )

    return FigureSpec("maps", draw)


def _size_of(by_channel: Mapping[int, Sequence[Sequence[float]]]) -> str:
    """Describe the maps at a depth, e.g. "4 maps of 32×32"."""
    lines = next(iter(by_channel.values()))
    return f"{len(by_channel)} maps of {len(lines)}×{len(lines[0])}"


def _depth(rows: Sequence[Mapping[str, str]]) -> list[float]:
    """Return the relative depths of a net's places: 0 is the first convolution, 1 the last block."""
    return [(int(row["place"]) - 1) / max(len(rows) - 1, 1) for row in rows]


def _first(context: Context, arm: Arm, table: str) -> Record | None:
    """Return the arm's first record with a non-empty table of that name."""
    return next((record for record in context.of(arm.name) if record.table(table)), None)
