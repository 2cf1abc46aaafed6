"""The experiment `identity` from end to end, on tiny data: runs without class errors, their status and report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import cli, quarter_experiments

from resnet_repro.records.record import collect, only_trained

pytestmark = pytest.mark.slow

ARMS = ("plain-2-identity", "residual-2-identity", "residual-2-perturbed")


def test_stacks_are_searched_trained_and_reported(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    quarter_experiments(tmp_path / "work", "identity")
    arguments = (
        "run", "identity", "--dataset", "standin-tiny", "--iterations", "8", "--arms", ",".join(ARMS),
        "--data-dir", tiny_data, "--runs-dir", tmp_path / "runs", "--reports-dir", tmp_path / "reports",
    )  # fmt: skip
    process = cli(*arguments, cwd=tmp_path / "work")
    assert process.returncode == 0, process.stderr + process.stdout
    records = {r.arm: r for r in only_trained(collect(tmp_path / "runs", "identity", "8it-standin-tiny"))}
    assert len(records) == 2 * 4 + 3, "a candidate for each rate and kind, and the arms"
    assert {record.precision for record in records.values()} == {"fp32"}
    for name in ARMS:
        search = records[name].search
        assert search is not None
        scores = {candidate: search.score(candidate) for candidate in search.candidates}
        assert scores[search.chosen] == min(score for score in scores.values() if score is not None)
    assert records["residual-2-perturbed"].recipe.learning_rate == records["residual-2-identity"].recipe.learning_rate
    out = process.stdout
    assert re.search(r"H2\s+not tested", out)
    header = next(line for line in out.splitlines() if line.startswith("arm "))
    assert header.split() == ["arm", "train", "test", "input", "unchanged", "seeds"]
    assert re.search(r"residual-2-identity\s+\d\.\d{5}\s+\d\.\d{5}\s+0\.0000\s+1\n", out)
    assert "a plain stack" not in out, "the answer needs stacks of 36 layers, which have no runs"
    assert "error %" not in out
    for name in ("identity.pdf", "identity-relative_errors_by_depth.svg", "identity-losses.svg"):
        assert (tmp_path / "reports" / name).stat().st_size > 1_000, name

    status = cli("status", "identity", "--runs-dir", tmp_path / "runs", cwd=tmp_path / "work")
    assert status.returncode == 0, status.stderr
    assert re.search(r"finished\s+plain-2-identity seed 0\s+relative test error \d", status.stdout)

    again = cli(*arguments, cwd=tmp_path / "work")
    assert again.returncode == 0 and "11 of 11 runs are finished" in again.stdout
