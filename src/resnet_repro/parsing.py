"""Parse values of the command line: seeds, numbers, choices."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from resnet_repro.errors import UserError

Value = TypeVar("Value")

DIGITS = 18  # A longer number is a typing error; int() would refuse more than 4,300 digits with a ValueError.


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse seeds as "0,1,2", "0-4" or a mixture; returns each seed once, in ascending order. Raises UserError."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        numbers = first.isascii() and first.isdigit() and last.isascii() and last.isdigit()
        huge = max(len(first), len(last)) > DIGITS
        if not numbers or (not huge and int(last) < int(first)):
            raise UserError(f"invalid SEEDS {_short(text)}: expected a list of seeds, e.g. 0,1,2 or 0-4")
        if huge or int(last) >= 2**31 or int(last) - int(first) >= 10_000:
            raise UserError(f"invalid SEEDS {_short(text)}: expected at most 10,000 seeds below 2^31, e.g. 0-4")
        seeds.update(range(int(first), int(last) + 1))
    return tuple(sorted(seeds))


def choice(value: Value, known: Iterable, kind: str) -> Value:
    """Return `value` if it is one of `known`. Raises UserError that lists the known values.

    kind: noun for the value in the message, e.g. "network".
    """
    known = tuple(known)
    if value not in known:
        raise UserError(f"unknown {kind} {value!r}: expected one of {', '.join(map(str, known))}")
    return value


def seed_list(seeds: Sequence[int]) -> str:
    """Format seeds, given in ascending order, as `parse_seeds` reads them: "0-4,7"."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def number(
    kind: type[int] | type[float], least: float = 1, most: float = 1_000_000_000, example: str = ""
) -> Callable[[str], Any]:
    """Make an argparse type: an int or a float from `least` to `most`.

    example: a valid value, shown in the error message. The parser of `cli` puts the flag's name in front of the message.
    """

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            noun = "whole number" if kind is int else "number"
            hint = f", e.g. {example}" if example else ""
            raise argparse.ArgumentTypeError(f"{_short(text)}: expected a {noun} from {least:,} to {most:,}{hint}")
        return value

    return parse


def given(text: str) -> str:
    """Take any text but an empty one, which is the value of a variable that was not set. An argparse type."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a value, or leave it out")
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: "0 runs", "1 run", "2,000 runs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Join names; those beyond the first `most` are only counted: "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
