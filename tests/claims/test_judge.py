"""Verdicts on made-up results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_results import DEEPER_IS_WORSE, judge, results

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import (
    Comparison,
    above,
    below,
    between,
    closer,
    contrast,
    count_above,
    higher,
    lower,
    near_zero,
    not_higher,
    ordered,
    same,
    trend,
)
from resnet_repro.claims.grade import SUBSTITUTE, Grade
from resnet_repro.claims.judge import RULE, judge_all
from resnet_repro.claims.results import Results
from resnet_repro.claims.statistics import mean_interval, paired_interval, welch_interval


def verdict(test: list[Comparison] | Comparison, **arms: list[float]) -> str:
    tests = test if isinstance(test, list) else [test]
    return judge(Claim("C", "", "", tests), results(arms)).verdict


@pytest.mark.parametrize(
    ("deep", "shallow", "expected"),
    [
        ([13.1, 13.2, 13.3], [9.6, 9.7, 9.8], "supported"),
        ([9.6, 9.7, 9.8], [13.1, 13.2, 13.3], "contradicted"),
        ([9.0, 10.0, 11.0], [9.2, 10.1, 10.7], "inconclusive"),
        ([13.1], [9.6], "seen once"),
        ([9.6], [13.1], "not seen"),
        ([9.6], [9.6], "not seen"),
        ([13.1, 13.2], [9.6, 9.7], "inconclusive"),
        ([13.1, 13.2, 13.3], [9.6, 9.7], "inconclusive"),
        ([13.1, 13.2, 13.3], [], "not tested"),
        ([5.0, 5.0, 5.0], [4.0, 4.0, 4.0], "supported"),
        ([4.0, 4.0, 4.0], [5.0, 5.0, 5.0], "contradicted"),
        ([5.0, 5.0, 5.0], [5.0, 5.0, 5.0], "inconclusive"),
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
        (lower("error", "a", than="b"), {"a": LOW, "b": HIGH}, "supported"),
        (lower("error", "a", than="b"), {"a": HIGH, "b": LOW}, "contradicted"),
        (lower("error", "a", than="b"), {"a": WIDE, "b": LOW}, "inconclusive"),
        (above("error", "a", 10.0, "%"), {"a": HIGH}, "supported"),
        (above("error", "a", 10.0, "%"), {"a": LOW}, "contradicted"),
        (above("error", "a", 10.0, "%"), {"a": WIDE}, "inconclusive"),
        (below("error", "a", 10.0, "%"), {"a": LOW}, "supported"),
        (below("error", "a", 10.0, "%"), {"a": HIGH}, "contradicted"),
        (not_higher("error", "a", than="b", margin=4.0), {"a": HIGH, "b": LOW}, "supported"),
        (not_higher("error", "a", than="b", margin=3.0), {"a": HIGH, "b": LOW}, "contradicted"),
        (not_higher("error", "a", than="b", margin=3.5), {"a": HIGH, "b": LOW}, "inconclusive"),
        (near_zero("error", "a", 0.5, "points"), {"a": [0.1, -0.1, 0.0]}, "supported"),
        (near_zero("error", "a", 0.5, "points"), {"a": [1.1, 0.9, 1.0]}, "contradicted"),
        (near_zero("error", "a", 0.5, "points"), {"a": [-1.1, -0.9, -1.0]}, "contradicted"),
        (near_zero("error", "a", 0.5, "points"), {"a": [0.4, 0.6, 0.5]}, "inconclusive"),
        (trend("error", ["a", "b", "c"], -1), {"a": HIGH, "b": [11.0, 11.1, 11.2], "c": LOW}, "supported"),
        (trend("error", ["a", "b", "c"], 1), {"a": HIGH, "b": [11.0, 11.1, 11.2], "c": LOW}, "contradicted"),
        (trend("error", ["a", "b", "c"], -1), {"a": LOW, "b": WIDE, "c": LOW}, "inconclusive"),
    ],
)
def test_every_kind_of_comparison_can_hold_and_fail(
    test: Comparison | list[Comparison], arms: dict[str, list[float]], expected: str
) -> None:
    assert verdict(test, **arms) == expected


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        ([7.3, 7.4, 7.5], "supported"),
        ([6.7, 6.6, 6.5], "supported"),
        ([12.0, 12.1, 12.2], "contradicted"),
        ([2.0, 2.1, 2.2], "contradicted"),
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
    assert paired.verdict == "supported"
    for pairing_keys in (None, {"a": keys}, {"a": keys, "b": ["k0", "k1", "k2", "other"]}):
        unpaired = judge(claim, results({"a": a, "b": b}, pairing_keys=pairing_keys))
        assert not unpaired.parts[0].paired
        assert unpaired.parts[0].interval == welch_interval(a, b)
        assert unpaired.verdict == "inconclusive"


def test_pairs_use_common_seeds() -> None:
    keys = ["k0", "k1", "k2", "k3"]
    values = results({"a": [1.0, 2.0, 3.0, 9.0], "b": [0.0, 1.0, 2.0]}, pairing_keys={"a": keys, "b": keys})
    part = judge(Claim("C", "", "", [higher("error", "a", than="b")]), values).parts[0]
    assert (part.paired, part.seeds) == (True, 3)
    assert part.interval is not None
    assert part.interval.estimate == 1.0


def test_standins_missing_runs_and_short_budgets_do_not_test_a_claim() -> None:
    clear = {"deep": HIGH, "shallow": LOW}
    standin = judge(DEEPER_IS_WORSE, results(clear, standin=True))
    assert (standin.verdict, standin.reason) == ("not tested", "stand-in data")
    missing = judge(DEEPER_IS_WORSE, results({"deep": HIGH, "shallow": []}))
    assert (missing.verdict, missing.reason) == ("not tested", "runs are missing")
    long = Claim("P", "He15", "", DEEPER_IS_WORSE.test, needs_paper_budget=True)
    for arms in (clear, {"deep": HIGH, "shallow": []}):
        short = judge(long, results(arms, short=("deep",)))
        assert (short.verdict, short.reason) == ("not tested", "needs the published budget")
    assert judge(long, results(clear, short=("other",))).verdict == "supported"
    assert judge(DEEPER_IS_WORSE, results(clear, short=("deep",))).verdict == "supported"
    omitted = judge(long, results({"other": LOW}, short=("other",)))
    assert (omitted.verdict, omitted.reason) == ("not tested", "needs the published budget")
    few = judge(DEEPER_IS_WORSE, results({"deep": HIGH[:2], "shallow": LOW[:2]}))
    assert (few.verdict, few.reason) == ("inconclusive", "fewer than three seeds")


def test_run_without_the_value_leaves_the_claim_inconclusive() -> None:
    """A verdict on the remaining seeds would suffer from survivorship bias."""
    complete = results({"deep": HIGH, "shallow": LOW})
    values = {arm: dict(rows) for arm, rows in complete.values.items()} | {"other": {0: {}}}
    assert judge(DEEPER_IS_WORSE, Results(values)).verdict == "supported"
    for seeds, reason in (((3,), "deep seed 3 "), ((3, 4), "deep seeds 3, 4 ")):
        values["deep"] |= {seed: {} for seed in seeds}
        judgement = judge(DEEPER_IS_WORSE, Results(values))
        assert judgement.verdict == "inconclusive"
        assert judgement.reason.startswith(reason) and "without the value" in judgement.reason


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (HIGH, "not tested"),
        (LOW, "contradicted"),
        (LOW[:1], "not seen"),
        (HIGH[:1], "not tested"),
        ([], "not tested"),
    ],
)
def test_claim_can_be_refuted_below_paper_budget(values: list[float], expected: str) -> None:
    test = [above("error", "deep", 11.0, "%")]
    claim = Claim("B1", "", "hardly learns", test, needs_paper_budget=True, refuted_early=True)
    judgement = judge(claim, results({"deep": values}, short=("deep",)))
    assert judgement.verdict == expected
    if expected == "not tested":
        assert judgement.reason == "needs the published budget"
    if values:
        assert judge(claim, results({"deep": values})).verdict != "not tested"


@pytest.mark.parametrize(
    ("second", "expected"),
    [(LOW, "supported"), (HIGH, "contradicted"), (WIDE, "inconclusive"), ([9.7], "inconclusive")],
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
    assert verdict(alone, a=refuting) == "contradicted"
    among = alone + [below("error", f"b{i}", 0.0, "%") for i in range(9)]
    judgement = judge(
        Claim("C", "", "", among), results({"a": refuting} | {f"b{i}": [-1.0, -1.1, -1.2] for i in range(9)})
    )
    assert (judgement.verdict, judgement.reason) == ("inconclusive", "p above 0.05")


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
    assert [j.verdict for j in judgements] == ["supported"] * 3
    judgements = judge_all(*family([0.02, 0.04, 0.03]))
    assert [j.verdict for j in judgements] == ["inconclusive"] * 3
    assert {j.reason for j in judgements} == {"does not survive Holm's correction for 3 claims"}
    assert all(part.verdict == "supported" for j in judgements for part in j.parts)


def test_every_measured_claim_of_the_experiment_enters_the_correction() -> None:
    """Whether a claim has runs must not depend on what its neighbours showed, so the family does not shrink."""
    claims, values = family([0.008])
    absent = [Claim(f"A{i}", "", "", [above("error", "nobody", 0.0, "points")]) for i in range(5)]
    counted = Claim("X", "", "", [count_above("layers", "net", 10, "")])
    judgement = judge_all([*absent, counted, *claims], values)[-1]
    assert (judgement.verdict, judgement.family) == ("supported", 6)
    assert judgement.p == pytest.approx(6 * 0.008, rel=1e-3)
    assert judge_all([*absent, absent[0], *claims], values)[-1].verdict == "inconclusive"


def test_rule_names_every_step() -> None:
    for phrase in (
        "Holm",
        "Welch",
        "paired",
        "same trained net",
        "fewer than three seeds",
        "shorter than it needs",
        "stand-in",
        "guessing",
        "fewest seeds",
        "5 %",
        "whether or not they have runs",
        "smallest effect of interest",
        "reproduced only if",
    ):
        assert phrase in RULE, phrase


def test_statements_name_quantity_and_arms_and_parts_the_claimed_side() -> None:
    assert higher("train_error", "a", than="b").statement == "training error: a − b"
    assert higher("gradient_decay", "a", than="b", unit="decades").statement == "gradient decay: a ÷ b"
    claimed = {
        higher("train_error", "a", than="b"): "> 0 points",
        not_higher("test_error", "a", than="b", margin=1.0): "< +1 points",
        same("test_error", "a", as_="b"): "within ±0.5 points",
        below("gradient_decay", "a", -1.0, unit="decades"): "< 0.1 times",
        above("doublings", "a", 2.0, unit="doublings"): "> 4 times as long",
        same("gradient_decay", "a", as_="b", unit="decades"): "0.5 to 2 times",
        between("lowest_at", "a", 20.0, 60.0, unit="% of the steps"): "20 to 60 % of the steps",
    }
    for comparison, words in claimed.items():
        assert comparison.judge(results({})).claimed == words
    one, other = closer("error", "a", "b", than_gap=("plain", "a"), fraction=0.5)
    assert dict(one.terms) == {"plain": 0.5, "a": -1.5, "b": 1}
    assert dict(other.terms) == {"plain": 0.5, "a": 0.5, "b": -1}
    assert contrast("error", {"a": 1, "b": -1}, 1, "in words").statement == "in words"


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        ([9.7, 9.8, 9.9], "supported"),  # 0.1 apart
        ([9.2, 9.9, 10.4], "inconclusive"),
        ([12.6, 12.7, 12.8], "contradicted"),
        ([6.8, 6.9, 7.0], "contradicted"),
        ([9.9], "seen once"),
        ([12.0], "not seen"),
        ([6.0], "not seen"),
    ],
)
def test_equivalence_needs_both_one_sided_tests(a: list[float], expected: str) -> None:
    assert verdict(same("error", "a", as_="b", by=0.5), a=a, b=[9.6, 9.7, 9.8] if len(a) > 1 else [9.7]) == expected


def test_equivalence_uses_the_smallest_effect_of_interest() -> None:
    bounds = {metric: same(metric, "a", as_="b").high for metric in ("test_error", "train_error")}
    assert bounds == {"test_error": 0.5, "train_error": 1.0}
    assert same("early_gradient", "a", as_="b", unit="decades").low == -0.3
    assert same("doublings_to_25", "a", as_="b", unit="doublings").high == 0.5
    with pytest.raises(ValueError, match="smallest effect of interest of seconds"):
        same("seconds", "a", as_="b", unit="s")


def test_evidence_against_an_equivalence_counts_both_of_its_sides() -> None:
    """An arm on the bound is refuted on either side by chance, so the p-value against the claim is doubled."""
    values = results({"a": [1.4, 1.0, 1.6]})
    interval = mean_interval([1.4, 1.0, 1.6])
    assert interval is not None
    p = interval.p_value(0.3, 1)
    assert p is not None
    one_sided = judge(Claim("C", "", "", [below("error", "a", 0.3, "%")]), values)
    two_sided = judge(Claim("C", "", "", [near_zero("error", "a", 0.3, "%")]), values)
    assert (one_sided.p, two_sided.p) == (pytest.approx(2 * p), pytest.approx(4 * p))


@pytest.mark.parametrize(
    ("lowest", "verdict_of_share", "effect"),
    [
        ([1.0] * 20, "supported", 100.0),
        ([1.0] * 8 + [9.0] * 12, "inconclusive", 40.0),
        ([1.0] * 2 + [9.0] * 18, "contradicted", 10.0),
        ([1.0], "seen once", 100.0),
        ([9.0], "not seen", 0.0),
    ],
)
def test_order_is_judged_by_its_frequency(lowest: list[float], verdict_of_share: str, effect: float) -> None:
    arms = {"lenet": lowest, "cnn": [2.0] * len(lowest), "mlp": [3.0] * len(lowest)}
    judgement = judge(Claim("M1", "", "", [ordered("error", ["lenet", "cnn", "mlp"], 50.0)]), results(arms))
    interval = judgement.parts[0].interval
    assert interval is not None
    assert (judgement.verdict, interval.estimate) == (verdict_of_share, effect)
    if len(lowest) > 1:
        from scipy.stats import binomtest

        exact = binomtest(round(effect / 100 * len(lowest)), len(lowest)).proportion_ci(0.95)
        assert (interval.low, interval.high) == pytest.approx((100 * exact.low, 100 * exact.high))


@pytest.mark.parametrize(
    ("published", "deep", "agrees"),
    [
        (3.5, [13.1, 13.2, 13.3], True),  # in the interval
        (2.0, [13.1, 13.2, 13.3], True),  # within a factor of two
        (1.0, [13.1, 13.2, 13.3], False),
        (8.0, [13.1, 13.2, 13.3], False),
        (-3.5, [13.1, 13.2, 13.3], False),
        (None, [13.1, 13.2, 13.3], None),
        (3.5, [], None),
    ],
)
def test_reproduced_needs_the_published_protocol_and_effect(
    published: float | None, deep: list[float], agrees: bool | None
) -> None:
    test = [higher("error", "deep", than="shallow", published=published)]
    values = results({"deep": deep, "shallow": LOW})
    judgement = judge(Claim("D1", "He15", "", test, measured=True), values)
    assert judgement.parts[0].agrees is agrees
    assert judgement.reproduced == (bool(deep) and agrees is not False)
    if deep:
        assert not judge(Claim("D1", "this project", "", test), values).reproduced
        assert not judge(Claim("D1", "He15", "", test), values).reproduced, "the source has not measured it"
        for grade in (Grade("prefix", 53.1), Grade("compressed", 12.5), SUBSTITUTE):
            other = replace(values, grades={"deep": grade})
            judged = judge(Claim("D1", "He15", "", test, measured=True), other)
            assert (judged.verdict, judged.grade, judged.reproduced) == ("supported", grade, False)


def test_agreement_of_logarithms_is_a_factor_of_two() -> None:
    for published, agrees in ((2.0, True), (1.4, False)):  # 2.5 doublings against 2: 1.4 times; against 1.4: 2.1 times
        test = [above("doublings", "a", 1.0, "doublings", published=published)]
        part = test[0].judge(Results({"a": {seed: {"doublings": 2.5 + 0.01 * seed} for seed in range(3)}}))
        assert part.agrees is agrees


def test_grade_is_that_of_the_weakest_arm() -> None:
    prefix, short, shorter = Grade("prefix", 53.125), Grade("compressed", 12.5), Grade("compressed", 0.61)
    values = results({"deep": HIGH, "shallow": LOW})
    for grades, expected in (
        ({}, "published"),
        ({"deep": prefix}, "prefix 53.1 %"),
        ({"deep": prefix, "shallow": short}, "compressed 12.5 %"),
        ({"deep": shorter, "shallow": short}, "compressed 0.61 %"),
        ({"deep": SUBSTITUTE, "shallow": short}, "substitute"),
    ):
        assert str(judge(DEEPER_IS_WORSE, replace(values, grades=grades)).grade) == expected
    assert judge(DEEPER_IS_WORSE, results({})).grade is None
