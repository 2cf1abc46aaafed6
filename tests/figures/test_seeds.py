"""Curves of several seeds: where their mean stands, and what is drawn behind it."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_repro.figures.seeds import draw_seeds, geometric_mean, mean_curve, of_seeds

LOOK = {"color": "blue", "marker": "o"}


def test_the_mean_of_runs_read_at_the_same_steps() -> None:
    assert mean_curve([([1, 2, 3], [90.0, 60.0, 30.0]), ([1, 2, 3], [80.0, 50.0, 10.0])]) == (
        [1, 2, 3], [85.0, 55.0, 20.0],
    )  # fmt: skip


def test_the_mean_ends_with_the_first_run_that_does() -> None:
    x, y = mean_curve([([1, 2, 3, 4], [90.0, 60.0, 30.0, 20.0]), ([1, 2], [80.0, 50.0])])
    assert (list(x), list(y)) == ([1, 2], [85.0, 55.0])


def test_between_their_readings_runs_are_straight() -> None:
    x, y = mean_curve([([0, 10, 20, 30], [30.0, 20.0, 10.0, 0.0]), ([5, 25], [100.0, 100.0])])
    assert (list(x), list(y)) == ([5, 25], [62.5, 52.5])


def test_a_run_without_a_reading_leaves_no_mean() -> None:
    assert mean_curve([([1, 2], [90.0, 60.0]), ([], [])]) == ([], [])
    assert mean_curve([]) == ([], [])


def test_a_geometric_mean_is_that_of_a_logarithmic_axis() -> None:
    assert geometric_mean([1e-4, 1e-2]) == pytest.approx(1e-3)
    assert geometric_mean([1.0, 0.0]) > 0


def test_seeds_lie_pale_and_unmarked_behind_the_one_line_that_counts() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    draw_seeds(ax, [([1, 2], [3.0, 4.0]), ([1, 2], [5.0, 6.0])], LOOK, label="plain-20")
    *seeds, mean = ax.get_lines()
    assert ax.get_legend_handles_labels()[1] == ["plain-20"]
    assert [line.get_marker() for line in (*seeds, mean)] == ["None", "None", "o"]
    assert np.array_equal(mean.get_ydata(), [4.0, 5.0])
    for line in seeds:
        assert line.get_linewidth() < mean.get_linewidth() and line.get_zorder() < mean.get_zorder()
        assert (line.get_alpha() or 1.0) < 1


def test_a_single_seed_is_the_line() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    draw_seeds(ax, [([1, 2], [3.0, 4.0])], LOOK, label="plain-20")
    (line,) = ax.get_lines()
    assert np.array_equal(line.get_ydata(), [3.0, 4.0])


def test_captions_say_what_a_line_is() -> None:
    assert of_seeds([1, 1]) == "Each line is one seed."
    assert of_seeds([1, 3]).startswith("Lines are means over seeds, as far as every seed has a value")
