"""A claim of a source and the comparisons that test it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_repro.claims.comparisons import Exact, Measured


@dataclass(frozen=True)
class Claim:
    """One statement of a source, and the comparisons that must all hold for it.

    Raises ValueError if `test` is empty or mixes counted and measured comparisons.
    """

    name: str
    """Short identifier, e.g. "D1"; unique over all experiments."""
    source: str
    """Source and section, e.g. "He15 §4.2"; "this project" first for claims of this repository."""
    text: str
    """The statement as reports print it."""
    test: Sequence[Measured] | Sequence[Exact]
    """The comparisons: all measured over seeds, or all counted on architectures."""
    needs_paper_budget: bool = False
    """The statement is about fully trained nets, so shorter runs do not test it."""
    from_prefix: int | None = None
    """Steps from which a prefix of the published schedule decides the claim. None: prefixes are judged like other budgets."""
    refuted_early: bool = False
    """With `needs_paper_budget`: shorter runs can still refute the claim, since learning is not undone later."""
    any_weights: bool = False
    """The claim holds for any initial weights. False: substitute weights do not test it."""
    measured: bool = False
    """The source has measured this itself, on runs of its own. Only then can the claim be called reproduced; otherwise the
    test is this project's.
    """
    seeds: int = 5
    """Number of seeds planned: those of the paper profile, or more if the claim needs them. Reports show if the runs have
    more or fewer.
    """
    note: str = ""
    """What the reader must know to interpret the effect."""

    def __post_init__(self) -> None:
        if not self.test:
            raise ValueError(f"claim {self.name} has no comparison: expected at least one")
        if len({isinstance(comparison, Exact) for comparison in self.test}) > 1:
            raise ValueError(
                f"claim {self.name} mixes counted and measured comparisons: expected one claim for each kind"
            )

    @property
    def own(self) -> bool:
        """Whether the claim is this project's and not a source's."""
        return self.source.startswith("this project")

    @property
    def own_test(self) -> bool:
        """Whether a source says it and this project chose how to measure it."""
        return not (self.own or self.measured or self.exact)

    @property
    def arms(self) -> list[str]:
        """The compared arms, each once."""
        return list(dict.fromkeys(arm for comparison in self.test for arm in comparison.arms))

    @property
    def exact(self) -> bool:
        """Whether the claim is about counted numbers."""
        return isinstance(self.test[0], Exact)
