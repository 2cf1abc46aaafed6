"""The explanations that the sources give for the failure of deep plain nets, with the claims that test each.

`explanations.csv` has one row per explanation, in the order of the page `why.md`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXPLANATIONS = Path(__file__).with_name("explanations.csv")


@dataclass(frozen=True)
class Explanation:
    """Why deep plain nets fail, according to a source."""

    cause: str
    """In a few words."""
    source: str
    """Sources, with lines of the notes and posts, e.g. "blog-A:41"."""
    says: str
    """The explanation in one to three sentences."""
    claims: Sequence[str]
    """Names of the claims that test it, of any experiment."""
    open: str
    """What the claims leave open."""


def explanations() -> list[Explanation]:
    """Return all explanations, in the order of the file. Raises OSError."""
    with EXPLANATIONS.open(encoding="utf-8", newline="") as file:
        return [
            Explanation(row["cause"], row["source"], row["says"], row["claims"].split(), row["open"])
            for row in csv.DictReader(file)
        ]
