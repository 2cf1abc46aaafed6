"""The spread of test errors over seeds, and the part of it that is luck with the test images."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from statistics import pvariance

import numpy as np
import pytest
from scipy.stats import chi2

from resnet_repro.claims.spread import spread, variance_parts
from resnet_repro.claims.statistics import variance_interval, wilson_interval

# Whether a kind of run (row) errs on a kind of image (column); all kinds are equally likely.
ERRS = np.array([[0, 0, 1], [0, 1, 0], [1, 1, 0]], bool)


def test_the_parts_are_unbiased_over_all_draws_of_runs_and_images() -> None:
    """The mean over every possible draw of two runs and three images is exact: no simulation."""
    kinds = range(3)
    parts = np.array(
        [
            variance_parts([~ERRS[run, list(images)] for run in runs])
            for runs in product(kinds, repeat=2)
            for images in product(kinds, repeat=3)
        ]
    )
    true_errors = [100 * Fraction(int(row.sum()), 3) for row in ERRS]
    observed, of_images = parts.mean(0)
    assert observed - of_images == pytest.approx(float(pvariance(true_errors)))
    # Given a run, its errors on drawn images are independent: its test error varies by r (1 - r) / 3 around r.
    assert of_images > 0


def test_errors_at_random_are_luck_and_a_better_run_is_not() -> None:
    rng = np.random.default_rng(0)
    images, seeds = 4_000, 40
    at_random = [rng.random(images) > 0.1 for _ in range(seeds)]
    luck = spread(at_random)
    binomial = 100 * np.sqrt(0.1 * 0.9 / images)
    assert luck.of_images == pytest.approx(binomial, rel=0.02)
    assert luck.beyond_interval[0] == 0 and luck.beyond < 0.6 * binomial
    rates = np.linspace(0.05, 0.15, seeds)
    better = spread([rng.random(images) > rate for rate in rates])
    assert better.beyond == pytest.approx(100 * rates.std(ddof=1), rel=0.05)
    assert better.observed**2 == pytest.approx(better.of_images**2 + better.beyond**2)
    assert better.beyond_interval[0] < better.beyond < better.beyond_interval[1]


def test_runs_that_err_on_the_same_images_have_no_luck() -> None:
    same = np.arange(100) % 7 > 0
    assert spread([same, same]).of_images == spread([same, same]).observed == 0
    with pytest.raises(ValueError, match="two or more runs"):
        spread([same])
    with pytest.raises(ValueError, match="same"):
        spread([same, same[:50]])


def test_the_interval_of_a_variance_covers_it_as_often_as_it_says() -> None:
    normal = np.random.default_rng(1).normal(0, 2, (2_000, 4))
    covered = [low <= 4 <= high for low, high in map(variance_interval, normal.tolist())]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
    low, high = variance_interval([1.0, 2.0, 4.0])
    assert (low, high) == pytest.approx((14 / 3 / chi2.ppf(0.975, 2), 14 / 3 / chi2.ppf(0.025, 2)))


def test_the_interval_over_images_is_wilsons() -> None:
    """Against the published example of 81 in 263 (R. G. Newcombe 1998, table I): 0.2553 to 0.3662."""
    interval = wilson_interval(81, 263)
    assert (interval.low, interval.high) == pytest.approx((25.53, 36.62), abs=0.005)
    assert wilson_interval(0, 10).low == 0 and wilson_interval(10, 10).high == pytest.approx(100)
