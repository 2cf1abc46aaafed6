"""Parsing of seeds and numbers from the command line."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from resnet_repro.errors import UserError
from resnet_repro.parsing import number, parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0,1,2", (0, 1, 2)), ("0-4", (0, 1, 2, 3, 4)), ("7,0-1,1", (0, 1, 7))]
)
def test_seed_lists_are_parsed(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "3-1", "1,,2", "1.5", "0-99999", "²", "99999999999"])
def test_malformed_seed_lists_are_rejected(text: str) -> None:
    with pytest.raises(UserError, match="SEEDS"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["0", "-5", "ten", "", "1.5", "1e3", "1000000001", "9" * 5_000])
def test_malformed_whole_numbers_are_rejected(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^'.{0,42}: expected a whole number from 1 to 1,000,000,000$"):
        number(int)(text)


@pytest.mark.parametrize("text", ["0", "nan", "inf", "half", "9" * 5_000])
def test_malformed_fractions_are_rejected(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^'.{0,42}: expected a number from 0\.5 to 2, e\.g\. 0\.7$"):
        number(float, 0.5, 2, example="0.7")(text)


def test_numbers_in_range_are_parsed() -> None:
    assert [number(int)("1_000_000_000"), number(int, 0)("0"), number(float, 0)("0.5")] == [10**9, 0, 0.5]


@pytest.mark.parametrize("text", ["9" * 5_000, f"0-{'9' * 5_000}", "x" * 5_000])
def test_overlong_seed_lists_are_shortened_in_the_error(text: str) -> None:
    with pytest.raises(UserError, match=r"^invalid SEEDS '.{0,140}$"):
        parse_seeds(text)
