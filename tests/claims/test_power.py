"""Seeds that decide a claim, against the rule that judges it and against known distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from made_results import results
from scipy.stats import nct, t

from resnet_repro.claims import power as power_module
from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Measured, above, higher, ordered, same
from resnet_repro.claims.judge import judge_all
from resnet_repro.claims.power import Effect, effect_seen, largest_spread, power, seeds_to_decide, side_of
from resnet_repro.claims.results import Results

WORSE = higher("error", "deep", than="shallow")


def absent(number: int) -> list[Claim]:
    """Claims without runs, which count in the family of Holm's correction."""
    return [Claim(f"A{i}", "", "", [higher("error", "nobody", than="anybody")]) for i in range(number)]


def decided_share(test: Sequence[Measured], draw, family: int, simulations: int = 300) -> float:
    """The share of simulated experiments in which `judge` decides the claim. draw: results, given a generator."""
    rng = np.random.default_rng(80)
    claims = [Claim("C", "", "", test), *absent(family - 1)]
    verdicts = [judge_all(claims, draw(rng))[0].verdict for _ in range(simulations)]
    return sum(verdict in ("supported", "contradicted") for verdict in verdicts) / simulations


def pairs(rng: np.random.Generator, seeds: int, size: float) -> Results:
    """Results of two arms whose differences per seed have this mean and a standard deviation of 1."""
    shallow = rng.normal(10, 5, seeds)
    deep = shallow + rng.normal(size, 1, seeds)
    keys = [str(seed) for seed in range(seeds)]
    return results({"deep": deep.tolist(), "shallow": shallow.tolist()}, pairing_keys={"deep": keys, "shallow": keys})


@pytest.mark.parametrize(("size", "family", "expected"), [(2.2, 4, 6), (-1.5, 1, 6), (6.6, 4, 3)])
def test_the_rule_decides_at_the_stated_seeds_and_not_below(size: float, family: int, expected: int) -> None:
    """Simulated with `judge_all` itself: at least 80 % at the stated number of seeds, clearly less with one fewer."""
    effect = Effect(size, (1.0,))
    assert seeds_to_decide([WORSE], [effect], family) == expected

    def share(seeds: int) -> float:
        return decided_share([WORSE], lambda rng: pairs(rng, seeds, size), family)

    at, below = power([WORSE], [effect], expected, family), power([WORSE], [effect], expected - 1, family)
    assert share(expected) == pytest.approx(at, abs=0.06) and at >= 0.8
    assert share(expected - 1) == pytest.approx(below, abs=0.07) and below < 0.8


def test_power_on_pairs_is_that_of_the_noncentral_t() -> None:
    for seeds, size, family in ((3, 5.0, 1), (5, 2.0, 4), (20, 0.7, 12)):
        critical = t.isf(0.025 / family, seeds - 1)
        exact = nct.sf(critical, seeds - 1, size * math.sqrt(seeds))
        assert power([WORSE], [Effect(size, (1.0,))], seeds, family) == pytest.approx(exact, abs=2e-3)


def test_effects_that_three_five_and_eight_seeds_decide_are_those_of_the_guide() -> None:
    """docs/claims.md states them in standard deviations of the difference, for one, two and four measured claims."""
    stated = {3: (3.3, 4.6, 6.6), 5: (1.7, 2.1, 2.5), 8: (1.2, 1.3, 1.5)}
    for seeds, sizes in stated.items():
        for family, size in zip((1, 2, 4), sizes, strict=True):
            spread = largest_spread(WORSE, 1.0, seeds, family)
            assert spread is not None and 1 / spread == pytest.approx(size, abs=0.06)


def test_power_without_pairs_is_that_of_the_rule() -> None:
    """Arms of unequal spread, compared by Welch's interval with the p-value of the fewest degrees of freedom."""

    def draw(rng: np.random.Generator) -> Results:
        return results({"deep": rng.normal(3.0, 2.0, 6).tolist(), "shallow": rng.normal(0.0, 0.5, 6).tolist()})

    computed = power([WORSE], [Effect(3.0, (4.0, 0.25))], 6, 2)
    assert 0.4 < computed < 0.9
    assert decided_share([WORSE], draw, 2, 500) == pytest.approx(computed, abs=0.06)


def test_power_of_an_equivalence_test_is_that_of_the_rule() -> None:
    test = [same("error", "deep", as_="shallow", by=1.5)]
    computed = power(test, [Effect(0.2, (1.0,))], 12, 1)
    assert 0.5 < computed < 0.99
    assert decided_share(test, lambda rng: pairs(rng, 12, 0.2), 1) == pytest.approx(computed, abs=0.06)
    assert side_of(test, [Effect(-1.6, (1.0,))]) == "contradicted"


def test_power_of_a_frequency_is_that_of_the_rule() -> None:
    test = [ordered("error", ["a", "b"], 50)]

    def draw(rng: np.random.Generator) -> Results:
        return results({"a": np.where(rng.random(15) < 0.9, 1.0, 3.0).tolist(), "b": [2.0] * 15})

    computed = power(test, [Effect(90.0, ())], 15, 1)
    assert decided_share(test, draw, 1) == pytest.approx(computed, abs=0.06)
    needed = seeds_to_decide(test, [Effect(90.0, ())], 1)
    assert needed is not None
    assert all(power(test, [Effect(90.0, ())], seeds, 1) >= 0.8 for seeds in range(needed, needed + 20))
    assert power(test, [Effect(90.0, ())], needed - 1, 1) < 0.8


def test_all_comparisons_of_a_claim_must_hold() -> None:
    effects = [Effect(3.0, (1.0,)), Effect(2.0, (1.0,))]
    alone = [power([WORSE], [effect], 5, 1) for effect in effects]
    assert power([WORSE, WORSE], effects, 5, 1) == pytest.approx(sum(alone) - 1, abs=1e-6)
    assert side_of([WORSE, WORSE], [effects[0], Effect(-1.0, (1.0,))]) == "contradicted"


def test_no_number_of_seeds_decides_an_effect_on_its_threshold() -> None:
    assert side_of([WORSE], [Effect(0.0, (1.0,))]) is None
    assert seeds_to_decide([WORSE], [Effect(0.0, (1.0,))], 1) is None
    assert seeds_to_decide([WORSE], [Effect(0.05, (1.0,))], 1) is None, f"needs above {power_module.MOST_SEEDS}"
    assert seeds_to_decide([WORSE], [Effect(0.1, (0.0,))], 1) == 3, "without spread, the fewest that the rule accepts"
    assert largest_spread(WORSE, 1.0, 2, 1) is None


def test_effects_are_read_from_results() -> None:
    paired = effect_seen(WORSE, pairs(np.random.default_rng(1), 4_000, 2.0))
    assert paired is not None and paired.seeds == 4_000
    assert paired.size == pytest.approx(2.0, abs=0.1) and paired.spread == pytest.approx(1.0, abs=0.05)
    apart = effect_seen(WORSE, results({"deep": [5.0, 7.0], "shallow": [1.0, 1.0, 1.0]}))
    assert apart == Effect(5.0, (2.0, 0.0), 2)
    once = Effect(5.0, None, 1)
    assert effect_seen(above("error", "deep", 1.0, "%"), results({"deep": [5.0]})) == once
    with pytest.raises(ValueError, match="no spread of 'error: deep'"):
        power([above("error", "deep", 1.0, "%")], [once], 5, 1)
    assert effect_seen(WORSE, Results({})) is None
