"""Intervals and Holm's correction, compared with scipy and with hand calculations."""

from __future__ import annotations

import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp, ttest_ind

from resnet_repro.claims.statistics import Interval, contrast_interval, holm, mean_interval, welch_interval


def test_intervals_and_p_values_agree_with_scipy() -> None:
    deep, shallow = [13.0, 13.4, 13.9, 13.1], [9.6, 9.7, 10.4]
    bounds = ttest_ind(deep, shallow, equal_var=False).confidence_interval()
    welch = welch_interval(deep, shallow)
    assert welch is not None and welch.error is not None
    assert (welch.low, welch.high) == pytest.approx((bounds.low, bounds.high))
    assert welch.p_value(0.0, 1) == pytest.approx(student.sf(welch.estimate / welch.error, 2))
    assert welch.p_value(0.0, -1) == pytest.approx(student.cdf(welch.estimate / welch.error, 2))
    single = mean_interval(deep)
    assert single is not None
    bounds = ttest_1samp(deep, 0.0).confidence_interval()
    assert (single.low, single.high) == pytest.approx((bounds.low, bounds.high))
    _, p = ttest_1samp(deep, 13.0, alternative="greater")
    assert single.p_value(13.0, 1) == pytest.approx(p)


def test_contrast_variance_and_degrees_of_freedom() -> None:
    samples = [(1.0, [1.0, 2.0, 3.0]), (-0.5, [4.0, 6.0, 8.0]), (-0.5, [0.0, 1.0, 5.0])]
    interval = contrast_interval(samples)
    assert interval is not None
    parts = [1 * 1 / 3, 0.25 * 4 / 3, 0.25 * 7 / 3]
    assert interval.estimate == pytest.approx(2 - 3 - 1)
    assert interval.error == pytest.approx(sum(parts) ** 0.5)
    assert interval.freedom == pytest.approx(sum(parts) ** 2 / sum(part**2 / 2 for part in parts))


def test_too_few_values_give_no_interval() -> None:
    assert mean_interval([]) is None
    assert welch_interval([1.0], []) is None
    assert mean_interval([2.0]) == Interval(2.0)
    assert welch_interval([1.0, 2.0], [0.5]) == Interval(1.0)
    assert Interval(2.0).p_value(0.0, 1) is None


def test_holm_adjusts_p_values_in_the_given_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
