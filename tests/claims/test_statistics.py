"""Intervals and Holm's correction, against scipy's and by hand."""

from __future__ import annotations

import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp, ttest_ind

from resnet_repro.claims.statistics import Interval, contrast_interval, holm, mean_interval, welch_interval


def test_intervals_are_students_and_welchs() -> None:
    deep, shallow = [13.0, 13.4, 13.9, 13.1], [9.6, 9.7, 10.4]
    bounds = ttest_ind(deep, shallow, equal_var=False).confidence_interval()
    found = welch_interval(deep, shallow)
    assert found is not None and found.error is not None
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))
    assert found.p_value(0.0, 1) == pytest.approx(student.sf(found.estimate / found.error, 2))
    assert found.p_value(0.0, -1) == pytest.approx(student.cdf(found.estimate / found.error, 2))
    alone = mean_interval(deep)
    assert alone is not None
    bounds = ttest_1samp(deep, 0.0).confidence_interval()
    assert (alone.low, alone.high) == pytest.approx((bounds.low, bounds.high))
    _, p = ttest_1samp(deep, 13.0, alternative="greater")
    assert alone.p_value(13.0, 1) == pytest.approx(p)


def test_a_contrasts_variance_and_freedom_by_hand() -> None:
    samples = [(1.0, [1.0, 2.0, 3.0]), (-0.5, [4.0, 6.0, 8.0]), (-0.5, [0.0, 1.0, 5.0])]
    found = contrast_interval(samples)
    assert found is not None
    parts = [1 * 1 / 3, 0.25 * 4 / 3, 0.25 * 7 / 3]
    assert found.estimate == pytest.approx(2 - 3 - 1)
    assert found.error == pytest.approx(sum(parts) ** 0.5)
    assert found.freedom == pytest.approx(sum(parts) ** 2 / sum(part**2 / 2 for part in parts))


def test_intervals_of_too_few_values() -> None:
    assert mean_interval([]) is None
    assert welch_interval([1.0], []) is None
    assert mean_interval([2.0]) == Interval(2.0)
    assert welch_interval([1.0, 2.0], [0.5]) == Interval(1.0)
    assert Interval(2.0).p_value(0.0, 1) is None


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
