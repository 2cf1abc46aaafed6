"""Claims about counted numbers: exact, without seeds, and independent of measured claims."""

from __future__ import annotations

import pytest
from made_results import DEEPER_IS_WORSE, judge

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import (
    Exact,
    Results,
    count_above,
    count_below,
    count_equals,
    count_is,
    higher,
    published_count,
    published_ratio,
    ratio_above,
    ratio_below,
)
from resnet_repro.claims.judge import EXACT_RULE, RULE, judge_all, rule_for

COUNTS = Results(
    {"big": {0: {"params": 138.0}}, "small": {0: {"params": 61.0}}}, standin=True, short=frozenset({"big"})
)


@pytest.mark.parametrize(
    ("comparison", "effect", "expected"),
    [
        (count_above("params", "big", 100.0, "M"), 138.0, "supported"),
        (count_above("params", "big", 138.0, "M"), 138.0, "contradicted"),
        (count_below("params", "small", 100.0, "M"), 61.0, "supported"),
        (count_below("params", "small", 60.0, "M"), 61.0, "contradicted"),
        (ratio_above("params", "big", of="small", threshold=2.0), 138 / 61, "supported"),
        (ratio_above("params", "small", of="big"), 61 / 138, "contradicted"),
        (ratio_below("params", "small", of="big"), 61 / 138, "supported"),
        (ratio_below("params", "big", of="small", threshold=2.0), 138 / 61, "contradicted"),
        (published_count("params", "big", 137.0, "M", within=0.01), 138.0, "supported"),
        (published_count("params", "big", 130.0, "M", within=0.01), 138.0, "contradicted"),
        (count_is("params", "big", 138), 138.0, "supported"),
        (count_is("params", "big", 137), 138.0, "contradicted"),
        (count_equals("params", "big", of="big"), 1.0, "supported"),
        (count_equals("params", "big", of="small"), 138 / 61, "contradicted"),
        (published_ratio("params", "big", "small", 2.3), 138 / 61, "supported"),
        (published_ratio("params", "big", "small", 2.5), 138 / 61, "contradicted"),
    ],
)
def test_counted_claims_ignore_seeds_budget_and_data(comparison: Exact, effect: float, expected: str) -> None:
    judgement = judge(Claim("X", "notes", "counted", [comparison], needs_paper_budget=True), COUNTS)
    part = judgement.parts[0]
    assert judgement.verdict == part.verdict == expected
    assert part.exact and part.interval is not None
    assert part.interval.estimate == pytest.approx(effect)
    assert (judgement.p, part.interval.low) == (None, None)


def test_failing_counted_comparison_refutes_the_claim() -> None:
    test = [count_above("params", "big", 100.0, "M"), count_above("params", "small", 100.0, "M")]
    judgement = judge(Claim("X", "notes", "counted", test), COUNTS)
    assert judgement.verdict == "contradicted"
    judgement = judge(Claim("X", "notes", "counted", [count_above("macs", "big", 1.0, "G")]), COUNTS)
    assert (judgement.verdict, judgement.reason) == ("not tested", "runs are missing")


def test_counted_claims_are_not_in_holms_family() -> None:
    values = {arm: {s: {"error": e + 0.1 * s} for s in range(3)} for arm, e in (("deep", 13.0), ("shallow", 9.0))}
    counted = Claim("X", "notes", "counted", [count_above("params", "big", 100.0, "M")])
    alone = judge(DEEPER_IS_WORSE, Results(values))
    beside = judge_all([counted, DEEPER_IS_WORSE], Results({**values, **COUNTS.values}))[1]
    assert (beside.p, beside.family) == (alone.p, alone.family) == (alone.p, 1)


def test_mixed_claims_are_rejected_and_each_kind_has_its_rule() -> None:
    counted = count_above("params", "big", 100.0, "M")
    with pytest.raises(ValueError, match="claim X mixes counted and measured"):
        Claim("X", "notes", "both", [counted, higher("error", "deep", than="shallow")])  # type: ignore[list-item]
    exact = Claim("X", "notes", "counted", [counted])
    assert rule_for([DEEPER_IS_WORSE]) == RULE
    assert rule_for([exact]) == EXACT_RULE
    assert rule_for([exact, DEEPER_IS_WORSE]) == f"{RULE} {EXACT_RULE}"
