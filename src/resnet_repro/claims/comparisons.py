"""Comparisons: what a claim says of the results of arms, in the words of experiment files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from resnet_repro.claims.statistics import Interval, contrast_interval, mean_interval

Verdict = Literal["reproduced", "not reproduced", "undecided", "observed", "not observed"]

SEEDS_TO_DECIDE = 3


@dataclass(frozen=True)
class Results:
    """What claims are judged on.

    values: {arm: {seed: {metric: value}}}. pairing_keys: {arm: {seed: key}}; two runs have the same key where they shared their
    first weights on the main path and the order of their data. origins: {arm: {seed: key}}; two runs have the same key
    where they go back to the same trained net, None where they began untrained. short: arms with a run below its
    published budget. prefixes: {arm: steps} of arms whose runs are the beginning of the published schedule. substitute:
    arms that began with other weights than those wanted.
    """

    values: Mapping[str, Mapping[int, Mapping[str, float]]]
    standin: bool = False
    short: frozenset[str] = frozenset()
    prefixes: Mapping[str, int] = field(default_factory=dict)
    pairing_keys: Mapping[str, Mapping[int, str | None]] = field(default_factory=dict)
    origins: Mapping[str, Mapping[int, str | None]] = field(default_factory=dict)
    substitute: frozenset[str] = frozenset()

    def of(self, arm: str, metric: str) -> dict[int, float]:
        """Value by seed; seeds without it are left out."""
        return {seed: row[metric] for seed, row in self.values.get(arm, {}).items() if metric in row}

    def share_chance(self, arms: Sequence[str], seeds: Sequence[int]) -> bool:
        """Whether what chance gave the arms was the same at every one of the seeds, so that it cancels in a difference.

        It is where their runs had the same first weights and data order, and where they go back to the same trained net,
        whose luck both inherit.
        """
        return any(_agree(keys, arms, seeds) for keys in (self.pairing_keys, self.origins))

    def without(self, arm: str, metric: str) -> list[int]:
        """Seeds whose run has ended and left no such value."""
        return [seed for seed, row in self.values.get(arm, {}).items() if metric not in row]


def _agree(keys: Mapping[str, Mapping[int, str | None]], arms: Sequence[str], seeds: Sequence[int]) -> bool:
    """Whether the arms have the same key, and one at all, at every one of the seeds."""
    found = [{keys.get(arm, {}).get(seed) for arm in arms} for seed in seeds]
    return bool(found) and all(len(at_seed) == 1 and None not in at_seed for at_seed in found)


@dataclass(frozen=True)
class Part:
    """One judged comparison: what it says, its effect, the seeds behind it, and its verdict before any correction.

    difference: whether the effect is one, of two arms or more, so that its sign is worth showing.
    """

    statement: str
    unit: str
    interval: Interval | None
    seeds: int
    paired: bool
    verdict: Verdict
    exact: bool = False
    difference: bool = False


@dataclass(frozen=True)
class Comparison:
    """The claim that Σ weight · mean of `metric` over arms lies above (sign 1) or below (sign -1) a threshold.

    terms: (arm, weight) of each arm. statement: the same in words.
    """

    metric: str
    terms: tuple[tuple[str, float], ...]
    sign: int
    threshold: float
    unit: str
    statement: str

    @property
    def arms(self) -> list[str]:
        return [arm for arm, _ in self.terms]

    def judge(self, results: Results) -> Part:
        found = {arm: results.of(arm, self.metric) for arm in self.arms}
        shared = sorted(set.intersection(*(set(values) for values in found.values())))
        paired = len(self.terms) > 1 and results.share_chance(self.arms, shared)
        if paired:
            per_seed = [sum(weight * found[arm][seed] for arm, weight in self.terms) for seed in shared]
            interval, seeds = mean_interval(per_seed), len(shared)
        else:
            interval = contrast_interval([(weight, list(found[arm].values())) for arm, weight in self.terms])
            seeds = min(len(values) for values in found.values())
        verdict = self._verdict(interval, seeds)
        return Part(self.statement, self.unit, interval, seeds, paired, verdict, difference=len(self.terms) > 1)

    def support(self, part: Part) -> float:
        """How strongly its own part speaks for the comparison: the larger, the more; of no meaning but in order.

        By p where there is one, else by how far the estimate lies on the claimed side. Raises ValueError without any.
        """
        if part.interval is None:
            raise ValueError(f"{self.statement}: no runs to support it")
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
    """The claim that a number counted on an architecture, or the ratio of two arms' numbers, lies between two bounds.

    arms: the arm, and for a ratio the one that it is divided by. low, high: the bounds, which do not belong to the
    range; None for none. Counts have no seeds and no spread.
    """

    metric: str
    arms: tuple[str, ...]
    low: float | None
    high: float | None
    unit: str
    statement: str

    def judge(self, results: Results) -> Part:
        found = [next(iter(results.of(arm, self.metric).values()), None) for arm in self.arms]
        counts = [value for value in found if value is not None]
        if len(counts) < len(found):
            return Part(self.statement, self.unit, None, 0, False, "undecided", exact=True)
        effect = counts[0] if len(counts) == 1 else counts[0] / counts[1]
        inside = (self.low is None or effect > self.low) and (self.high is None or effect < self.high)
        verdict: Verdict = "reproduced" if inside else "not reproduced"
        return Part(self.statement, self.unit, Interval(effect), 0, False, verdict, exact=True)


# -- comparisons in the words of experiment files ------------------------------------------------------------------------


def higher(metric: str, arm: str, than: str, unit: str = "points") -> Comparison:
    """`metric` is higher in `arm` than in `than`."""
    return Comparison(metric, ((arm, 1), (than, -1)), 1, 0.0, unit, f"{_words(metric)}: {arm} above {than}")


def lower(metric: str, arm: str, than: str, unit: str = "points") -> Comparison:
    """`metric` is lower in `arm` than in `than`."""
    return Comparison(metric, ((arm, 1), (than, -1)), -1, 0.0, unit, f"{_words(metric)}: {arm} below {than}")


def not_higher(metric: str, arm: str, than: str, margin: float, unit: str = "points") -> Comparison:
    """`metric` is higher in `arm` than in `than` by less than `margin`, if at all."""
    statement = f"{_words(metric)}: {arm} less than {margin:g} {unit} above {than}"
    return Comparison(metric, ((arm, 1), (than, -1)), -1, margin, unit, statement)


def above(metric: str, arm: str, threshold: float, unit: str) -> Comparison:
    """`metric` of `arm` lies above a number."""
    return Comparison(metric, ((arm, 1),), 1, threshold, unit, f"{_words(metric)} of {arm} > {threshold:g} {unit}")


def below(metric: str, arm: str, threshold: float, unit: str) -> Comparison:
    """`metric` of `arm` lies below a number."""
    return Comparison(metric, ((arm, 1),), -1, threshold, unit, f"{_words(metric)} of {arm} < {threshold:g} {unit}")


def near_zero(metric: str, arm: str, by: float, unit: str) -> list[Comparison]:
    """`metric` of `arm` lies within `by` of zero: two one-sided comparisons."""
    return [above(metric, arm, -by, unit), below(metric, arm, by, unit)]


def closer(
    metric: str, arm: str, other: str, than_gap: tuple[str, str], fraction: float, unit: str = "points"
) -> list[Comparison]:
    """`arm` and `other` differ by less than a fraction of the gap between two arms (worse, better): both directions."""
    worse, better = than_gap
    statement = f"{_words(metric)}: {{}} above {{}} by less than {fraction:g} of {worse} above {better}"
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


def trend(metric: str, arms: Sequence[str], sign: int, unit: str = "points a step") -> Comparison:
    """`metric` rises (sign 1) or falls (sign -1) along the arms: the slope of a line through their means.

    The effect is the mean change from each arm to the next. Raises ValueError for fewer than two arms.
    """
    if len(arms) < 2:
        raise ValueError(f"a trend over {len(arms)} arms: name two or more")
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
    """Any other comparison: Σ weight · mean over arms lies above or below a threshold."""
    return Comparison(metric, tuple(weights.items()), sign, threshold, unit, statement)


def _summed(*terms: tuple[str, float]) -> dict[str, float]:
    """Weights by arm; those of an arm that comes twice are added, and an arm whose weights cancel is left out."""
    weights: dict[str, float] = {}
    for arm, weight in terms:
        weights[arm] = weights.get(arm, 0.0) + weight
    return {arm: weight for arm, weight in weights.items() if weight}


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def count_above(metric: str, arm: str, threshold: float, unit: str) -> Exact:
    """`metric`, counted on the network of `arm`, lies above a number."""
    return Exact(metric, (arm,), threshold, None, unit, f"{_words(metric)} of {arm} > {threshold:g} {unit}".rstrip())


def count_below(metric: str, arm: str, threshold: float, unit: str) -> Exact:
    """`metric`, counted on the network of `arm`, lies below a number."""
    return Exact(metric, (arm,), None, threshold, unit, f"{_words(metric)} of {arm} < {threshold:g} {unit}".rstrip())


def count_is(metric: str, arm: str, value: int) -> Exact:
    """`metric`, counted on the network of `arm`, is this whole number."""
    return Exact(metric, (arm,), value - 0.5, value + 0.5, "", f"{_words(metric)} of {arm} = {value:,}")


def count_equals(metric: str, arm: str, of: str) -> Exact:
    """`metric` of `arm` is that of `of`."""
    return Exact(metric, (arm, of), 1 - 1e-12, 1 + 1e-12, "×", f"{_words(metric)}: as much in {arm} as in {of}")


def ratio_above(metric: str, arm: str, of: str, threshold: float = 1.0) -> Exact:
    """`metric` of `arm` is more than `threshold` times that of `of`."""
    return Exact(metric, (arm, of), threshold, None, "×", f"{_words(metric)}: {arm} / {of} > {threshold:g}")


def ratio_below(metric: str, arm: str, of: str, threshold: float = 1.0) -> Exact:
    """`metric` of `arm` is less than `threshold` times that of `of`."""
    return Exact(metric, (arm, of), None, threshold, "×", f"{_words(metric)}: {arm} / {of} < {threshold:g}")


def published_count(metric: str, arm: str, value: float, unit: str, within: float = 0.03) -> Exact:
    """`metric` of `arm` is the published number, to a relative difference of less than `within`."""
    statement = f"{_words(metric)} of {arm} within {100 * within:g} % of {value:,.12g} {unit}".rstrip()
    return Exact(metric, (arm,), value * (1 - within), value * (1 + within), unit, statement)


def published_ratio(metric: str, arm: str, of: str, value: float, within: float = 0.03) -> Exact:
    """`metric` of `arm` is the published multiple of that of `of`, to a relative difference of less than `within`."""
    statement = f"{_words(metric)}: {arm} / {of} within {100 * within:g} % of {value:g}"
    return Exact(metric, (arm, of), value * (1 - within), value * (1 + within), "×", statement)
