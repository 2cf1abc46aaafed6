"""What a user asks for in words: some of the arms, seeds, counts."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_repro.errors import UserError

DIGITS = 18  # more of them are no number that anyone means


LARGEST_COUNT = 1_000_000_000


LARGEST = {"SLOTS": 1_000, "THREADS": 10_000, "WORKERS": 10_000, "NODES": 100_000}


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


def seed_list(seeds: Sequence[int]) -> str:
    """Seeds as `parse_seeds` reads them: "0-4,7". `seeds` in ascending order."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def parse_count(text: str, name: str) -> int:
    """A positive whole number. Raises UserError naming the variable."""
    digits = text.strip().replace("_", "")
    if not (digits.isascii() and digits.isdigit()) or not digits.strip("0"):
        raise UserError(f"{name}={_short(text)} is no positive whole number: write for example {name}=2000")
    largest = LARGEST.get(name, LARGEST_COUNT)
    if len(digits) > DIGITS or int(digits) > largest:
        raise UserError(f"{name}={_short(text)} is too large: {largest:,} at most")
    return int(digits)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def plural(count: int, noun: str) -> str:
    """ "0 runs", "1 run", "2 runs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
