"""Seeds and counts as users write them."""

from __future__ import annotations

import pytest

from resnet_repro.errors import UserError
from resnet_repro.parsing import parse_count, parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0,1,2", (0, 1, 2)), ("0-4", (0, 1, 2, 3, 4)), ("7,0-1,1", (0, 1, 7))]
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "3-1", "1,,2", "1.5", "0-99999", "²", "99999999999"])
def test_malformed_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="SEEDS"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["0", "-5", "ten", "", "1.5", "1e3"])
def test_malformed_counts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="ITERATIONS"):
        parse_count(text, "ITERATIONS")


@pytest.mark.parametrize(
    ("text", "name"),
    [("1000000001", "ITERATIONS"), ("9" * 5_000, "ITERATIONS"), ("1001", "SLOTS"), ("9" * 30, "THREADS")],
)
def test_counts_that_nobody_means_are_refused(text: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}='9?.{{0,60}} is too large: [\d,]+ at most$"):
        parse_count(text, name)
    assert parse_count("1_000_000_000", "ITERATIONS") == 10**9


@pytest.mark.parametrize("text", ["9" * 5_000, f"0-{'9' * 5_000}", "x" * 5_000])
def test_seeds_that_nobody_means_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^SEEDS='.{0,140}$"):
        parse_seeds(text)
