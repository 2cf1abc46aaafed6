"""Summary of all claims: as PDF, as Markdown, and as a table in another page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from made_records import CIFAR100, make_record

from resnet_repro.claims import history as claims_history
from resnet_repro.claims.history import Version, digest
from resnet_repro.claims.judge import judge_all
from resnet_repro.claims.results import Results
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.records.record import collect, only_trained
from resnet_repro.report.markdown import summary_page
from resnet_repro.report.summary import _shown_comparison, summary_content, write_summary
from resnet_repro.report.verdicts import grade_of
from resnet_repro.report.write import budgets_with_records


def test_summary_has_every_claim_of_every_experiment(degradation: Experiment, paper_runs: Path) -> None:
    experiments = [load_experiment(name) for name in experiment_names()]
    content = summary_content(experiments, {"degradation": ["paper"]}, paper_runs)
    rows = {row["name"]: row for section in content["experiments"] for row in section["claims"]}
    assert set(rows) == {claim.name for experiment in experiments for claim in experiment.claims}
    assert (rows["D1"]["verdict"], rows["D1"]["effect"], rows["D1"]["seeds"]) == (
        "supported",
        "+1.75 points",
        "3 (5 planned)",
    )
    assert (rows["P1"]["verdict"], rows["P1"]["grade"]) == ("not tested", "–")
    assert (rows["D1"]["grade"], rows["D1"]["claimed"]) == ("published, other size than published", "> 0 points")
    assert rows["D2"]["grade"] == "published, reproduced"  # by 3.5 points, published 3.54
    section = next(s for s in content["experiments"] if s["name"] == "depth")
    assert section["budget"] == "not run: make depth"
    section = next(s for s in content["experiments"] if s["name"] == "degradation")
    assert section["budget"] == "paper: 64,000 of 64,000 iterations, 30 runs missing, CIFAR-10"
    counts = {count["verdict"]: count for count in content["counts"]}
    assert int(counts.pop("all")["claims"]) == sum(int(count["claims"]) for count in counts.values()) == len(rows)
    assert [counts["supported"][key] for key in ("claims", "published", "exact", "own", "reproduced")] == [
        "5", "5", "–", "0", "4",
    ]  # fmt: skip
    assert counts["contradicted"]["claims"] == "3"


def test_summary_is_reproducible_byte_for_byte(degradation: Experiment, paper_runs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = write_summary(summary_content([degradation], {"degradation": ["paper"]}, paper_runs), tmp_path / name)
        assert lines == [f"summary: {tmp_path / name / 'summary.pdf'}"]
    assert (tmp_path / "a" / "summary.pdf").read_bytes().startswith(b"%PDF")
    for file in ("summary.pdf", "summary.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_least_certain_of_several_comparisons_is_shown(
    degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    rows = {r["name"]: r for r in summary_content([degradation], {"degradation": ["paper"]}, paper_runs)["claims"]}
    # D4: resnet-20 is 0.9 points below plain-20, resnet-56 6.2 below plain-56. D5 claims a decay below -1.
    assert (rows["D4"]["effect"], rows["D4"]["claimed"]) == ("−0.90 points", "< 0 points")
    assert rows["D4"]["quantity"] == "test error: resnet-20 − plain-20, least certain of 2"
    assert (rows["D5"]["effect"], rows["D5"]["claimed"]) == ("1.29 times", "< 0.1 times")
    complexity = load_experiment("complexity")
    assert summary_content([complexity], {}, tmp_path)["claims"][0]["effect"] == "–"


def test_longest_budget_that_can_decide_counts(degradation: Experiment, paper_runs: Path) -> None:
    for arm in ("plain-20", "plain-56"):  # one seed of a longer schedule; here the deeper net is better
        final = {"train_error": 9.0 if arm == "plain-20" else 5.0, "test_error": 9.0}
        make_record(paper_runs, degradation, arm, 0, "96000it", 96_000, final=final)
    budgets = budgets_with_records(paper_runs, "degradation")
    assert budgets == ["96000it", "paper"]
    content = summary_content([degradation], {"degradation": budgets}, paper_runs)
    longest, paper = ({row["name"]: row for row in section["claims"]} for section in content["experiments"])
    assert (longest["D1"]["verdict"], paper["D1"]["verdict"]) == ("not seen", "supported")
    claims = {row["name"]: row for row in content["claims"]}
    assert list(claims) == [claim.name for claim in degradation.claims]
    assert (claims["D1"]["verdict"], claims["D1"]["steps"]) == ("supported", "64,000 of 64,000")
    assert content["counts"][-1]["claims"] == str(len(degradation.claims))
    page = summary_page(content)
    assert page.partition("## What was run")[2].count("| D1 |") == 2
    assert (
        "| `make degradation ITERATIONS=96000 ARMS=plain-20,plain-56` | 96,000 of 64,000 | 2 | 1 | CIFAR-10 dddddddd |"
        in page
    )


def test_choice_of_budget_ignores_the_verdict(degradation: Experiment, tmp_path: Path) -> None:
    """A clear effect at a shorter budget or on other data does not outweigh an unclear one at the longest budget."""
    for seed, error in enumerate((5.0, 9.0, 13.0)):
        for budget, iterations, deep in (
            ("8000it", 8_000, error),
            ("2000it", 2_000, 20.0),
            ("8000it-cifar100", 8_000, 20.0),
        ):
            for arm, value in (("plain-20", 8.0 + 0.1 * seed), ("plain-56", deep)):
                final = {"train_error": value, "test_error": value}
                make_record(tmp_path, degradation, arm, seed, budget, iterations, final=final)
    budgets = budgets_with_records(tmp_path, "degradation")
    assert budgets == ["8000it", "2000it", "8000it-cifar100"]
    content = summary_content([degradation], {"degradation": budgets}, tmp_path)
    verdicts = [section["claims"][0]["verdict"] for section in content["experiments"]]
    assert verdicts == ["inconclusive", "supported", "supported"]
    claims = {row["name"]: row for row in content["claims"]}
    assert (claims["D1"]["verdict"], claims["D1"]["steps"]) == ("inconclusive", "8,000 of 64,000")
    # Without runs on its own data, those on other data count.
    content = summary_content([degradation], {"degradation": budgets[2:]}, tmp_path)
    assert {row["name"]: row["verdict"] for row in content["claims"]}["D1"] == "supported"


def test_arms_with_other_seeds_have_a_separate_command(degradation: Experiment) -> None:
    assert Budget.parse("2000it").commands(degradation, {"plain-56": [1, 0], "plain-20": [0, 1], "resnet-20": [0]}) == [
        "make degradation ITERATIONS=2000 SEEDS=0-1 ARMS=plain-20,plain-56",
        "make degradation ITERATIONS=2000 ARMS=resnet-20",
    ]
    complexity = load_experiment("complexity")
    assert Budget.parse("quick").commands(complexity, {arm.name: [] for arm in complexity.arms}) == ["make complexity"]


@pytest.mark.parametrize(
    ("budget", "arms", "seeds", "command"),
    [
        ("quick", None, [0], "make degradation"),
        ("quick", None, [], "make degradation"),
        ("paper", None, [4, 3, 2, 1, 0], "make degradation PROFILE=paper"),
        ("paper", None, [0, 1, 2, 5, 7, 8], "make degradation PROFILE=paper SEEDS=0-2,5,7-8"),
        (
            "2000it",
            ["resnet-20", "plain-20"],
            [0, 1],
            "make degradation ITERATIONS=2000 SEEDS=0-1 ARMS=plain-20,resnet-20",
        ),
    ],
)
def test_command_trains_the_given_runs(
    degradation: Experiment, budget: str, arms: list[str] | None, seeds: list[int], command: str
) -> None:
    found = Budget.parse(budget)
    profile = found.profile_of(degradation)
    assert profile is not None
    every = [arm.name for arm in degradation.arms_of(profile)]
    assert found.command(degradation, arms or every, seeds) == command


def test_equal_verdicts_count_at_the_longest_budget(degradation: Experiment, tmp_path: Path) -> None:
    for budget, iterations in (("2000it", 2_000), ("8000it", 8_000)):
        for arm in ("plain-20", "plain-56"):
            make_record(tmp_path, degradation, arm, 0, budget, iterations)
    content = summary_content([degradation], {"degradation": ["8000it", "2000it"]}, tmp_path)
    claims = {row["name"]: row for row in content["claims"]}
    assert (claims["D2"]["verdict"], claims["D2"]["steps"]) == ("seen once", "8,000 of 64,000")


def test_the_page_lists_settled_claims_once_and_names_the_others(degradation: Experiment, paper_runs: Path) -> None:
    content = summary_content([degradation, load_experiment("depth")], {"degradation": ["paper"]}, paper_runs)
    settled = summary_page(content).partition("## Settled claims")[2].partition("\n## ")[0]
    cells = ("**supported**", "published, reproduced", "test error: plain-56 − plain-20", "> 0 points", "+3.50 points")
    assert f"| {' | '.join(cells)} | " in settled
    assert "| P1 |" not in settled and settled.count("| D1 |") == 1
    assert "Inconclusive or not tested, 6 of 14: D5-plateau, D5-rest, D7, P1, P2, P3." in settled


def test_seeds_that_differ_from_the_plan_are_shown(degradation: Experiment, paper_runs: Path) -> None:
    for arm in ("plain-20", "plain-56"):
        make_record(paper_runs, degradation, arm, 3)
    rows = {r["name"]: r for r in summary_content([degradation], {"degradation": ["paper"]}, paper_runs)["claims"]}
    assert (rows["D1"]["seeds"], rows["D3"]["seeds"]) == ("4 (5 planned)", "3 (5 planned)")


def test_counted_claims_show_their_numbers(counted: Results) -> None:
    complexity = load_experiment("complexity")
    judgements = {j.claim.name: j for j in judge_all(complexity.claims, counted)}
    rows = {name: _shown_comparison(judgements[name]) for name in ("X5", "X13")}
    assert rows["X5"]["effect"] == "3 of 3 hold: 6.87 ×, 13.95 ×, 19.54 ×"
    assert rows["X13"]["effect"] == "20 of 20 hold"


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, "published"),
        ({"budget": "8000it", "iterations": 8_000}, "compressed 12.5 %"),
        ({"budget": "quick", "iterations": 391}, "compressed 0.611 %"),
        ({"budget": "prefix34000", "prefix": 34_000}, "prefix 53.1 %"),
        ({"dataset": CIFAR100}, "substitute"),
    ],
)
def test_grade_follows_length_and_data(degradation: Experiment, tmp_path: Path, changes: dict, grade: str) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, **changes)
    budget = changes.get("budget", "paper")
    (record,) = only_trained(collect(tmp_path, "degradation", budget))
    assert str(grade_of(record, dataset="cifar10")) == grade
    assert grade_of(record, resolution=224) == grade_of(record)
    smaller = msgspec.structs.replace(record, settings=replace(record.settings, resolution=64))
    assert str(grade_of(smaller, resolution=224)) == "substitute"


def test_claims_younger_than_their_runs_are_marked(
    degradation: Experiment, paper_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made-up runs took an hour and ended at the start of 2030."""
    (d1,) = (claim for claim in degradation.claims if claim.name == "D1")
    for since, mark in (("2029-12-31T22:59:00Z", ""), ("2029-12-31T23:01:00Z", " †")):
        versions = {"D1": [Version("other", datetime(2020, 1, 1, tzinfo=UTC))]}
        versions["D1"].append(Version(digest(d1.test), datetime.fromisoformat(since)))
        monkeypatch.setattr(claims_history, "history", lambda versions=versions: versions)
        rows = {r["name"]: r for r in summary_content([degradation], {"degradation": ["paper"]}, paper_runs)["claims"]}
        grades = (rows["D1"]["grade"], rows["D2"]["grade"])
        assert grades == (f"published, other size than published{mark}", "published, reproduced")
