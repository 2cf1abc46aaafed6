"""What an experiment file says of a figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_repro.records.record import CountRecord, Record


@dataclass(frozen=True)
class Context:
    """What there is to draw: the records of an experiment's runs at one budget, the length of the longest in steps, and
    the records of its counted networks.

    published: whether the source's own curves belong beside them; not on another data set than the source's.
    """

    records: Sequence[Record]
    iterations: int
    published: bool = True
    networks: Sequence[CountRecord] = ()

    @property
    def prefix(self) -> int | None:
        """The step of the published schedule at which the longest of the runs ends; None where they go to its end."""
        return max((prefix for record in self.records if (prefix := record.settings.prefix) is not None), default=None)

    @property
    def length(self) -> str:
        """The iterations in words: "8,000", of a prefix "34,000 of 64,000"."""
        done = "" if self.prefix is None else f"{self.prefix:,} of "
        return f"{done}{self.iterations:,}"

    def of(self, arm: str) -> list[Record]:
        return [record for record in self.records if record.arm == arm]


@dataclass(frozen=True)
class FigureSpec:
    """A figure by name. draw returns it with its caption, or None where there is nothing to draw."""

    name: str
    draw: Callable[[Context], tuple[Figure, str] | None]
