"""`FigureSpec`, by which experiment files declare figures, and `Context`, the data to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_repro.records.record import CountRecord, Record


@dataclass(frozen=True)
class Context:
    """The data of figures: an experiment's records at one budget."""

    records: Sequence[Record]
    """Records of the runs."""
    iterations: int
    """Length of the longest schedule in steps; 0 without runs."""
    published: bool = True
    """Whether to show the source's values. False on a data set other than the source's."""
    networks: Sequence[CountRecord] = ()
    """Records of the counted networks."""

    @property
    def prefix(self) -> int | None:
        """The step of the published schedule at which the longest prefix ends; None without prefixes."""
        return max((prefix for record in self.records if (prefix := record.settings.prefix) is not None), default=None)

    @property
    def length(self) -> str:
        """The iterations as text: "8,000", or "34,000 of 64,000" for a prefix."""
        done = "" if self.prefix is None else f"{self.prefix:,} of "
        return f"{done}{self.iterations:,}"

    def length_of(self, arms: Iterable[str]) -> str:
        """The iterations of these arms as text, as in `length`."""
        settings = [record.settings for arm in arms for record in self.of(arm)]
        whole = [s.iterations for s in settings if s.prefix is None]
        cut = {(s.prefix, s.iterations) for s in settings if s.prefix is not None}
        texts = [f"{prefix:,} of {steps:,}" for prefix, steps in sorted(cut)[-1:]]
        return " or ".join([*([f"{max(whole):,}"] if whole else []), *texts]) or self.length

    def of(self, arm: str) -> list[Record]:
        """Return the records of an arm."""
        return [record for record in self.records if record.arm == arm]


class Drawing(NamedTuple):
    """A drawn figure with its texts."""

    figure: Figure
    caption: str
    """How to read the figure."""
    alternative: str
    """What the figure shows, in numbers, for readers who cannot see it; see `figures.alternative`."""


@dataclass(frozen=True)
class FigureSpec:
    """A named figure."""

    name: str
    """Part of the file names, e.g. "error_curves"."""
    draw: Callable[[Context], Drawing | None]
    """Returns the figure with its texts, or None without data to draw."""
