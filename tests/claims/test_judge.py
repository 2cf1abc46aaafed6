"""Verdicts on made-up results."""

from __future__ import annotations

import numpy as np
import pytest
from made_results import DEEPER_IS_WORSE, judge, results

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import (
    Comparison,
    Results,
    above,
    below,
    closer,
    contrast,
    higher,
    lower,
    near_zero,
    not_higher,
    trend,
)
from resnet_repro.claims.judge import RULE, judge_all
from resnet_repro.claims.statistics import mean_interval, paired_interval, welch_interval


def verdict(test: list[Comparison] | Comparison, **arms: list[float]) -> str:
    tests = test if isinstance(test, list) else [test]
    return judge(Claim("C", "", "", tests), results(arms)).verdict


@pytest.mark.parametrize(
    ("deep", "shallow", "expected"),
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
        ([4.0, 4.0, 4.0], [5.0, 5.0, 5.0], "not reproduced"),
        ([5.0, 5.0, 5.0], [5.0, 5.0, 5.0], "undecided"),
    ],
)
def test_verdicts_for_present_absent_and_reversed_effects(
    deep: list[float], shallow: list[float], expected: str
) -> None:
    assert verdict(higher("error", "deep", than="shallow"), deep=deep, shallow=shallow) == expected


LOW, HIGH, WIDE = [9.6, 9.7, 9.8], [13.1, 13.2, 13.3], [5.0, 10.0, 15.0]


@pytest.mark.parametrize(
    ("test", "arms", "expected"),
    [
        (lower("error", "a", than="b"), {"a": LOW, "b": HIGH}, "reproduced"),
        (lower("error", "a", than="b"), {"a": HIGH, "b": LOW}, "not reproduced"),
        (lower("error", "a", than="b"), {"a": WIDE, "b": LOW}, "undecided"),
        (above("error", "a", 10.0, "%"), {"a": HIGH}, "reproduced"),
        (above("error", "a", 10.0, "%"), {"a": LOW}, "not reproduced"),
        (above("error", "a", 10.0, "%"), {"a": WIDE}, "undecided"),
        (below("error", "a", 10.0, "%"), {"a": LOW}, "reproduced"),
        (below("error", "a", 10.0, "%"), {"a": HIGH}, "not reproduced"),
        (not_higher("error", "a", than="b", margin=4.0), {"a": HIGH, "b": LOW}, "reproduced"),
        (not_higher("error", "a", than="b", margin=3.0), {"a": HIGH, "b": LOW}, "not reproduced"),
        (not_higher("error", "a", than="b", margin=3.5), {"a": HIGH, "b": LOW}, "undecided"),
        (near_zero("error", "a", 0.5, "points"), {"a": [0.1, -0.1, 0.0]}, "reproduced"),
        (near_zero("error", "a", 0.5, "points"), {"a": [1.1, 0.9, 1.0]}, "not reproduced"),
        (near_zero("error", "a", 0.5, "points"), {"a": [-1.1, -0.9, -1.0]}, "not reproduced"),
        (near_zero("error", "a", 0.5, "points"), {"a": [0.4, 0.6, 0.5]}, "undecided"),
        (trend("error", ["a", "b", "c"], -1), {"a": HIGH, "b": [11.0, 11.1, 11.2], "c": LOW}, "reproduced"),
        (trend("error", ["a", "b", "c"], 1), {"a": HIGH, "b": [11.0, 11.1, 11.2], "c": LOW}, "not reproduced"),
        (trend("error", ["a", "b", "c"], -1), {"a": LOW, "b": WIDE, "c": LOW}, "undecided"),
    ],
)
def test_every_kind_of_comparison_can_hold_and_fail(
    test: Comparison | list[Comparison], arms: dict[str, list[float]], expected: str
) -> None:
    assert verdict(test, **arms) == expected


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        ([7.3, 7.4, 7.5], "reproduced"),
        ([6.7, 6.6, 6.5], "reproduced"),
        ([12.0, 12.1, 12.2], "not reproduced"),
        ([2.0, 2.1, 2.2], "not reproduced"),
    ],
)
def test_closer_compares_a_difference_with_a_gap(b: list[float], expected: str) -> None:
    test = closer("error", "a", "b", than_gap=("plain", "a"), fraction=0.5)
    assert verdict(test, a=[7.0, 7.1, 7.2], b=b, plain=[13.0, 13.1, 13.2]) == expected


def test_trend_is_the_slope_through_the_means() -> None:
    arms = {"a": [1.0, 1.2], "b": [2.0, 2.1], "c": [1.5, 1.6], "d": [4.0, 4.4]}
    part = trend("error", list(arms), 1).judge(results(arms))
    assert part.interval is not None
    assert part.interval.estimate == pytest.approx(np.polyfit(range(4), [np.mean(v) for v in arms.values()], 1)[0])
    with pytest.raises(ValueError, match=r"trend over \['a'\]"):
        trend("error", ["a"], 1)


def test_seeds_are_paired_only_with_equal_keys() -> None:
    """Seeds shift both arms alike, so the effect is clear per seed but not relative to the arms' spreads."""
    a, b = [10.0, 12.0, 14.0, 16.0], [9.5, 11.4, 13.5, 15.4]
    keys = ["k0", "k1", "k2", "k3"]
    claim = Claim("C", "", "", [higher("error", "a", than="b")])
    paired = judge(claim, results({"a": a, "b": b}, pairing_keys={"a": keys, "b": keys}))
    assert paired.parts[0].paired
    assert paired.parts[0].interval == paired_interval(a, b)
    assert paired.verdict == "reproduced"
    for pairing_keys in (None, {"a": keys}, {"a": keys, "b": ["k0", "k1", "k2", "other"]}):
        unpaired = judge(claim, results({"a": a, "b": b}, pairing_keys=pairing_keys))
        assert not unpaired.parts[0].paired
        assert unpaired.parts[0].interval == welch_interval(a, b)
        assert unpaired.verdict == "undecided"


def test_pairs_use_common_seeds() -> None:
    keys = ["k0", "k1", "k2", "k3"]
    values = results({"a": [1.0, 2.0, 3.0, 9.0], "b": [0.0, 1.0, 2.0]}, pairing_keys={"a": keys, "b": keys})
    part = judge(Claim("C", "", "", [higher("error", "a", than="b")]), values).parts[0]
    assert (part.paired, part.seeds) == (True, 3)
    assert part.interval is not None
    assert part.interval.estimate == 1.0


def test_standins_missing_runs_and_short_budgets_are_undecided() -> None:
    clear = {"deep": HIGH, "shallow": LOW}
    standin = judge(DEEPER_IS_WORSE, results(clear, standin=True))
    assert (standin.verdict, standin.reason) == ("undecided", "stand-in data")
    missing = judge(DEEPER_IS_WORSE, results({"deep": HIGH, "shallow": []}))
    assert (missing.verdict, missing.reason) == ("undecided", "runs are missing")
    long = Claim("P", "He15", "", DEEPER_IS_WORSE.test, needs_paper_budget=True)
    for arms in (clear, {"deep": HIGH, "shallow": []}):
        short = judge(long, results(arms, short=("deep",)))
        assert (short.verdict, short.reason) == ("undecided", "needs the published budget")
    assert judge(long, results(clear, short=("other",))).verdict == "reproduced"
    assert judge(DEEPER_IS_WORSE, results(clear, short=("deep",))).verdict == "reproduced"
    omitted = judge(long, results({"other": LOW}, short=("other",)))
    assert (omitted.verdict, omitted.reason) == ("undecided", "needs the published budget")
    few = judge(DEEPER_IS_WORSE, results({"deep": HIGH[:2], "shallow": LOW[:2]}))
    assert (few.verdict, few.reason) == ("undecided", "fewer than three seeds")


def test_run_without_the_value_leaves_the_claim_undecided() -> None:
    """A verdict on the remaining seeds would suffer from survivorship bias."""
    complete = results({"deep": HIGH, "shallow": LOW})
    values = {arm: dict(rows) for arm, rows in complete.values.items()} | {"other": {0: {}}}
    assert judge(DEEPER_IS_WORSE, Results(values)).verdict == "reproduced"
    for seeds, reason in (((3,), "deep seed 3 "), ((3, 4), "deep seeds 3, 4 ")):
        values["deep"] |= {seed: {} for seed in seeds}
        judgement = judge(DEEPER_IS_WORSE, Results(values))
        assert judgement.verdict == "undecided"
        assert judgement.reason.startswith(reason) and "without the value" in judgement.reason


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (HIGH, "undecided"),
        (LOW, "not reproduced"),
        (LOW[:1], "not observed"),
        (HIGH[:1], "undecided"),
        ([], "undecided"),
    ],
)
def test_claim_can_be_refuted_below_paper_budget(values: list[float], expected: str) -> None:
    test = [above("error", "deep", 11.0, "%")]
    claim = Claim("B1", "", "hardly learns", test, needs_paper_budget=True, refuted_early=True)
    judgement = judge(claim, results({"deep": values}, short=("deep",)))
    assert judgement.verdict == expected
    if expected == "undecided":
        assert judgement.reason == "needs the published budget"
    if values:
        assert judge(claim, results({"deep": values})).verdict != "undecided"


@pytest.mark.parametrize(
    ("second", "expected"), [(LOW, "reproduced"), (HIGH, "not reproduced"), (WIDE, "undecided"), ([9.7], "undecided")]
)
def test_claim_needs_all_its_parts(second: list[float], expected: str) -> None:
    test = [below("error", "a", 11.0, "%"), below("error", "b", 11.0, "%")]
    assert verdict(test, a=LOW, b=second) == expected


def test_refuting_part_is_corrected_for_the_number_of_parts() -> None:
    """Ten parts give ten chances of an accidental refutation, so the p-value against the claim is multiplied."""
    refuting = [1.7, 1.0, 1.9]
    interval = mean_interval(refuting)
    assert interval is not None
    p = interval.p_value(0.0, 1)
    assert p is not None
    assert 0.05 / 20 < p < 0.025
    alone = [below("error", "a", 0.0, "%")]
    assert verdict(alone, a=refuting) == "not reproduced"
    among = alone + [below("error", f"b{i}", 0.0, "%") for i in range(9)]
    judgement = judge(
        Claim("C", "", "", among), results({"a": refuting} | {f"b{i}": [-1.0, -1.1, -1.2] for i in range(9)})
    )
    assert (judgement.verdict, judgement.reason) == ("undecided", "p above 0.05")


def test_claim_without_comparisons_is_rejected() -> None:
    with pytest.raises(ValueError, match="claim C has no comparison"):
        Claim("C", "", "", [])


def family(p_values: list[float]) -> tuple[list[Claim], Results]:
    """Return claims with approximately these two-sided p-values, each about a separate arm."""
    from scipy.optimize import brentq

    arms, claims = {}, []
    for index, target in enumerate(p_values):

        def miss(mean: float, target: float = target) -> float:
            interval = mean_interval([mean - 1, mean, mean + 1])
            assert interval is not None
            p = interval.p_value(0.0, 1)
            assert p is not None
            return 2 * p - target

        mean = float(brentq(miss, 0.01, 1_000))  # type: ignore[arg-type]
        arms[f"arm{index}"] = [mean - 1, mean, mean + 1]
        claims.append(Claim(f"C{index}", "", "", [above("error", f"arm{index}", 0.0, "points")]))
    return claims, results(arms)


def test_claims_of_an_experiment_are_corrected_together() -> None:
    judgements = judge_all(*family([0.01, 0.04, 0.02]))
    assert [j.p for j in judgements] == pytest.approx([0.03, 0.04, 0.04], rel=1e-3)
    assert [j.verdict for j in judgements] == ["reproduced"] * 3
    judgements = judge_all(*family([0.02, 0.04, 0.03]))
    assert [j.verdict for j in judgements] == ["undecided"] * 3
    assert {j.reason for j in judgements} == {"does not survive Holm's correction for 3 claims"}
    assert all(part.verdict == "reproduced" for j in judgements for part in j.parts)


def test_undecidable_claims_do_not_enter_the_correction() -> None:
    claims, values = family([0.04])
    absent = [Claim(f"A{i}", "", "", [above("error", "nobody", 0.0, "points")]) for i in range(5)]
    judgement = judge_all([*absent, *claims], values)[-1]
    assert (judgement.verdict, judgement.family) == ("reproduced", 1)
    assert judgement.p == pytest.approx(0.04, rel=1e-3)


def test_rule_names_every_step() -> None:
    for phrase in (
        "Holm",
        "Welch",
        "paired",
        "same trained net",
        "fewer than three seeds",
        "published budget",
        "stand-in",
        "guessing",
        "fewest seeds",
        "5 %",
    ):
        assert phrase in RULE, phrase


def test_statements_name_metric_arms_and_margin() -> None:
    assert higher("train_error", "a", than="b").statement == "train error: a above b"
    assert not_higher("test_error", "a", than="b", margin=1.0).statement == "test error: a less than 1 points above b"
    one, other = closer("error", "a", "b", than_gap=("plain", "a"), fraction=0.5)
    assert dict(one.terms) == {"plain": 0.5, "a": -1.5, "b": 1}
    assert dict(other.terms) == {"plain": 0.5, "a": 0.5, "b": -1}
    assert contrast("error", {"a": 1, "b": -1}, 1, "in words").statement == "in words"
