"""Simulated rates of wrong and missed verdicts, and coverage of intervals."""

from __future__ import annotations

import numpy as np
import pytest
from made_results import DEEPER_IS_WORSE, judge, results
from scipy.special import stdtr

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import higher, ordered, same, trend
from resnet_repro.claims.judge import Judgement, judge_all
from resnet_repro.claims.results import Results
from resnet_repro.claims.statistics import mean_interval, paired_interval, welch_interval

pytestmark = pytest.mark.slow

SIMULATIONS = 1_200


def null_experiment(
    rng: np.random.Generator, seeds: int, claims: int, parts: int, spread: float
) -> tuple[list[Claim], Results]:
    """Return claims without any effect; in each comparison, the second arm has `spread` times the standard deviation."""
    arms, null_claims = {}, []
    for claim in range(claims):
        tests = []
        for part in range(parts):
            a, b = f"a{claim}-{part}", f"b{claim}-{part}"
            arms[a], arms[b] = rng.normal(5, 1, seeds).tolist(), rng.normal(5, spread, seeds).tolist()
            tests.append(higher("error", a, than=b))
        null_claims.append(Claim(f"C{claim}", "", "", tests))
    return null_claims, results(arms)


def decided(judgement: Judgement) -> bool:
    return judgement.verdict in ("supported", "contradicted")


@pytest.mark.parametrize(
    ("seeds", "claims", "parts", "spread"), [(3, 6, 1, 2), (3, 6, 1, 10), (3, 3, 2, 10), (5, 6, 1, 10), (5, 3, 2, 2)]
)
def test_wrong_verdicts_are_below_five_percent(seeds: int, claims: int, parts: int, spread: float) -> None:
    """The rate of experiments without effects in which any claim is decided, corrected and uncorrected."""
    rng = np.random.default_rng(15)
    wrong = alone = 0
    for _ in range(SIMULATIONS):
        null_claims, values = null_experiment(rng, seeds, claims, parts, spread)
        judgements = judge_all(null_claims, values)
        wrong += any(decided(j) for j in judgements)
        alone += any(part.verdict != "inconclusive" for j in judgements for part in j.parts)
    assert wrong / SIMULATIONS < 0.05 + 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
    assert alone / SIMULATIONS > 0.12, "the test would not notice a missing correction"


def test_uncorrected_wrong_verdicts_exceed_five_percent() -> None:
    """Each claim is judged as if it were the only one of its experiment."""
    rng = np.random.default_rng(18)
    wrong = 0
    for _ in range(SIMULATIONS):
        null_claims, values = null_experiment(rng, 5, 6, 1, spread=10)
        wrong += any(decided(judge(claim, values)) for claim in null_claims)
    assert wrong / SIMULATIONS > 0.12


@pytest.mark.parametrize(("seeds", "claims", "untested"), [(3, 2, 4), (5, 4, 2)])
def test_claims_without_runs_lower_the_rate_of_wrong_verdicts(seeds: int, claims: int, untested: int) -> None:
    """The family is that of the experiment, so the bound falls in proportion to the claims with runs."""
    rng = np.random.default_rng(21)
    absent = [Claim(f"A{i}", "", "", [higher("error", "nobody", than="anybody")]) for i in range(untested)]
    wrong = shrunk = 0
    for _ in range(SIMULATIONS):
        null_claims, values = null_experiment(rng, seeds, claims, 1, 10)
        wrong += any(decided(j) for j in judge_all([*null_claims, *absent], values))
        shrunk += any(decided(j) for j in judge_all(null_claims, values))
    bound = 0.05 * claims / (claims + untested)
    assert wrong / SIMULATIONS < bound + 2 * (bound / SIMULATIONS) ** 0.5
    assert wrong < shrunk, "the test would not notice a family that shrinks"


@pytest.mark.parametrize("difference", [-0.5, 0.5])
def test_differences_of_the_smallest_size_of_interest_are_not_called_none(difference: float) -> None:
    """On the bound, the equivalence test has its largest rate of wrong support."""
    rng = np.random.default_rng(22)
    claim = Claim("C", "", "", [same("error", "a", as_="b", by=0.5)])
    wrong = 0
    for _ in range(SIMULATIONS):
        a, b = rng.normal(9.0 + difference, 0.1, 5).tolist(), rng.normal(9.0, 0.1, 5).tolist()
        wrong += judge(claim, results({"a": a, "b": b})).verdict == "supported"
    assert wrong / SIMULATIONS < 0.025 + 2 * (0.025 / SIMULATIONS) ** 0.5
    assert wrong, "the test would not notice a rule that never supports"


@pytest.mark.parametrize("share", [0.5, 0.6])
def test_an_order_as_frequent_as_claimed_at_most_is_rarely_supported(share: float) -> None:
    rng = np.random.default_rng(23)
    claim = Claim("C", "", "", [ordered("error", ["a", "b"], 100 * share)])
    wrong = 0
    for _ in range(SIMULATIONS):
        a = np.where(rng.random(20) < share, 1.0, 3.0).tolist()
        wrong += decided(judge(claim, results({"a": a, "b": [2.0] * 20})))
    assert 0 < wrong / SIMULATIONS < 0.05 + 2 * (0.05 / SIMULATIONS) ** 0.5


def test_true_claims_do_not_raise_the_rate_of_wrong_verdicts() -> None:
    """Three claims with clear effects, which step the correction down, and three without, all against one arm."""
    rng = np.random.default_rng(19)
    claims = [Claim(f"C{i}", "", "", [higher("error", f"a{i}", than="base")]) for i in range(6)]
    wrong = found = 0
    for _ in range(SIMULATIONS):
        arms = {f"a{i}": rng.normal(30.0 if i < 3 else 5.0, 0.3, 5).tolist() for i in range(6)}
        judgements = judge_all(claims, results({"base": rng.normal(5.0, 1.0, 5).tolist()} | arms))
        found += sum(j.verdict == "supported" for j in judgements[:3])
        wrong += any(decided(j) for j in judgements[3:])
    assert found == 3 * SIMULATIONS
    assert wrong / SIMULATIONS < 0.05 + 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5


@pytest.mark.parametrize("spreads", [(1, 1, 1, 1), (0.1, 0.2, 0.3, 3)])
def test_small_p_values_are_not_too_frequent(spreads: tuple[float, ...]) -> None:
    """Trend over arms of increasing spread, where Welch's degrees of freedom give twice too many small p-values."""
    rng = np.random.default_rng(20)
    test = trend("error", ["a", "b", "c", "d"], 1)
    by_welch = by_us = 0
    for _ in range(4 * SIMULATIONS):
        arms = {arm: rng.normal(5, s, 3).tolist() for arm, s in zip("abcd", spreads, strict=True)}
        interval = test.judge(results(arms)).interval
        assert interval is not None and interval.error is not None and interval.freedom is not None
        p = interval.p_value(0.0, 1)
        assert p is not None
        by_us += p <= 0.005
        by_welch += stdtr(interval.freedom, -interval.estimate / interval.error) <= 0.005
    bound = 0.005 + 2 * (0.005 / (4 * SIMULATIONS)) ** 0.5
    assert by_us / (4 * SIMULATIONS) < bound
    assert (by_welch / (4 * SIMULATIONS) > bound) == (max(spreads) > 1)


def test_clear_effect_is_nearly_always_found() -> None:
    rng = np.random.default_rng(16)
    found = 0
    for _ in range(300):
        deep, shallow = rng.normal(13.2, 0.5, 5).tolist(), rng.normal(9.7, 0.3, 5).tolist()
        found += judge(DEEPER_IS_WORSE, results({"deep": deep, "shallow": shallow})).verdict == "supported"
    assert found > 295


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_95_percent(seeds: int) -> None:
    rng = np.random.default_rng(17)
    covered = {"student": 0, "paired": 0, "welch": 0}
    for _ in range(SIMULATIONS):
        shared, a, b = rng.normal(0, 3, seeds), rng.normal(2.0, 1.0, seeds), rng.normal(0.0, 2.0, seeds)
        for name, interval in (
            ("student", mean_interval(a.tolist())),
            ("paired", paired_interval((shared + a).tolist(), (shared + b).tolist())),
            ("welch", welch_interval(a.tolist(), b.tolist())),
        ):
            assert interval is not None
            assert interval.low is not None
            assert interval.high is not None
            covered[name] += interval.low < 2.0 < interval.high
    assert {name: count / SIMULATIONS for name, count in covered.items()} == pytest.approx(
        dict.fromkeys(covered, 0.95), abs=0.02
    )
