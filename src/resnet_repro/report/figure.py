"""What an experiment file says of a figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_repro.results import Record


@dataclass(frozen=True)
class Context:
    """What there is to draw: all records of an experiment at one budget, and the length of that budget in steps."""

    records: Sequence[Record]
    iterations: int

    def of(self, arm: str) -> list[Record]:
        return [record for record in self.records if record.arm == arm]


@dataclass(frozen=True)
class FigureSpec:
    """A figure by name. draw returns it with its caption, or None where there is nothing to draw."""

    name: str
    draw: Callable[[Context], tuple[Figure, str] | None]
