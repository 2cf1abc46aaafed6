"""Comparisons between the results of arms, and the constructors that experiment files use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from resnet_repro.claims.statistics import Interval, contrast_interval, mean_interval

Verdict = Literal["reproduced", "not reproduced", "undecided", "observed", "not observed"]

SEEDS_TO_DECIDE = 3


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
    """The comparison in words."""
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


@dataclass(frozen=True)
class Comparison:
    """The claim that Σ weight · mean of a metric over arms is above or below a threshold."""

    metric: str
    """Name of the metric, as in `records.metrics`."""
    terms: tuple[tuple[str, float], ...]
    """(arm, weight) of each term of the sum."""
    sign: int
    """1: the sum is above the threshold. -1: below it."""
    threshold: float
    """In `unit`."""
    unit: str
    """Unit of the effect, e.g. "points"."""
    statement: str
    """The comparison in words."""

    @property
    def arms(self) -> list[str]:
        return [arm for arm, _ in self.terms]

    def judge(self, results: Results) -> Part:
        """Return the effect with its interval, paired if the arms share chance, and the uncorrected verdict."""
        by_arm = {arm: results.of(arm, self.metric) for arm in self.arms}
        shared = sorted(set.intersection(*(set(values) for values in by_arm.values())))
        paired = len(self.terms) > 1 and results.share_chance(self.arms, shared)
        if paired:
            per_seed = [sum(weight * by_arm[arm][seed] for arm, weight in self.terms) for seed in shared]
            interval, seeds = mean_interval(per_seed), len(shared)
        else:
            interval = contrast_interval([(weight, list(by_arm[arm].values())) for arm, weight in self.terms])
            seeds = min(len(values) for values in by_arm.values())
        verdict = self._verdict(interval, seeds)
        return Part(self.statement, self.unit, interval, seeds, paired, verdict, difference=len(self.terms) > 1)

    def support(self, part: Part) -> float:
        """Return a score by which the parts of a claim are ranked; larger values support their comparison more.

        The score is -p, or without a p-value the distance of the estimate from the threshold on the claimed side.
        Raises ValueError if the part has no interval.
        """
        if part.interval is None:
            raise ValueError(f"no effect of '{self.statement}': expected a part with runs")
        p = part.interval.p_value(self.threshold, self.sign)
        return self.sign * (part.interval.estimate - self.threshold) if p is None else -p

    def _verdict(self, interval: Interval | None, seeds: int) -> Verdict:
        if interval is None:
            return "undecided"
        if seeds == 1:
            return "observed" if self.sign * (interval.estimate - self.threshold) > 0 else "not observed"
        if seeds < SEEDS_TO_DECIDE or interval.low is None or interval.high is None:
            return "undecided"
        near, far = sorted(self.sign * (bound - self.threshold) for bound in (interval.low, interval.high))
        if near > 0:
            return "reproduced"
        return "not reproduced" if far < 0 else "undecided"


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
    """The comparison in words."""

    def judge(self, results: Results) -> Part:
        """Return the number or ratio, and whether it is between the bounds; undecided if an arm has not been counted."""
        values = [next(iter(results.of(arm, self.metric).values()), None) for arm in self.arms]
        counts = [value for value in values if value is not None]
        if len(counts) < len(values):
            return Part(self.statement, self.unit, None, 0, False, "undecided", exact=True)
        effect = counts[0] if len(counts) == 1 else counts[0] / counts[1]
        inside = (self.low is None or effect > self.low) and (self.high is None or effect < self.high)
        verdict: Verdict = "reproduced" if inside else "not reproduced"
        return Part(self.statement, self.unit, Interval(effect), 0, False, verdict, exact=True)


# -- constructors for experiment files -----------------------------------------------------------------------------------


def higher(metric: str, arm: str, than: str, unit: str = "points") -> Comparison:
    """`metric` is higher in `arm` than in `than`."""
    return Comparison(metric, ((arm, 1), (than, -1)), 1, 0.0, unit, f"{_words(metric)}: {arm} above {than}")


def lower(metric: str, arm: str, than: str, unit: str = "points") -> Comparison:
    """`metric` is lower in `arm` than in `than`."""
    return Comparison(metric, ((arm, 1), (than, -1)), -1, 0.0, unit, f"{_words(metric)}: {arm} below {than}")


def not_higher(metric: str, arm: str, than: str, margin: float, unit: str = "points") -> Comparison:
    """`metric` in `arm` exceeds that in `than` by less than `margin`, which includes being lower."""
    statement = f"{_words(metric)}: {arm} less than {margin:g} {unit} above {than}"
    return Comparison(metric, ((arm, 1), (than, -1)), -1, margin, unit, statement)


def above(metric: str, arm: str, threshold: float, unit: str) -> Comparison:
    """`metric` of `arm` is above a threshold."""
    return Comparison(metric, ((arm, 1),), 1, threshold, unit, f"{_words(metric)} of {arm} > {threshold:g} {unit}")


def below(metric: str, arm: str, threshold: float, unit: str) -> Comparison:
    """`metric` of `arm` is below a threshold."""
    return Comparison(metric, ((arm, 1),), -1, threshold, unit, f"{_words(metric)} of {arm} < {threshold:g} {unit}")


def near_zero(metric: str, arm: str, by: float, unit: str) -> list[Comparison]:
    """`metric` of `arm` is within `by` of zero, as two one-sided comparisons."""
    return [above(metric, arm, -by, unit), below(metric, arm, by, unit)]


def closer(
    metric: str, arm: str, other: str, than_gap: tuple[str, str], fraction: float, unit: str = "points"
) -> list[Comparison]:
    """`arm` and `other` differ by less than a fraction of the gap between two arms, as two one-sided comparisons.

    than_gap: (worse arm, better arm).
    """
    worse, better = than_gap
    statement = f"{_words(metric)}: {{}} above {{}} by less than {fraction:g} × ({worse} − {better})"
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


def trend(metric: str, arms: Sequence[str], sign: int, unit: str = "points per step") -> Comparison:
    """`metric` rises (sign 1) or falls (sign -1) along the arms.

    The effect is the slope of the least-squares line through the arms' means, per step from one arm to the next.
    Raises ValueError for fewer than two arms.
    """
    if len(arms) < 2:
        raise ValueError(f"invalid trend over {list(arms)}: expected two or more arms")
    centre = (len(arms) - 1) / 2
    scale = sum((place - centre) ** 2 for place in range(len(arms)))
    weights = {arm: (place - centre) / scale for place, arm in enumerate(arms)}
    words = "rises" if sign > 0 else "falls"
    return contrast(metric, weights, sign, f"{_words(metric)} {words} from {arms[0]} to {arms[-1]}", unit=unit)


def contrast(
    metric: str,
    weights: Mapping[str, float],
    sign: int,
    statement: str,
    threshold: float = 0.0,
    unit: str = "points",
) -> Comparison:
    """Σ weight · mean of `metric` over arms is above (sign 1) or below (sign -1) a threshold: the general comparison.

    weights: {arm: weight}.
    """
    return Comparison(metric, tuple(weights.items()), sign, threshold, unit, statement)


def _summed(*terms: tuple[str, float]) -> dict[str, float]:
    """Return {arm: weight}, with the weights of a repeated arm added, and without arms whose weights cancel."""
    weights: dict[str, float] = {}
    for arm, weight in terms:
        weights[arm] = weights.get(arm, 0.0) + weight
    return {arm: weight for arm, weight in weights.items() if weight}


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def count_above(metric: str, arm: str, threshold: float, unit: str) -> Exact:
    """`metric`, counted on the network of `arm`, is above a threshold."""
    return Exact(metric, (arm,), threshold, None, unit, f"{_words(metric)} of {arm} > {threshold:g} {unit}".rstrip())


def count_below(metric: str, arm: str, threshold: float, unit: str) -> Exact:
    """`metric`, counted on the network of `arm`, is below a threshold."""
    return Exact(metric, (arm,), None, threshold, unit, f"{_words(metric)} of {arm} < {threshold:g} {unit}".rstrip())


def count_is(metric: str, arm: str, value: int) -> Exact:
    """`metric`, counted on the network of `arm`, equals an integer."""
    return Exact(metric, (arm,), value - 0.5, value + 0.5, "", f"{_words(metric)} of {arm} = {value:,}")


def count_equals(metric: str, arm: str, of: str) -> Exact:
    """`metric` of `arm` equals that of `of`."""
    return Exact(metric, (arm, of), 1 - 1e-12, 1 + 1e-12, "×", f"{_words(metric)}: equal in {arm} and {of}")


def ratio_above(metric: str, arm: str, of: str, threshold: float = 1.0) -> Exact:
    """`metric` of `arm` is more than `threshold` times that of `of`."""
    return Exact(metric, (arm, of), threshold, None, "×", f"{_words(metric)}: {arm} / {of} > {threshold:g}")


def ratio_below(metric: str, arm: str, of: str, threshold: float = 1.0) -> Exact:
    """`metric` of `arm` is less than `threshold` times that of `of`."""
    return Exact(metric, (arm, of), None, threshold, "×", f"{_words(metric)}: {arm} / {of} < {threshold:g}")


def published_count(metric: str, arm: str, value: float, unit: str, within: float = 0.03) -> Exact:
    """`metric` of `arm` differs from a published number by less than the fraction `within` of it."""
    statement = f"{_words(metric)} of {arm} within {100 * within:g} % of {value:,.12g} {unit}".rstrip()
    return Exact(metric, (arm,), value * (1 - within), value * (1 + within), unit, statement)


def published_ratio(metric: str, arm: str, of: str, value: float, within: float = 0.03) -> Exact:
    """The ratio of `metric` in `arm` to that in `of` differs from a published one by less than the fraction `within`."""
    statement = f"{_words(metric)}: {arm} / {of} within {100 * within:g} % of {value:g}"
    return Exact(metric, (arm, of), value * (1 - within), value * (1 + within), "×", statement)
