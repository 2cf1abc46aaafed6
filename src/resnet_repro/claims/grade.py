"""Grades: what the verdict on a claim is based on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["exact", "published", "prefix", "compressed", "substitute"]
KINDS: tuple[Kind, ...] = ("exact", "published", "prefix", "compressed", "substitute")
"""From the strongest basis to the weakest."""


@dataclass(frozen=True)
class Grade:
    """The basis of a verdict, from counted numbers to substitute data.

    "exact": counted on the architectures. "published": the source's data, recipe, length and metric. "prefix": the first
    part of the published schedule. "compressed": the whole schedule in fewer steps. "substitute": other data, smaller
    images or other initial weights than the source's.
    """

    kind: Kind
    percent: float | None = None
    """Steps in percent of the published ones, for prefixes and compressed schedules."""

    def __str__(self) -> str:
        """Return the grade in words, e.g. "prefix 53 %" or "compressed 12.5 %"."""
        if self.percent is None:
            return self.kind
        digits = f"{self.percent:.3g}" if self.percent >= 0.1 else f"{self.percent:.1g}"
        return f"{self.kind} {digits} %"


EXACT, PUBLISHED, SUBSTITUTE = Grade("exact"), Grade("published"), Grade("substitute")


def weakest(grades: Sequence[Grade]) -> Grade:
    """Return the weakest of several grades, and among equals the one with the smallest part of the steps."""
    return max(grades, key=lambda grade: (KINDS.index(grade.kind), -(grade.percent or 0.0)))
