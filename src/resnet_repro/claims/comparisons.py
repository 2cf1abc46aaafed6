"""Comparisons between the results of arms, and the constructors that experiment files use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from resnet_repro.claims.results import Part, Results, Verdict
from resnet_repro.claims.statistics import Interval, contrast_interval, share_interval
from resnet_repro.claims.wording import BASES, claimed_side, difference_of, quantity

SEEDS_TO_DECIDE = 3

FACTOR = 2.0
"""An effect agrees with a published one if they differ by less than this factor."""
SMALLEST = {"test_error": 0.5, "train_error": 1.0, "decades": 0.3, "doublings": 0.5}
"""{metric or logarithmic unit: smallest effect of interest}. Smaller differences count as none."""


class _OneSidedTests:
    """What comparisons of measured values share: they hold if the effect is on the claimed side of each of their bounds."""

    statement: str

    @property
    def sides(self) -> list[tuple[float, int]]:
        """(bound, sign) of each one-sided test: the effect is above the bound (sign 1) or below it (sign -1)."""
        raise NotImplementedError

    def p_values(self, interval: Interval) -> tuple[float, float]:
        """Return (p for the comparison, p against it), one-sided. For: every bound must hold. Against: one may fail.

        Raises ValueError if the interval has no spread.
        """
        supporting = [interval.p_value(bound, sign) for bound, sign in self.sides]
        opposing = [interval.p_value(bound, -sign) for bound, sign in self.sides]
        p_for, p_against = [p for p in supporting if p is not None], [p for p in opposing if p is not None]
        if not p_for:
            raise ValueError(f"no p-value of '{self.statement}': expected two seeds or more")
        return max(p_for), min(p_against)

    def support(self, part: Part) -> float:
        """Return a score by which the parts of a claim are ranked; larger values support their comparison more.

        The score is -p, or without a p-value the distance of the estimate from the nearest bound on the claimed side.
        Raises ValueError if the part has no interval.
        """
        if part.interval is None:
            raise ValueError(f"no effect of '{self.statement}': expected a part with runs")
        supporting = [part.interval.p_value(bound, sign) for bound, sign in self.sides]
        if None in supporting:
            return min(sign * (part.interval.estimate - bound) for bound, sign in self.sides)
        return -self.p_values(part.interval)[0]

    def _verdict(self, interval: Interval | None, seeds: int) -> Verdict:
        if interval is None:
            return "not tested"
        if seeds == 1:
            holds = all(sign * (interval.estimate - bound) > 0 for bound, sign in self.sides)
            return "seen once" if holds else "not seen"
        if seeds < SEEDS_TO_DECIDE or interval.low is None or interval.high is None:
            return "inconclusive"
        distances = [
            sorted(sign * (end - bound) for end in (interval.low, interval.high)) for bound, sign in self.sides
        ]
        if all(near > 0 for near, _ in distances):
            return "supported"
        return "contradicted" if any(far < 0 for _, far in distances) else "inconclusive"


@dataclass(frozen=True)
class Comparison(_OneSidedTests):
    """The claim that Σ weight · mean of a metric over arms is between two bounds.

    Raises ValueError without a bound.
    """

    metric: str
    """Name of the metric, as in `records.metrics`."""
    terms: tuple[tuple[str, float], ...]
    """(arm, weight) of each term of the sum."""
    low: float | None
    """Lower bound in `unit`, exclusive. None: unbounded."""
    high: float | None
    """Upper bound in `unit`, exclusive. None: unbounded."""
    unit: str
    """Unit of the effect, e.g. "points"."""
    statement: str
    """The quantity and the arms in words."""
    published: float | None = None
    """The source's effect, in `unit`. None: the source gives no number."""

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError(f"comparison '{self.statement}' has no bound: expected low, high or both")

    @property
    def arms(self) -> list[str]:
        return [arm for arm, _ in self.terms]

    @property
    def sides(self) -> list[tuple[float, int]]:
        bounds = ((self.low, 1), (self.high, -1))
        return [(bound, sign) for bound, sign in bounds if bound is not None]

    def judge(self, results: Results) -> Part:
        """Return the effect with its interval, paired if the arms share chance, and the uncorrected verdict."""
        samples, seeds, paired = self.samples(results)
        interval = contrast_interval(samples)
        difference = len(self.terms) > 1
        return Part(
            self.statement,
            claimed_side(self.low, self.high, self.unit, difference),
            self.unit,
            interval,
            seeds,
            paired,
            self._verdict(interval, seeds),
            difference=difference,
            published=self.published,
            agrees=self._agrees(interval),
        )

    def samples(self, results: Results) -> tuple[list[tuple[float, list[float]]], int, bool]:
        """Return the independent samples of the effect, as (weight, values) each, their seeds, and whether they are paired.

        Paired values are one sample: the sum of each seed. Otherwise each arm has its own, and the seeds are the fewest.
        """
        by_arm = {arm: results.of(arm, self.metric) for arm in self.arms}
        shared = sorted(set.intersection(*(set(values) for values in by_arm.values())))
        if len(self.terms) > 1 and results.share_chance(self.arms, shared):
            per_seed = [sum(weight * by_arm[arm][seed] for arm, weight in self.terms) for seed in shared]
            return [(1.0, per_seed)], len(shared), True
        seeds = min(len(values) for values in by_arm.values())
        return [(weight, list(by_arm[arm].values())) for arm, weight in self.terms], seeds, False

    def _agrees(self, interval: Interval | None) -> bool | None:
        """Whether the effect agrees with the published one: the interval includes it, or it is within a factor of two.

        None without a published effect or without runs.
        """
        if self.published is None or interval is None:
            return None
        if interval.low is not None and interval.high is not None and interval.low <= self.published <= interval.high:
            return True
        if base := BASES.get(self.unit):
            return abs(interval.estimate - self.published) <= math.log(FACTOR, base)
        return self.published * interval.estimate > 0 and 1 / FACTOR <= interval.estimate / self.published <= FACTOR


@dataclass(frozen=True)
class Exact:
    """The claim that a counted number, or the ratio of two arms' numbers, is between two bounds.

    Counts are the same at every seed, so they have no interval.
    """

    metric: str
    """Name of the metric, as in `records.metrics`."""
    arms: tuple[str, ...]
    """(arm,), or (numerator, denominator) of a ratio."""
    low: float | None
    """Lower bound, exclusive. None: unbounded."""
    high: float | None
    """Upper bound, exclusive. None: unbounded."""
    unit: str
    """Unit of the effect; "×" for ratios."""
    statement: str
    """The quantity and the arms in words."""
    claimed: str
    """The claimed number in words, e.g. "> 5 ×"."""

    def judge(self, results: Results) -> Part:
        """Return the number or ratio, and whether it is between the bounds; not tested if an arm has not been counted."""
        values = [next(iter(results.of(arm, self.metric).values()), None) for arm in self.arms]
        counts = [value for value in values if value is not None]
        part = Part(self.statement, self.claimed, self.unit, None, 0, False, "not tested", exact=True)
        if len(counts) < len(values):
            return part
        effect = counts[0] if len(counts) == 1 else counts[0] / counts[1]
        inside = (self.low is None or effect > self.low) and (self.high is None or effect < self.high)
        return replace(part, interval=Interval(effect), verdict="supported" if inside else "contradicted")


@dataclass(frozen=True)
class Frequency(_OneSidedTests):
    """The claim that a metric increases along the arms in more than a share of single comparisons, seed by seed."""

    metric: str
    """Name of the metric, as in `records.metrics`."""
    arms: tuple[str, ...]
    """In the claimed order, lowest value first."""
    low: float
    """Claimed lower bound of the share of seeds, in percent."""
    statement: str
    """The order in words."""
    unit: str = "% of the seeds"
    published: float | None = None
    """None: no source gives a frequency."""

    @property
    def sides(self) -> list[tuple[float, int]]:
        return [(self.low, 1)]

    def judge(self, results: Results) -> Part:
        """Return the share of seeds with the claimed order and its exact binomial interval."""
        by_arm = [results.of(arm, self.metric) for arm in self.arms]
        shared = sorted(set.intersection(*(set(values) for values in by_arm)))
        claimed = claimed_side(self.low, None, self.unit, sign=False)
        part = Part(self.statement, claimed, self.unit, None, len(shared), False, "not tested")
        if not shared:
            return part
        rows = [[values[seed] for values in by_arm] for seed in shared]
        ordered = sum(all(a < b for a, b in itertools.pairwise(row)) for row in rows)
        interval = share_interval(ordered, len(shared))
        return replace(part, interval=interval, verdict=self._verdict(interval, len(shared)))


Measured = Comparison | Frequency


# -- constructors for experiment files -----------------------------------------------------------------------------------


def higher(metric: str, arm: str, than: str, unit: str = "points", published: float | None = None) -> Comparison:
    """`metric` is higher in `arm` than in `than`."""
    return _difference(metric, arm, than, unit, 0.0, None, published)


def lower(metric: str, arm: str, than: str, unit: str = "points", published: float | None = None) -> Comparison:
    """`metric` is lower in `arm` than in `than`."""
    return _difference(metric, arm, than, unit, None, 0.0, published)


def not_higher(
    metric: str, arm: str, than: str, margin: float, unit: str = "points", published: float | None = None
) -> Comparison:
    """`metric` in `arm` exceeds that in `than` by less than `margin`, which includes being lower."""
    return _difference(metric, arm, than, unit, None, margin, published)


def same(
    metric: str, arm: str, as_: str, by: float | None = None, unit: str = "points", published: float | None = None
) -> Comparison:
    """`metric` of `arm` and `as_` differs by less than `by`: an equivalence test, which is two one-sided tests.

    by: by default the smallest effect of interest in `SMALLEST`. Raises ValueError if that has none for the metric.
    """
    margin = SMALLEST.get(metric, SMALLEST.get(unit)) if by is None else by
    if margin is None:
        raise ValueError(f"no smallest effect of interest of {metric} in {unit}: expected `by`")
    return _difference(metric, arm, as_, unit, -margin, margin, published)


def above(metric: str, arm: str, threshold: float, unit: str, published: float | None = None) -> Comparison:
    """`metric` of `arm` is above a threshold."""
    return Comparison(metric, ((arm, 1),), threshold, None, unit, f"{quantity(metric)}: {arm}", published)


def below(metric: str, arm: str, threshold: float, unit: str, published: float | None = None) -> Comparison:
    """`metric` of `arm` is below a threshold."""
    return Comparison(metric, ((arm, 1),), None, threshold, unit, f"{quantity(metric)}: {arm}", published)


def between(metric: str, arm: str, low: float, high: float, unit: str, published: float | None = None) -> Comparison:
    """`metric` of `arm` is between two bounds: two one-sided tests."""
    return Comparison(metric, ((arm, 1),), low, high, unit, f"{quantity(metric)}: {arm}", published)


def near_zero(metric: str, arm: str, by: float, unit: str) -> Comparison:
    """`metric` of `arm` is within `by` of zero."""
    return between(metric, arm, -by, by, unit)


def closer(
    metric: str, arm: str, other: str, than_gap: tuple[str, str], fraction: float, unit: str = "points"
) -> list[Comparison]:
    """`arm` and `other` differ by less than a fraction of the gap between two arms, as two one-sided comparisons.

    than_gap: (worse arm, better arm).
    """
    worse, better = than_gap
    statement = f"{quantity(metric)}: {fraction:g} × ({worse} − {better}) − ({{}} − {{}})"
    return [
        contrast(
            metric,
            _summed((worse, fraction), (better, -fraction), (first, -1), (second, 1)),
            1,
            statement.format(first, second),
            unit=unit,
        )
        for first, second in ((arm, other), (other, arm))
    ]


def trend(
    metric: str,
    arms: Sequence[str],
    sign: int,
    unit: str = "points per step",
    threshold: float = 0.0,
    published: float | None = None,
) -> Comparison:
    """`metric` rises (sign 1) or falls (sign -1) along the arms, by more than `threshold` per step.

    The effect is the slope of the least-squares line through the arms' means, per step from one arm to the next.
    Raises ValueError for fewer than two arms.
    """
    if len(arms) < 2:
        raise ValueError(f"invalid trend over {list(arms)}: expected two or more arms")
    centre = (len(arms) - 1) / 2
    scale = sum((place - centre) ** 2 for place in range(len(arms)))
    weights = {arm: (place - centre) / scale for place, arm in enumerate(arms)}
    statement = f"{quantity(metric)}: slope from {arms[0]} to {arms[-1]}"
    return contrast(metric, weights, sign, statement, threshold, unit, published)


def contrast(
    metric: str,
    weights: Mapping[str, float],
    sign: int,
    statement: str,
    threshold: float = 0.0,
    unit: str = "points",
    published: float | None = None,
) -> Comparison:
    """Σ weight · mean of `metric` over arms is above (sign 1) or below (sign -1) a threshold: the general comparison.

    weights: {arm: weight}. statement: the sum in words, without the threshold.
    """
    low, high = (threshold, None) if sign > 0 else (None, threshold)
    return Comparison(metric, tuple(weights.items()), low, high, unit, statement, published)


def ordered(metric: str, arms: Sequence[str], more_often_than: float) -> Frequency:
    """`metric` increases along the arms in more than a share of seeds, in percent."""
    return Frequency(metric, tuple(arms), more_often_than, f"{quantity(metric)}: {' < '.join(arms)}")


def _difference(
    metric: str, arm: str, other: str, unit: str, low: float | None, high: float | None, published: float | None
) -> Comparison:
    statement = difference_of(metric, arm, other, unit)
    return Comparison(metric, ((arm, 1), (other, -1)), low, high, unit, statement, published)


def _summed(*terms: tuple[str, float]) -> dict[str, float]:
    """Return {arm: weight}, with the weights of a repeated arm added, and without arms whose weights cancel."""
    weights: dict[str, float] = {}
    for arm, weight in terms:
        weights[arm] = weights.get(arm, 0.0) + weight
    return {arm: weight for arm, weight in weights.items() if weight}


def count_above(metric: str, arm: str, threshold: float, unit: str) -> Exact:
    """`metric`, counted on the network of `arm`, is above a threshold."""
    return _count(metric, arm, threshold, None, unit, f"> {threshold:,.6g} {unit}")


def count_below(metric: str, arm: str, threshold: float, unit: str) -> Exact:
    """`metric`, counted on the network of `arm`, is below a threshold."""
    return _count(metric, arm, None, threshold, unit, f"< {threshold:,.6g} {unit}")


def count_is(metric: str, arm: str, value: int) -> Exact:
    """`metric`, counted on the network of `arm`, equals an integer."""
    return _count(metric, arm, value - 0.5, value + 0.5, "", f"= {value:,}")


def count_equals(metric: str, arm: str, of: str) -> Exact:
    """`metric` of `arm` equals that of `of`."""
    return _ratio(metric, arm, of, 1 - 1e-12, 1 + 1e-12, "= 1 ×")


def ratio_above(metric: str, arm: str, of: str, threshold: float = 1.0) -> Exact:
    """`metric` of `arm` is more than `threshold` times that of `of`."""
    return _ratio(metric, arm, of, threshold, None, f"> {threshold:g} ×")


def ratio_below(metric: str, arm: str, of: str, threshold: float = 1.0) -> Exact:
    """`metric` of `arm` is less than `threshold` times that of `of`."""
    return _ratio(metric, arm, of, None, threshold, f"< {threshold:g} ×")


def published_count(metric: str, arm: str, value: float, unit: str, within: float = 0.03) -> Exact:
    """`metric` of `arm` differs from a published number by less than the fraction `within` of it."""
    claimed = f"{value:,.12g} {unit}".rstrip() + f" ± {100 * within:g} %"
    return _count(metric, arm, value * (1 - within), value * (1 + within), unit, claimed)


def published_ratio(metric: str, arm: str, of: str, value: float, within: float = 0.03) -> Exact:
    """The ratio of `metric` in `arm` to that in `of` differs from a published one by less than the fraction `within`."""
    return _ratio(metric, arm, of, value * (1 - within), value * (1 + within), f"{value:g} × ± {100 * within:g} %")


def _count(metric: str, arm: str, low: float | None, high: float | None, unit: str, claimed: str) -> Exact:
    return Exact(metric, (arm,), low, high, unit, f"{quantity(metric)}: {arm}", claimed.rstrip())


def _ratio(metric: str, arm: str, of: str, low: float | None, high: float | None, claimed: str) -> Exact:
    return Exact(metric, (arm, of), low, high, "×", f"{quantity(metric)}: {arm} ÷ {of}", claimed)
