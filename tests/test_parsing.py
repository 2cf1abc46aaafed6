"""Seeds and numbers as users write them."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from resnet_repro.errors import UserError
from resnet_repro.parsing import number, parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0,1,2", (0, 1, 2)), ("0-4", (0, 1, 2, 3, 4)), ("7,0-1,1", (0, 1, 7))]
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "3-1", "1,,2", "1.5", "0-99999", "²", "99999999999"])
def test_malformed_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="SEEDS"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["0", "-5", "ten", "", "1.5", "1e3", "1000000001", "9" * 5_000])
def test_malformed_counts_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^'.{0,42} is no whole number from 1 to 1,000,000,000$"):
        number(int)(text)


@pytest.mark.parametrize("text", ["0", "nan", "inf", "half", "9" * 5_000])
def test_malformed_shares_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^'.{0,42} is no number from 0\.5 to 2$"):
        number(float, 0.5, 2)(text)


def test_numbers() -> None:
    assert [number(int)("1_000_000_000"), number(int, 0)("0"), number(float, 0)("0.5")] == [10**9, 0, 0.5]


@pytest.mark.parametrize("text", ["9" * 5_000, f"0-{'9' * 5_000}", "x" * 5_000])
def test_seeds_that_nobody_means_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^SEEDS='.{0,140}$"):
        parse_seeds(text)
