"""Words of alternative texts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from resnet_repro.figures.alternative import by_panel, from_to, number, over_seeds, saved_alternative, unit_of
from resnet_repro.figures.seeds import SMALLEST


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (54.04, "54.0"), (9.999, "10.00"), (0.0123, "0.0123"), (12_345.6, "12,346"), (-0.41, "−0.410"), (0, "0"),
        (SMALLEST, "0"), (3.21e-7, "3.21e−07"), (1.5e7, "1.50e+07"), (math.nan, "no value"), (math.inf, "no value"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((1, 2.5), "rises from 1.00 to 2.50 %"),
        ((2.5, 1), "falls from 2.50 to 1.00 %"),
        ((1, 1.0001), "begins and ends at 1.00 %"),
        ((math.nan, 1), "has no value"),
    ],
)
def test_a_line_is_described_by_its_ends(ends: tuple[float, float], words: str) -> None:
    assert from_to(ends, "%") == words


@pytest.mark.parametrize(
    ("counts", "words"),
    [([1, 1], "one seed"), ([0, 3, 3], "means over 3 seeds"), ([1, 5], "means over 1 to 5 seeds"), ([], "one seed")],
)
def test_seeds_are_counted_over_the_arms_that_have_runs(counts: list[int], words: str) -> None:
    assert over_seeds(counts) == words


def test_panels_and_units() -> None:
    assert by_panel({"plain": {"a": "has 1", "b": "has 2"}, "": {"c": "has 3"}}) == "plain: a has 1, b has 2; c has 3."
    assert [unit_of(label) for label in ("loss (nats)", "error (%)", "distance")] == [" in nats", " in %", ""]


def test_files_without_a_text_have_none(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    assert saved_alternative(tmp_path / "a.png") is None
    Figure(figsize=(1, 1)).savefig(tmp_path / "a.png")
    assert saved_alternative(tmp_path / "a.png") is None
