"""Intervals over seeds. With a handful of seeds a t interval holds what it promises; a percentile bootstrap does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; the bounds are None where one value says nothing of the spread."""

    estimate: float
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of a mean; None for no values."""
    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None)
    return _around(mean, float(np.var(values, ddof=1)) / len(values), len(values) - 1)


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """t interval of the mean difference of pairs, first minus second; None for no pairs."""
    return mean_interval([a - b for a, b in zip(first, second, strict=True)])


def welch_interval(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Welch's t interval of a difference of means, first minus second; None where one side is empty.

    B. L. Welch, *The generalization of "Student's" problem when several different population variances are involved*,
    1947; degrees of freedom by Welch-Satterthwaite.
    """
    if not first or not second:
        return None
    estimate = float(np.mean(first) - np.mean(second))
    if len(first) < 2 or len(second) < 2:
        return Interval(estimate, None, None)
    a, b = (float(np.var(v, ddof=1)) / len(v) for v in (first, second))
    if a + b == 0:
        return Interval(estimate, estimate, estimate)
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    return _around(estimate, a + b, freedom)


def _around(estimate: float, variance: float, freedom: float) -> Interval:
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half)
