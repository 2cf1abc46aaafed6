"""A claim of a source, and what it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_repro.claims.comparisons import Comparison, Exact


@dataclass(frozen=True)
class Claim:
    """One sentence of a source, and the comparisons that must all hold for it.

    needs_paper_budget: the sentence speaks of nets trained to the end; shorter runs cannot decide it.
    from_prefix: a prefix of the published schedule decides the sentence from so many steps on, and none that is shorter;
    None where a prefix is no more and no less than any other budget.
    refuted_early: for such a sentence, shorter runs can refute it all the same, as what has been learned is learned.
    any_weights: it holds or not whatever weights the arms began with; the others are undecided on substitute weights.
    note: what the reader must know to read the effect.
    """

    name: str
    source: str
    text: str
    test: Sequence[Comparison] | Sequence[Exact]
    needs_paper_budget: bool = False
    from_prefix: int | None = None
    refuted_early: bool = False
    any_weights: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if not self.test:
            raise ValueError(f"claim {self.name} has no comparison: nothing could refute it")
        if len({isinstance(comparison, Exact) for comparison in self.test}) > 1:
            raise ValueError(f"claim {self.name} mixes counted numbers with measured ones: make it two claims")

    @property
    def exact(self) -> bool:
        """Whether it is about counted numbers."""
        return isinstance(self.test[0], Exact)
