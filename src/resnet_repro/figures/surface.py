"""Figures of the surface of the loss: its curvature along the training, and its shape around the finished network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import first_and_last, from_to, listed, number, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.layers import unique_legend
from resnet_repro.figures.seeds import Curve, draw_seeds, geometric_mean, of_seeds
from resnet_repro.figures.style import PAPER_GREY, WIDTH, looks
from resnet_repro.records.record import Record
from resnet_repro.tables import read_columns

LEVELS = 12
HIGHEST = 10.0  # upper end of the contours, in nats: four times the loss of guessing


def curvature_along(arms: Sequence[Arm], limit: float) -> FigureSpec:
    """Largest eigenvalue of the Hessian against the training step, with the limit of stability as a line."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        measured = {arm.name: [c for r in context.of(arm.name) if (c := _curvatures(r))] for arm in arms}
        shown = {name: runs for name, runs in measured.items() if runs}
        if not shown:
            return None
        style = looks([arm.name for arm in arms])
        figure = Figure(figsize=(WIDTH, 3.0))
        ax = figure.subplots()
        for name, runs in shown.items():
            draw_seeds(ax, runs, style[name], label=name, centre=geometric_mean)
        ax.axhline(limit, color=PAPER_GREY, linestyle="--", label="limit of stability", zorder=1)
        ax.set_xscale("symlog", linthresh=1)
        ax.set_yscale("log")
        ax.set_xlabel("iteration")
        ax.set_ylabel("largest eigenvalue of the Hessian")
        figure.legend(*unique_legend(ax), loc="outside lower center", ncols=3)
        counts = [len(runs) for runs in shown.values()]
        caption = (
            "Largest eigenvalue of the Hessian of the training loss before the first step, after 1, 10, 100 and 1,000 steps. "
            f"Dashed: {limit:g}, above which gradient descent at the published rate and momentum diverges on a quadratic "
            f"loss. {of_seeds(counts).replace('means', 'geometric means')}"
        )
        ends = {name: from_to(first_and_last(runs, geometric_mean)) for name, runs in shown.items()}
        alternative = (
            "Largest eigenvalue of the Hessian from the first measured step to the last, "
            f"{over_seeds(counts, 'geometric means')}: {listed(ends)}. The limit of stability is {limit:g}."
        )
        return Drawing(figure, caption, alternative)

    return FigureSpec("curvature", draw)


def landscapes(arms: Sequence[Arm]) -> FigureSpec:
    """Contours of the training loss around the finished network of the first seed, one panel per arm."""

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = {arm.name: plane for arm in arms for r in context.of(arm.name)[:1] if (plane := _plane(r))}
        if not shown:
            return None
        rows = -(-len(shown) // 2)
        figure = Figure(figsize=(WIDTH, 0.4 + 2.9 * rows))
        axes = figure.subplots(rows, min(2, len(shown)), sharex=True, sharey=True, squeeze=False)
        for ax in axes.flat[len(shown) :]:
            ax.set_visible(False)
        lowest = max(min(float(np.nanmin(loss)) for _, loss in shown.values()), 1e-3)
        levels = np.geomspace(lowest, max(HIGHEST, 2 * lowest), LEVELS)
        for ax, (name, (offsets, loss)) in zip(axes.flat, shown.items(), strict=False):
            lines = ax.contour(offsets, offsets, np.clip(loss, lowest, None), levels=levels, linewidths=0.9)
            ax.clabel(lines, fmt="%.2g", fontsize=7)
            ax.plot(0, 0, "+", color="black")
            ax.set_title(name)
            ax.set_aspect("equal")
        for ax in axes[-1]:
            ax.set_xlabel("first direction")
        for row in axes:
            row[0].set_ylabel("second direction")
        caption = (
            "Training loss on 256 images around the finished network of the first seed (cross), on a plane of two random "
            "directions whose filters have the norms of the network's (H. Li et al., 2018)."
        )
        around = {name: _loss_around(plane) for name, plane in shown.items()}
        return Drawing(
            figure, caption, f"Contours of the training loss around the network, first seed: {listed(around)}."
        )

    return FigureSpec("landscapes", draw)


def _loss_around(plane: tuple[np.ndarray, np.ndarray]) -> str:
    """Say the loss of the network and the range of the loss on the edge of the plane."""
    offsets, loss = plane
    centre = int(np.argmin(np.abs(offsets)))
    edge = np.concatenate([loss[0], loss[-1], loss[:, 0], loss[:, -1]])
    edge = edge[np.isfinite(edge)]
    words = f"{number(edge.min())} to {number(edge.max())}" if len(edge) else "nowhere finite"
    return f"has {number(float(loss[centre, centre]))} at the network and {words} on the edge of the plane"


def _curvatures(record: Record) -> Curve | None:
    """Return (steps, eigenvalues) where they are finite and positive; None without any."""
    columns = read_columns(record.folder / "curvature.csv", "iteration", "curvature")
    points = [(step, value) for step, value in zip(*columns, strict=True) if 0 < value < np.inf] if columns else []
    return tuple(zip(*points, strict=True)) if points else None  # type: ignore[return-value]


def _plane(record: Record) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (offsets, (offsets, offsets) losses), the first direction along the columns; None if not measured."""
    columns = read_columns(record.folder / "landscape.csv", "along", "across", "loss")
    if not columns:
        return None
    along, across, loss = map(np.array, columns)
    offsets = np.unique(along)
    plane = np.full((len(offsets), len(offsets)), np.nan)
    plane[np.searchsorted(offsets, across), np.searchsorted(offsets, along)] = loss
    return offsets, plane
