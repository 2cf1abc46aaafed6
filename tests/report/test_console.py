"""Console output of a report: verdicts, final errors, the answer, and the path."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPO
from made_records import DIVERGED, make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.records.record import collect, only_trained
from resnet_repro.report.console import error_lines, verdict_lines
from resnet_repro.report.write import write_report


@pytest.mark.slow
def test_console_shows_verdicts_errors_answer_and_path(
    degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    lines = write_report(degradation, "paper", paper_runs, tmp_path / "reports").lines
    count = len(degradation.claims)
    assert [line.split()[0] for line in lines[:count]] == [claim.name for claim in degradation.claims]
    assert lines[count : count + 5] == [
        "arm            train %        test %  seeds",
        "plain-20   4.90 ± 0.05   9.80 ± 0.10      3",
        "plain-56   6.65 ± 0.05  13.30 ± 0.10      3",
        "resnet-20  4.45 ± 0.05   8.90 ± 0.10      3",
        "resnet-56  3.55 ± 0.05   7.10 ± 0.10      3",
    ]
    assert lines[count + 5].startswith("After 64,000 steps plain-56 has 6.")
    assert lines[-2:] == ["Means over 3 seeds.", f"report: {tmp_path / 'reports' / 'degradation.pdf'}"]


def test_unscored_arms_and_controls_have_no_error_line(tmp_path: Path) -> None:
    depth = load_experiment("depth")
    make_record(tmp_path, depth, "resnet-20", 0, "quick", 391)
    make_record(tmp_path, depth, "resnet-20", 1, "quick", 391, **DIVERGED)
    make_record(tmp_path, depth, "resnet-1202", 0, "quick", 391, final={}, best={})
    make_record(tmp_path, depth, "resnet-1202-stored", 0, "quick", 391)  # a control
    header, row = error_lines(depth, only_trained(collect(tmp_path, "depth", "quick")))
    assert header.split() == ["arm", "train", "%", "test", "%", "seeds"]
    assert row.split("  ")[0] == "resnet-20" and row.endswith("1 + 1 diverged")
    assert len(header) == len(row)


@pytest.mark.slow
def test_counting_experiment_has_an_answer_but_no_errors(tmp_path: Path) -> None:
    complexity, counted = load_experiment("complexity"), REPO / "reports" / "reference"
    assert error_lines(complexity, only_trained(collect(counted, "complexity", "quick"))) == []
    lines = write_report(complexity, "quick", counted, tmp_path / "reports").lines
    assert "VGG-16 needs 27 times AlexNet's memory, 2.3 times its parameters and 22 times its operations." in lines
    assert lines[-1].startswith("report: ")


def test_no_claims_give_no_verdict_lines() -> None:
    assert verdict_lines([]) == []
