"""Results for claims: values, pairs and short arms derived from records."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_records import CIFAR100, DIVERGED, content_of, make_record, parent_of

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.records.record import collect
from resnet_repro.report.summary import summary_content
from resnet_repro.report.verdicts import results_of


def test_a_run_began_when_it_was_first_prepared(degradation: Experiment, tmp_path: Path) -> None:
    """`seconds` do not count pauses, so the time of the end tells less."""
    make_record(tmp_path, degradation, "plain-20", 0, begun_at="2029-12-24T00:00:00Z")
    make_record(tmp_path, degradation, "plain-56", 0)
    begun = results_of(collect(tmp_path, "degradation", "paper")).begun
    assert begun["plain-20"].startswith("2029-12-24T00:00") and begun["plain-56"].startswith("2029-12-31T23:00")


def test_diverged_run_counts_with_the_error_of_guessing(degradation: Experiment, paper_runs: Path) -> None:
    make_record(paper_runs, degradation, "plain-56", 3, diagnostics={}, **DIVERGED)
    results = results_of(collect(paper_runs, "degradation", "paper"))
    assert results.of("plain-56", "train_error")[3] == 90.0
    assert results.of("plain-56", "test_error")[3] == 90.0
    assert results.of("plain-56", "train_loss")[3] == pytest.approx(2.3026, abs=1e-4)  # log 10
    # The gap of guessing would be 0, which would flatter the run.
    assert 3 not in results.of("plain-56", "generalization_gap")
    content = content_of(degradation, paper_runs)
    assert next(row for row in content["results"][0]["rows"] if row[0] == "plain-56")[-1] == "3 + 1 diverged"
    reasons = {claim["name"]: claim["reason"] for claim in content["claims"]}
    assert reasons["D6"] == "plain-56 seed 3 ended without the value"


def test_error_relative_to_guessing_depends_on_classes(degradation: Experiment, tmp_path: Path) -> None:
    final = {"train_error": 45.0}
    make_record(tmp_path, degradation, "plain-20", 0, final=final)
    make_record(tmp_path, degradation, "plain-20", 1, final=final, dataset=CIFAR100)
    values = results_of(collect(tmp_path, "degradation", "paper")).of("plain-20", "train_error_of_guessing")
    assert values == pytest.approx({0: 50.0, 1: 100 * 45 / 99})


@pytest.mark.parametrize(("iterations", "short"), [(391, True), (64_000, False)])
def test_untrained_runs_are_as_short_as_their_parents(iterations: int, short: bool, tmp_path: Path) -> None:
    features = load_experiment("features")
    parent = parent_of("degradation", "plain-20", 0, "a" * 64, iterations)
    make_record(tmp_path, features, "plain-20-trained", 0, "quick", 0, parent=parent)
    make_record(tmp_path, features, "plain-20-untrained", 0, "quick", 0)
    content = content_of(features, tmp_path, "quick")
    has_banner = "SHORT BUDGET. 391 of the published 64,000 iterations" in " ".join(content["banners"])
    assert has_banner == short
    records = collect(tmp_path, "features", "quick")
    assert results_of(records).short == ({"plain-20-trained"} if short else set())
    section = summary_content([features], {"features": ["quick"]}, tmp_path)["experiments"][0]
    assert section["budget"].startswith(f"quick: {iterations:,} of 64,000 iterations")


def test_pairs_and_short_arms_follow_from_records(degradation: Experiment, tmp_path: Path) -> None:
    for arm in ("plain-20", "resnet-20"):
        make_record(tmp_path, degradation, arm, 0, draws="same")
    make_record(tmp_path, degradation, "plain-56", 0, "paper", 391, draws="other")
    results = results_of(collect(tmp_path, "degradation", "paper"))
    assert results.share_chance(["plain-20", "resnet-20"], [0])
    assert not results.share_chance(["plain-20", "plain-56"], [0])
    assert results.short == {"plain-56"}


def test_arms_with_a_common_ancestor_are_paired(tmp_path: Path) -> None:
    """resnet-56-on (by way of resnet-56-built) and resnet-20-on both descend from resnet-20."""
    construction = load_experiment("construction")

    def make(arm: str, seed: int, weights: str, parent: tuple[str, str] | None = None) -> None:
        start = parent and parent_of("construction", parent[0], seed, parent[1])
        make_record(tmp_path, construction, arm, seed, weights_sha256=weights, parent=start, draws=f"{arm} {seed}")

    for seed in range(3):
        for kind in ("plain", "resnet"):
            make(f"{kind}-20", seed, f"{kind} parent {seed}")
            make(f"{kind}-56", seed, f"{kind} scratch {seed}")
            make(f"{kind}-56-built", seed, f"{kind} built {seed}", (f"{kind}-20", f"{kind} parent {seed}"))
            make(f"{kind}-56-on", seed, "-", (f"{kind}-56-built", f"{kind} built {seed}"))
            make(f"{kind}-20-on", seed, "-", (f"{kind}-20", f"{kind} parent {seed}"))
    make("resnet-56-on", 3, "-", ("resnet-56-built", "built of a parent trained before"))
    make("resnet-20-on", 3, "-", ("resnet-20", "resnet parent 3"))
    results = results_of(collect(tmp_path, "construction", "paper"))
    assert results.share_chance(["resnet-56-on", "resnet-20-on"], [0, 1, 2])
    assert not results.share_chance(["resnet-56-on", "plain-56-on"], [0, 1, 2])  # two ancestors
    assert not results.share_chance(["plain-56", "plain-56-built"], [0, 1, 2])  # one has no ancestor
    assert not results.share_chance(["plain-56", "resnet-56"], [0, 1, 2])  # neither has an ancestor
    assert not results.share_chance(["resnet-56-on", "resnet-20-on"], [0, 1, 2, 3])
