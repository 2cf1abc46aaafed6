"""The results of runs that claims are judged on, and the results of comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from resnet_repro.claims.grade import PUBLISHED, Grade
from resnet_repro.claims.statistics import Interval

Verdict = Literal["supported", "contradicted", "inconclusive", "not tested", "seen once", "not seen"]


@dataclass(frozen=True)
class Results:
    """The results on which claims are judged."""

    values: Mapping[str, Mapping[int, Mapping[str, float]]]
    """{arm: {seed: {metric: value}}}."""
    standin: bool = False
    """Whether any run used stand-in data."""
    short: frozenset[str] = frozenset()
    """Arms with a run below its published budget."""
    prefixes: Mapping[str, int] = field(default_factory=dict)
    """{arm: steps} of the arms that were trained on a prefix of the published schedule."""
    pairing_keys: Mapping[str, Mapping[int, str | None]] = field(default_factory=dict)
    """{arm: {seed: key}}. Equal keys: the runs shared the initial weights of the main path and the data order."""
    origins: Mapping[str, Mapping[int, str | None]] = field(default_factory=dict)
    """{arm: {seed: key}}. Equal keys: the runs descend from the same trained net. None: the run began untrained."""
    substitute: frozenset[str] = frozenset()
    """Arms that began with substitutes for the intended pretrained weights."""
    grades: Mapping[str, Grade] = field(default_factory=dict)
    """{arm: the basis of a verdict on its runs}, by data, resolution and length. Arms without an entry: published."""

    begun: Mapping[str, str] = field(default_factory=dict)
    """{arm: UTC time in ISO 8601 at which its first run began}."""

    def grade(self, arm: str) -> Grade:
        """Return the grade of an arm's runs."""
        return self.grades.get(arm, PUBLISHED)

    def of(self, arm: str, metric: str) -> dict[int, float]:
        """Return {seed: value} of a metric, without the seeds that lack it."""
        return {seed: row[metric] for seed, row in self.values.get(arm, {}).items() if metric in row}

    def share_chance(self, arms: Sequence[str], seeds: Sequence[int]) -> bool:
        """Whether the arms share their source of randomness at every seed, so that it cancels in a difference.

        They do if their runs had the same initial weights and data order, or descend from the same trained net.
        """
        return any(_agree(keys, arms, seeds) for keys in (self.pairing_keys, self.origins))

    def without(self, arm: str, metric: str) -> list[int]:
        """Return the seeds whose run ended without a value of the metric."""
        return [seed for seed, row in self.values.get(arm, {}).items() if metric not in row]


def _agree(keys: Mapping[str, Mapping[int, str | None]], arms: Sequence[str], seeds: Sequence[int]) -> bool:
    """Whether the arms have the same key, other than None, at every seed; False without seeds."""
    distinct = [{keys.get(arm, {}).get(seed) for arm in arms} for seed in seeds]
    return bool(distinct) and all(len(at_seed) == 1 and None not in at_seed for at_seed in distinct)


@dataclass(frozen=True)
class Part:
    """The result of one comparison."""

    statement: str
    """The quantity and the arms in words."""
    claimed: str
    """The claimed side in words, e.g. "> 0 points"."""
    unit: str
    """Unit of the effect, e.g. "points"."""
    interval: Interval | None
    """The effect with its interval. None: an arm has no run."""
    seeds: int
    """Number of common seeds if paired, otherwise of the arm with the fewest seeds. 0 for counted numbers."""
    paired: bool
    """Whether the interval is on the differences per seed."""
    verdict: Verdict
    """Verdict on this comparison alone, before any correction."""
    exact: bool = False
    """Whether the effect is a counted number."""
    difference: bool = False
    """Whether the effect is a difference between arms, so that reports print its sign."""
    published: float | None = None
    """The source's effect, in `unit`. None: the source gives no number."""
    agrees: bool | None = None
    """Whether the effect agrees with the published one. None: no published effect, or no runs."""
