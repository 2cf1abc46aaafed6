"""How many seeds decide a claim, by the rule of `judge`.

The power of a claim is the probability that it is decided on the side of its effect, if effect and spread are those given.
It is computed for the first step of Holm's method, which multiplies a p-value by the number of measured claims: whatever
the other claims of the experiment turn out to be, the power is at least this. Values of runs are taken as normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance
from typing import Literal

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import SEEDS_TO_DECIDE, Comparison, Exact, Frequency, Measured
from resnet_repro.claims.judge import LEVEL
from resnet_repro.claims.results import Results

POWER = 0.8
MOST_SEEDS = 200  # no more are looked for
QUANTILES = 1_000  # of the distribution of a standard error, over which powers are averaged

Side = Literal["supported", "contradicted"]


@dataclass(frozen=True)
class Effect:
    """The effect of a comparison, as seen in runs or as published."""

    size: float
    """In the comparison's unit; for a `Frequency`, the share of the seeds in percent."""
    variances: tuple[float, ...] | None
    """Weighted variances of the independent samples: their sum over n is the squared standard error at n seeds. One for
    pairs. Empty for a `Frequency`. None: unknown.
    """
    seeds: int = 0
    """Seeds on which the effect was seen. 0: it was not."""

    @property
    def spread(self) -> float | None:
        """The standard deviation of the effect over seeds; None if it is unknown or does not apply."""
        return math.sqrt(math.fsum(self.variances)) if self.variances else None


def effect_seen(comparison: Measured, results: Results) -> Effect | None:
    """Return the effect of a comparison in these results. None: an arm has no value.

    The spread is unknown if a sample has a single value.
    """
    part = comparison.judge(results)
    if part.interval is None:
        return None
    if isinstance(comparison, Frequency):
        return Effect(part.interval.estimate, (), part.seeds)
    samples, seeds, _ = comparison.samples(results)
    known = all(len(values) > 1 for _, values in samples)
    variances = tuple(weight**2 * variance(values) for weight, values in samples) if known else None
    return Effect(part.interval.estimate, variances, seeds)


def side_of(test: Sequence[Measured], effects: Sequence[Effect]) -> Side | None:
    """Return the verdict that enough seeds reach if the true effects are these; None if one is on its threshold."""
    distances = [
        sign * (effect.size - bound)
        for comparison, effect in zip(test, effects, strict=True)
        for bound, sign in comparison.sides
    ]
    if min(distances) == 0:
        return None
    return "supported" if min(distances) > 0 else "contradicted"


def power(test: Sequence[Measured], effects: Sequence[Effect], seeds: int, family: int) -> float:
    """Return the probability that a claim with these comparisons is decided on the side of its effects.

    seeds: of every arm. family: measured claims of the experiment. For several comparisons that must all hold, this is a
    lower bound, since their dependence is unknown; so it is for a contradiction, to which any of them may lead.
    Raises ValueError for an effect of unknown spread.
    """
    side = side_of(test, effects)
    if seeds < SEEDS_TO_DECIDE or side is None:
        return 0.0
    level = LEVEL / 2 / family  # two-sided, times the size of the family
    if side == "supported":
        misses = [1 - _chance(c, c.sides, effect, seeds, level) for c, effect in zip(test, effects, strict=True)]
        return max(0.0, 1 - math.fsum(misses))
    level /= sum(len(comparison.sides) for comparison in test)
    return max(
        math.fsum(_chance(c, [(bound, -sign)], effect, seeds, level) for bound, sign in c.sides)
        for c, effect in zip(test, effects, strict=True)
    )


def seeds_to_decide(test: Sequence[Measured], effects: Sequence[Effect], family: int) -> int | None:
    """Return the number of seeds from which on the power is at least `POWER`; None if that is above `MOST_SEEDS`.

    Raises ValueError for an effect of unknown spread.
    """
    seeds = MOST_SEEDS
    if power(test, effects, seeds, family) < POWER:
        return None
    if any(isinstance(comparison, Frequency) for comparison in test):  # their power falls and rises with the seeds
        while power(test, effects, seeds - 1, family) >= POWER:
            seeds -= 1
        return seeds
    too_few = SEEDS_TO_DECIDE - 1
    while seeds - too_few > 1:
        middle = (seeds + too_few) // 2
        enough = power(test, effects, middle, family) >= POWER
        seeds, too_few = (middle, too_few) if enough else (seeds, middle)
    return seeds


def largest_spread(comparison: Comparison, size: float, seeds: int, family: int) -> float | None:
    """Return the largest standard deviation of the effect over seeds at which `seeds` decide an effect of this size.

    None: the effect is on the threshold, or there are fewer seeds than any verdict needs.
    """

    def is_decided(spread: float) -> bool:
        return power([comparison], [Effect(size, (spread**2,))], seeds, family) >= POWER

    nearest = min(abs(size - bound) for bound, _ in comparison.sides)
    low, high = 0.0, 10 * nearest * math.sqrt(seeds)
    if nearest == 0 or seeds < SEEDS_TO_DECIDE:
        return None
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if is_decided(middle) else (low, middle)
    return low


def measured_claims(claims: Sequence[Claim]) -> list[tuple[Claim, list[Measured]]]:
    """Return the claims that are decided by seeds, each with its comparisons."""
    return [(claim, [c for c in claim.test if not isinstance(c, Exact)]) for claim in claims if not claim.exact]


def _chance(
    comparison: Measured, sides: Sequence[tuple[float, int]], effect: Effect, seeds: int, level: float
) -> float:
    """Return the probability that the one-sided tests of all these (bound, sign) have p-values of at most `level`."""
    if isinstance(comparison, Frequency):
        ((bound, sign),) = sides
        return _chance_of_share(bound, sign, effect.size, seeds, level)
    if effect.variances is None:
        raise ValueError(f"no spread of '{comparison.statement}': expected an effect seen on two seeds or more")
    low = max((bound for bound, sign in sides if sign > 0), default=-math.inf)
    high = min((bound for bound, sign in sides if sign < 0), default=math.inf)
    return _chance_between(low, high, effect.size, effect.variances, seeds, level)


def _chance_between(
    low: float, high: float, size: float, variances: Sequence[float], seeds: int, level: float
) -> float:
    """Return the probability that t tests find the effect above `low` and below `high`.

    Averages the normal probability given the estimated standard error over that one's distribution, in which Welch's sum
    of variances is taken as a χ² by Satterthwaite's degrees of freedom. For pairs this is exact: Student's noncentral t.
    The critical value has the degrees of freedom of `Interval.p_value`.
    """
    import numpy as np
    from scipy.special import chdtri, ndtr, stdtrit

    total = math.fsum(variances)
    if total == 0:
        return float(low < size < high)
    freedom = (seeds - 1) * total**2 / math.fsum(part**2 for part in variances)
    error = math.sqrt(total / seeds)
    tails = (np.arange(QUANTILES) + 0.5) / QUANTILES
    margin = stdtrit(seeds - 1, 1 - level) * error * np.sqrt(chdtri(freedom, tails) / freedom)
    inside = ndtr((high - margin - size) / error) - ndtr((low + margin - size) / error)
    return float(np.maximum(inside, 0.0).mean())


def _chance_of_share(bound: float, sign: int, share: float, seeds: int, level: float) -> float:
    """Return the probability that the exact test finds a share above `bound` (sign 1) or below it (sign -1), in percent.

    The p-values are those of `statistics.Share`, for all numbers of hits at once.
    """
    import numpy as np
    from scipy.special import bdtr, bdtrc

    hits = np.arange(seeds + 1)
    if sign > 0:
        enough = hits[1:][bdtrc(hits[:-1], seeds, bound / 100) <= level]
        return float(bdtrc(enough[0] - 1, seeds, share / 100)) if enough.size else 0.0
    few = hits[bdtr(hits, seeds, bound / 100) <= level]
    return float(bdtr(few[-1], seeds, share / 100)) if few.size else 0.0
