"""The statements of the sources, with the claims that test each of them or the reason why none does.

`statements.csv` has one row per statement, in the order of the sources' lines. The five sources are the notes and posts of
`docs/claims.md`; papers that they repeat are cited by the claims themselves.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STATEMENTS = Path(__file__).with_name("statements.csv")


@dataclass(frozen=True)
class Statement:
    """A statement of a source that can be checked, or the reason why it is not."""

    source: str
    """Short name of the source, e.g. "blog-A"."""
    line: str
    """Line or lines of the source, e.g. "41" or "33-37"."""
    text: str
    """The statement in English."""
    claims: Sequence[str]
    """Names of the claims that test it."""
    reason: str
    """Why no claim tests it, or what the claims leave open. Empty: the claims test all of it."""


def statements() -> list[Statement]:
    """Return all statements, in the order of the file. Raises OSError."""
    with STATEMENTS.open(encoding="utf-8", newline="") as file:
        return [
            Statement(row["source"], row["line"], row["statement"], row["claims"].split(), row["reason"])
            for row in csv.DictReader(file)
        ]
