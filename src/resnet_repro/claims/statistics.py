"""Intervals and p-values over seeds, and the correction for multiple claims.

A t interval keeps its 95 % coverage with a handful of seeds; a percentile bootstrap covers only 83 % at five seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate over seeds with its 95 % t interval.

    All fields but the estimate are None if a sample has a single value, which gives no spread.
    """

    estimate: float
    low: float | None = None
    high: float | None = None
    error: float | None = None
    """Standard error of the estimate."""
    freedom: float | None = None
    """Degrees of freedom of the interval."""
    least_freedom: int | None = None
    """Degrees of freedom of p-values: those of the smallest sample."""

    def p_value(self, threshold: float, sign: int) -> float | None:
        """Return the one-sided p for the true value being above the threshold (sign 1) or below it (sign -1).

        Small p supports that side. None without a spread; 0 or 1 if the values do not vary (1 on the threshold).
        The p-value is conservative: for any spreads of the arms, the tail of the estimate is at most as heavy as that of
        t with the degrees of freedom of the smallest sample (J. Hájek, *Inequalities for the generalized Student's
        distribution and their applications*, 1962). Welch's degrees of freedom suit the interval, but not the far tail:
        with three seeds and one arm of wide spread, small p-values occur up to twice too often.
        """
        if self.error is None or self.least_freedom is None:
            return None
        side = sign * (self.estimate - threshold)
        if self.error == 0:
            return 0.0 if side > 0 else 1.0
        from scipy.special import stdtr

        return float(stdtr(self.least_freedom, -side / self.error))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return Student's t interval of a mean; None without values."""
    return contrast_interval([(1.0, values)])


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Return the t interval of the mean difference of pairs, first minus second; None without pairs.

    Raises ValueError if the lengths differ.
    """
    return mean_interval([a - b for a, b in zip(first, second, strict=True)])


def welch_interval(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Return Welch's t interval of a difference of means, first minus second; None if a sample is empty."""
    return contrast_interval([(1.0, first), (-1.0, second)])


def contrast_interval(samples: Sequence[tuple[float, Sequence[float]]]) -> Interval | None:
    """Return the t interval of Σ weight · mean over independent samples of unequal variance; None if one is empty.

    samples: (weight, values) each. The variance is Σ w² s²/n, with degrees of freedom by Welch and Satterthwaite. For two
    samples this is Welch's interval (B. L. Welch, *The generalization of "Student's" problem when several different
    population variances are involved*, 1947); for one sample it is Student's.
    """
    if not samples or not all(values for _, values in samples):
        return None
    estimate = math.fsum(weight * fmean(values) for weight, values in samples)
    if any(len(values) < 2 for _, values in samples):
        return Interval(estimate)
    parts = [(weight**2 * variance(values) / len(values), len(values) - 1) for weight, values in samples]
    least = min(freedom for _, freedom in parts)
    total = math.fsum(part for part, _ in parts)
    if total == 0:
        return Interval(estimate, estimate, estimate, 0.0, float(sum(freedom for _, freedom in parts)), least)
    freedom = total**2 / math.fsum(part**2 / freedom for part, freedom in parts)
    from scipy.special import stdtrit

    error = math.sqrt(total)
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return Interval(estimate, estimate - half, estimate + half, error, freedom, least)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted by Holm's step-down method, in the given order.

    Rejecting all hypotheses with an adjusted p ≤ α bounds the probability of any false rejection by α under arbitrary
    dependence (S. Holm, *A simple sequentially rejective multiple test procedure*, 1979).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
