"""The table of the seeds that claims need, from records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_records import make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.report.seeds_needed import HEADER, explanation, seed_rows


def rows(experiment: Experiment, profile: str | int, runs: Path | None, **changes: object) -> dict[str, dict[str, str]]:
    """{claim: cells by their heading} of a plan. profile: its name, or the steps of a prefix."""
    chosen = experiment.prefix(profile) if isinstance(profile, int) else experiment.profile(profile)
    values = {"budget": chosen.name, "seeds": 5, "arms": experiment.names, "folders": [runs] if runs else []}
    table = seed_rows(experiment, chosen, **(values | changes))  # type: ignore[arg-type]
    return {row[0]: dict(zip(HEADER, row, strict=True)) for row in table}


def test_effects_and_spreads_are_those_of_the_records(degradation: Experiment, tmp_path: Path) -> None:
    """The made-up errors of the two arms differ by 3.5 points at each seed, without a spread until one is added."""
    for seed, error in enumerate((13.0, 13.5, 14.0)):
        for arm, test_error in (("plain-20", 9.7), ("plain-56", error)):
            final = {"train_error": test_error / 2, "test_error": test_error}
            make_record(tmp_path, degradation, arm, seed, final=final, pairing_key=f"{seed}")
    row = rows(degradation, "paper", tmp_path)["D2"]
    assert (row["effect"], row["spread"]) == ("+3.80 points", "0.5")
    assert row["seen in"] == f"{tmp_path.name} paper, 3 seeds"
    number, side = row["seeds needed"].split()
    assert int(number) == 4 and side == "(supported)", "7.6 standard deviations, with 11 claims"
    assert row["planned"] == "5"


def test_records_at_the_same_budget_come_first(degradation: Experiment, tmp_path: Path) -> None:
    for budget, iterations in (("2000it", 2_000), ("paper", 64_000)):
        for arm in ("plain-20", "plain-56"):
            for seed in range(2):
                make_record(tmp_path, degradation, arm, seed, budget, iterations)
    assert rows(degradation, "paper", tmp_path)["D2"]["seen in"] == f"{tmp_path.name} paper, 2 seeds"
    other = rows(degradation, "quick", tmp_path, budget="2000it")["D2"]
    assert other["seen in"] == f"{tmp_path.name} 2000it, 2 seeds"
    assert rows(degradation, "quick", tmp_path)["D2"]["seen in"] == f"{tmp_path.name} paper, 2 seeds", "the longest"


def test_without_records_the_published_effect_bounds_the_spread(degradation: Experiment) -> None:
    found = rows(degradation, "paper", None)
    assert found["D2"]["effect"] == "+3.54 points" and found["D2"]["seen in"] == "the publication"
    assert found["D2"]["seeds needed"].startswith("5 if the spread is below 1.")
    assert found["D7"]["seeds needed"] == "unknown" and found["D7"]["seen in"] == "no records of two seeds"
    assert "11 measured claims" in explanation(degradation)


@pytest.mark.parametrize(
    ("profile", "early"),
    [("quick", {"D3", "D6"}), (2_000, {"D1", "D2", "D3", "D4", "D6"}), (34_000, set()), ("paper", set())],
)
def test_claims_that_the_runs_are_too_short_for_are_named(
    profile: str | int, early: set[str], degradation: Experiment
) -> None:
    found = rows(degradation, profile, None)
    assert {name for name, row in found.items() if row["seeds needed"].startswith("not tested")} == early
    if early:
        assert found["D3"]["seeds needed"] == "not tested: it needs PREFIX=34000 or more"


def test_of_several_comparisons_the_decisive_one_is_shown(degradation: Experiment, tmp_path: Path) -> None:
    """D4 compares the plain nets of 20 and of 56 layers with their residual twins."""

    def shown(name: str, resnet_20: float) -> str:
        for arm, error in (("plain-20", 10.0), ("resnet-20", resnet_20), ("plain-56", 15.0), ("resnet-56", 8.0)):
            for seed in range(3):
                final = {"train_error": 1.0, "test_error": error + 0.1 * seed * ("resnet" in arm)}
                make_record(tmp_path / name, degradation, arm, seed, final=final, pairing_key=f"{seed}")
        row = rows(degradation, "paper", tmp_path / name)["D4"]
        return row["effect"] + row["seeds needed"].partition(" ")[2]

    assert shown("both hold", 9.0) == "−0.90 points(supported)", "the less certain one"
    assert shown("one fails", 12.0) == "+2.10 points(contradicted)", "the one that fails"


def test_missing_arms_are_named(degradation: Experiment) -> None:
    found = rows(degradation, "paper", None, arms=["plain-20", "resnet-20"], seeds=3)
    assert found["D1"]["planned"] == "3 (5 stated), without plain-56"


def test_spreads_of_logarithms_are_factors(degradation: Experiment, tmp_path: Path) -> None:
    for seed, decay in enumerate((-0.5, -0.3)):
        for arm in ("plain-56", "resnet-56"):
            make_record(tmp_path, degradation, arm, seed, diagnostics={"gradient_decay": decay})
    row = rows(degradation, "paper", tmp_path)["D5"]
    assert row["effect"].endswith("times") and row["spread"].startswith("a factor of ")


def test_counted_claims_need_no_seeds(degradation: Experiment) -> None:
    assert rows(replace(degradation, claims=[]), "paper", None) == {}
