"""Curves of several seeds: their mean, and the seeds behind it."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_repro.figures.seeds import draw_seeds, geometric_mean, mean_curve, of_seeds

LOOK = {"color": "blue", "marker": "o"}


def test_mean_of_runs_measured_at_the_same_steps() -> None:
    assert mean_curve([([1, 2, 3], [90.0, 60.0, 30.0]), ([1, 2, 3], [80.0, 50.0, 10.0])]) == (
        [1, 2, 3], [85.0, 55.0, 20.0],
    )  # fmt: skip


def test_mean_ends_with_the_shortest_run() -> None:
    x, y = mean_curve([([1, 2, 3, 4], [90.0, 60.0, 30.0, 20.0]), ([1, 2], [80.0, 50.0])])
    assert (list(x), list(y)) == ([1, 2], [85.0, 55.0])


def test_runs_are_interpolated_linearly() -> None:
    x, y = mean_curve([([0, 10, 20, 30], [30.0, 20.0, 10.0, 0.0]), ([5, 25], [100.0, 100.0])])
    assert (list(x), list(y)) == ([5, 25], [62.5, 52.5])


def test_run_without_points_leaves_no_mean() -> None:
    assert mean_curve([([1, 2], [90.0, 60.0]), ([], [])]) == ([], [])
    assert mean_curve([]) == ([], [])


def test_geometric_mean_accepts_zeros() -> None:
    assert geometric_mean([1e-4, 1e-2]) == pytest.approx(1e-3)
    assert geometric_mean([1.0, 0.0]) > 0


def test_seeds_are_pale_and_unmarked_behind_the_mean() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    draw_seeds(ax, [([1, 2], [3.0, 4.0]), ([1, 2], [5.0, 6.0])], LOOK, label="plain-20")
    seeds, mean = ax.get_lines()
    assert ax.get_legend_handles_labels()[1] == ["plain-20"]
    assert [line.get_marker() for line in (seeds, mean)] == ["None", "o"]
    assert np.array_equal(mean.get_ydata(), [4.0, 5.0])
    gap = np.nan  # the seeds are not joined
    assert np.array_equal(seeds.get_xdata(), [1, 2, gap, 1, 2, gap], equal_nan=True)
    assert np.array_equal(seeds.get_ydata(), [3, 4, gap, 5, 6, gap], equal_nan=True)
    assert seeds.get_linewidth() < mean.get_linewidth() and seeds.get_zorder() < mean.get_zorder()
    assert (seeds.get_alpha() or 1.0) < 1


def test_single_seed_is_drawn_once() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    draw_seeds(ax, [([1, 2], [3.0, 4.0])], LOOK, label="plain-20")
    (line,) = ax.get_lines()
    assert np.array_equal(line.get_ydata(), [3.0, 4.0])


def test_caption_distinguishes_one_seed_from_means() -> None:
    assert "one seed" in of_seeds([1, 1]) and "mean" not in of_seeds([1, 1])
    assert "means over seeds" in of_seeds([1, 3]) and "one seed" not in of_seeds([1, 3])
