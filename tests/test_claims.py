"""Verdicts on made-up results, both ways, and what the intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from resnet_repro.analysis.claims import Claim, Results, below, higher, judge, lower
from resnet_repro.analysis.statistics import mean_interval, paired_interval, welch_interval

DEEPER_IS_WORSE = Claim("D1", "He15", "deeper is worse", [higher("train_error", "deep", than="shallow")])


def results(deep: list[float], shallow: list[float], paper: bool = True, standin: bool = False) -> Results:
    values = {
        arm: {seed: {"train_error": value} for seed, value in enumerate(column)}
        for arm, column in (("deep", deep), ("shallow", shallow))
    }
    return Results(values, paper_budget=paper, standin=standin)


@pytest.mark.parametrize(
    ("deep", "shallow", "verdict"),
    [
        ([13.1, 13.2, 13.3], [9.6, 9.7, 9.8], "reproduced"),
        ([9.6, 9.7, 9.8], [13.1, 13.2, 13.3], "not reproduced"),
        ([9.0, 10.0, 11.0], [9.2, 10.1, 10.7], "undecided"),
        ([13.1], [9.6], "observed"),
        ([9.6], [13.1], "not observed"),
        ([9.6], [9.6], "not observed"),
        ([13.1, 13.2], [9.6, 9.7], "undecided"),
        ([13.1, 13.2, 13.3], [9.6, 9.7], "undecided"),
        ([13.1, 13.2, 13.3], [], "undecided"),
        ([5.0, 5.0, 5.0], [4.0, 4.0, 4.0], "reproduced"),
    ],
)
def test_verdicts(deep: list[float], shallow: list[float], verdict: str) -> None:
    assert judge(DEEPER_IS_WORSE, results(deep, shallow)).verdict == verdict


def test_the_effect_and_its_interval_are_welchs() -> None:
    deep, shallow = [13.0, 13.4, 13.9], [9.6, 9.7, 10.4]
    part = judge(DEEPER_IS_WORSE, results(deep, shallow)).parts[0]
    expected = ttest_ind(deep, shallow, equal_var=False).confidence_interval()
    assert part.interval is not None
    assert part.interval.estimate == pytest.approx(np.mean(deep) - np.mean(shallow))
    assert (part.interval.low, part.interval.high) == pytest.approx((expected.low, expected.high))
    assert part.seeds == 3


def test_standins_missing_runs_and_short_budgets_decide_nothing() -> None:
    clear = ([13.1, 13.2, 13.3], [9.6, 9.7, 9.8])
    standin = judge(DEEPER_IS_WORSE, results(*clear, standin=True))
    assert (standin.verdict, standin.reason) == ("undecided", "stand-in data")
    missing = judge(DEEPER_IS_WORSE, results(clear[0], []))
    assert (missing.verdict, missing.reason) == ("undecided", "runs are missing")
    long = Claim("P", "He15", "", DEEPER_IS_WORSE.test, needs_paper_budget=True)
    short = judge(long, results(*clear, paper=False))
    assert (short.verdict, short.reason) == ("undecided", "needs the published budget")
    assert judge(long, results(*clear)).verdict == "reproduced"
    assert judge(DEEPER_IS_WORSE, results(*clear, paper=False)).verdict == "reproduced"


def test_a_claim_of_two_parts_needs_both() -> None:
    values = {
        "a": {s: {"train_error": 1.0 + s / 10, "test_error": 5.0 + s / 10} for s in range(3)},
        "b": {s: {"train_error": 2.0 + s / 10, "test_error": 2.0 + s / 10} for s in range(3)},
    }
    both = Results(values, True, False)
    train, test = lower("train_error", "a", than="b"), lower("test_error", "a", than="b")
    assert judge(Claim("X", "", "", [train]), both).verdict == "reproduced"
    assert judge(Claim("X", "", "", [test]), both).verdict == "not reproduced"
    assert judge(Claim("X", "", "", [train, test]), both).verdict == "not reproduced"


def test_a_diverged_seed_is_left_out() -> None:
    values = {
        "deep": {0: {"train_error": 13.0}, 1: {}, 2: {"train_error": 13.1}, 3: {"train_error": 13.2}},
        "shallow": {s: {"train_error": 9.0 + s / 10} for s in range(3)},
    }
    judgement = judge(DEEPER_IS_WORSE, Results(values, True, False))
    assert judgement.verdict == "reproduced"
    assert judgement.parts[0].seeds == 3


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([-2.0, -2.1, -1.9], "reproduced"),
        ([0.1, 0.0, 0.2], "not reproduced"),
        ([-1.5, -0.5, -1.1], "undecided"),
        ([-0.9], "not observed"),
    ],
)
def test_a_threshold_on_one_arm(values: list[float], verdict: str) -> None:
    claim = Claim("D5", "", "", [below("gradient_decay", "deep", -1.0, unit="decades")])
    made = Results({"deep": {s: {"gradient_decay": v} for s, v in enumerate(values)}}, True, False)
    assert judge(claim, made).verdict == verdict


def test_pairs_use_shared_seeds_alone() -> None:
    values = {
        "plain": {0: {"e": 10.0}, 1: {"e": 20.0}, 2: {"e": 30.0}, 7: {"e": 1.0}},
        "resnet": {0: {"e": 9.0}, 1: {"e": 19.1}, 2: {"e": 28.9}, 9: {"e": 99.0}},
    }
    made = Results(values, True, False)
    paired = judge(Claim("D4", "", "", [lower("e", "resnet", than="plain", paired=True)]), made)
    assert paired.verdict == "reproduced"
    assert paired.parts[0].seeds == 3
    assert judge(Claim("D4", "", "", [lower("e", "resnet", than="plain")]), made).verdict == "undecided"


def test_intervals_cover_what_they_promise() -> None:
    """95 % of the intervals hold the truth: 2,000 repetitions with 5 seeds, standard error 0.5 points."""
    rng = np.random.default_rng(0)
    held = {"mean": 0, "welch": 0, "paired": 0}
    for _ in range(2_000):
        a, b = rng.normal(1.0, 1.0, 5), rng.normal(0.0, 2.0, 5)
        for name, interval in (
            ("mean", mean_interval(list(a))),
            ("welch", welch_interval(list(a), list(b))),
            ("paired", paired_interval(list(a), list(b))),
        ):
            assert interval is not None
            assert interval.low is not None
            assert interval.high is not None
            held[name] += interval.low < 1.0 < interval.high
    assert all(0.935 < count / 2_000 < 0.97 for count in held.values()), held


def test_an_absent_effect_is_seldom_called_one() -> None:
    rng = np.random.default_rng(1)
    verdicts = [
        judge(DEEPER_IS_WORSE, results(list(rng.normal(10, 0.3, 5)), list(rng.normal(10, 0.3, 5)))).verdict
        for _ in range(1_000)
    ]
    assert verdicts.count("reproduced") < 45  # 2.5 % expected
    assert verdicts.count("not reproduced") < 45
    assert verdicts.count("undecided") > 900


def test_no_values_give_no_interval() -> None:
    assert mean_interval([]) is None
    assert welch_interval([1.0], []) is None
    assert paired_interval([], []) is None
    single = mean_interval([3.0])
    assert single is not None
    assert (single.estimate, single.low, single.high) == (3.0, None, None)
