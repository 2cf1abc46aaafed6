"""CSV files of runs and claims: their values, and that they are those of the summary."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from conftest import REPO
from made_reports import make_two_budgets

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.records.record import collect, only_trained
from resnet_repro.report.csv_tables import Tables, claims_once, tables_of, without_runs, write_all, write_tables
from resnet_repro.report.frames import CURVES
from resnet_repro.report.rows import CLAIMS, RUNS, run_rows
from resnet_repro.report.summary import summary_content
from resnet_repro.report.verdicts import judged
from resnet_repro.report.write import budgets_with_records


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_two_budgets(tmp_path_factory.mktemp("tables") / "runs")


def tables(experiment: Experiment, budget: str, runs: Path) -> Tables:
    records = collect(runs, experiment.name, budget)
    return tables_of(experiment, budget, records, judged(experiment, records))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_runs_have_the_values_of_their_records(degradation: Experiment, runs: Path, tmp_path: Path) -> None:
    write_tables(tables(degradation, "paper", runs), tmp_path / "degradation")
    rows = {(row["arm"], row["seed"]): row for row in read(tmp_path / "degradation-runs.csv")}
    assert len(rows) == 15
    row = rows["plain-56", "0"]
    assert (row["train_error"], row["test_error"], row["best_test_error"]) == ("6.6", "13.2", "13.0")
    assert (row["steps"], row["published_steps"], row["best_at"], row["standin"]) == (
        "64000",
        "64000",
        "63000",
        "false",
    )
    assert (row["threads"], row["parent"], row["diverged_at"]) == ("", "", "")
    assert row["mean_response"] == "1.52"  # a metric beyond the fixed columns
    assert list(row)[: len(RUNS)] == list(RUNS)
    assert list(row)[len(RUNS) :] == sorted(list(row)[len(RUNS) :])


def test_diverged_runs_have_the_error_of_guessing(degradation: Experiment, runs: Path, tmp_path: Path) -> None:
    write_tables(tables(degradation, "quick", runs), tmp_path / "degradation")
    *_, row = (row for row in read(tmp_path / "degradation-runs.csv") if row["seed"] == "7")
    assert (row["status"], row["diverged_at"], row["test_error"], row["best_test_error"]) == (
        "diverged",
        "7",
        "90.0",
        "",
    )


def test_claims_have_numbers_and_the_printed_texts(degradation: Experiment, runs: Path, tmp_path: Path) -> None:
    write_tables(tables(degradation, "paper", runs), tmp_path / "degradation")
    rows = {row["claim"]: row for row in read(tmp_path / "degradation-claims.csv")}
    assert list(rows) == [claim.name for claim in degradation.claims]
    row = rows["D2"]
    assert tuple(row) == tuple(CLAIMS)
    assert float(row["effect"]) == pytest.approx(3.5) and row["effect_shown"] == "+3.50 points"
    low, high = (float(row[name]) for name in ("low", "high"))
    assert low < 3.5 < high and row["interval_shown"] == f"+{low:.2f} to +{high:.2f}"
    assert (row["threshold_low"], row["threshold_high"], row["published"]) == ("0.0", "", "3.54")
    assert (row["verdict"], row["grade"], row["reproduced"], row["seeds"], row["seeds_planned"]) == (
        "supported", "published", "true", "3", "5",
    )  # fmt: skip
    assert float(row["p"]) < 0.05 and rows["D7"]["reason"] == "runs are missing" and not rows["D7"]["effect"]


def test_claims_of_all_reports_are_those_of_the_summary(degradation: Experiment, runs: Path, tmp_path: Path) -> None:
    depth = load_experiment("depth")
    budgets = budgets_with_records(runs, "degradation")
    studies = [tables(degradation, budget, runs) for budget in budgets] + [without_runs(depth)]
    summary = summary_content([degradation, depth], {"degradation": budgets}, runs)
    assert len(budgets) == 2
    lines = write_all(studies, tmp_path)
    assert lines == [f"tables: {tmp_path / 'runs.csv'}, {tmp_path / 'claims.csv'}"]
    rows = read(tmp_path / "claims.csv")
    assert [(row["claim"], row["verdict"]) for row in rows] == [(c["name"], c["verdict"]) for c in summary["claims"]]
    assert {row["budget"] for row in rows if row["experiment"] == "depth"} == {""}
    shown = {claim["name"]: claim["effect"] for claim in summary["claims"]}
    assert all(row["effect_shown"] in ("", shown[row["claim"]]) for row in rows)
    assert {row["budget"] for row in read(tmp_path / "runs.csv")} == {"paper", "quick"}
    before = (tmp_path / "claims.csv").read_bytes()
    write_all(studies, tmp_path)
    assert (tmp_path / "claims.csv").read_bytes() == before
    assert len(claims_once(studies)) == len(degradation.claims) + len(depth.claims)


def test_nothing_trained_leaves_no_table_of_runs(tmp_path: Path) -> None:
    write_tables(without_runs(load_experiment("complexity")), tmp_path / "complexity")
    assert [path.name for path in tmp_path.iterdir()] == ["complexity-claims.csv"]


def test_columns_are_documented() -> None:
    text = (REPO / "docs" / "python.md").read_text()
    for title, columns in (("runs", RUNS), ("curves", CURVES), ("claims", CLAIMS)):
        section = re.split("\n##+ ", text.partition(f"## Table of {title}\n")[2])[0]
        assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.M)) == dict(columns)


def test_further_metrics_of_the_reference_are_documented() -> None:
    section = (REPO / "docs" / "python.md").read_text().partition("### Further metrics\n")[2].partition("\n## ")[0]
    names = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
    reference = REPO / "reports" / "reference"
    folders = [path.parent.parent for path in sorted(reference.glob("*/*/*/seed0"))]
    studies = {folder.parent.name: folder.name for folder in folders}
    rows = [row for study in studies.items() for row in run_rows(only_trained(collect(reference, *study)))]
    assert set().union(*rows) - set(RUNS) == names


def test_every_run_of_the_reference_has_the_columns_of_curves() -> None:
    header = (REPO / "reports/reference/degradation/quick/plain-20/seed0/metrics.csv").read_text().partition("\n")[0]
    assert set(header.split(",")) <= set(CURVES)
    assert only_trained(collect(REPO / "reports/reference", "degradation", "quick"))
