"""Values of the command line: seeds and numbers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from resnet_repro.errors import UserError

Value = TypeVar("Value")

DIGITS = 18  # more of them are no number that anyone means


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from "0,1,2", "0-4" or a mixture, sorted, each once. Raises UserError where the text is neither."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        numbers = first.isascii() and first.isdigit() and last.isascii() and last.isdigit()
        huge = max(len(first), len(last)) > DIGITS
        if not numbers or (not huge and int(last) < int(first)):
            raise UserError(f"SEEDS={_short(text)} is no list of seeds: write 0,1,2 or 0-4")
        if huge or int(last) >= 2**31 or int(last) - int(first) >= 10_000:
            raise UserError(f"SEEDS={_short(text)} is too large: seeds lie under 2^31, 10,000 of them at most")
        seeds.update(range(int(first), int(last) + 1))
    return tuple(sorted(seeds))


def choice(value: Value, known: Iterable, what: str) -> Value:
    """`value`, one of `known`. Raises UserError with the known ones where it is none."""
    known = tuple(known)
    if value not in known:
        raise UserError(f"unknown {what} {value!r}: take one of {', '.join(map(str, known))}")
    return value


def seed_list(seeds: Sequence[int]) -> str:
    """Seeds as `parse_seeds` reads them: "0-4,7". `seeds` in ascending order."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def number(kind: type[int] | type[float], least: float = 1, most: float = 1_000_000_000) -> Callable[[str], Any]:
    """An argparse type: an int or a float from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{_short(text)} is no {what} from {least:,} to {most:,}")
        return value

    return parse


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def plural(count: int, noun: str) -> str:
    """ "0 runs", "1 run", "2 runs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
