"""`complexity` on the command line: the command and the experiment of that name."""

from __future__ import annotations

from pathlib import Path

import pytest
from counted_nets import rows_of

from resnet_repro.cli import main
from resnet_repro.diagnostics.complexity import (
    layer_lines,
)


def test_the_command_prints_a_nets_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complexity", "alexnet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "alexnet, one image of 3×227×227"
    assert next(line for line in lines if line.startswith("conv1")).split() == [
        "conv1",
        "64×56×56",
        "784.0",
        "23.3",
        "72.9",
    ]
    assert next(line for line in lines if line.startswith("total")).split() == ["total", "2,303.2", "61,100.8", "716.8"]
    assert main(["complexity", "resnet-20", "--input", "3x64X64"]) == 0
    assert "16×64×64" in capsys.readouterr().out


def test_lines_have_their_columns_under_one_another() -> None:
    lines = layer_lines(rows_of("googlenet"))
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split() == ["heads", "96.8", "6,379.7", "8.4"]


def test_a_counted_study_needs_no_data_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    folders = ["--runs-dir", str(tmp_path / "runs"), "--reports-dir", str(tmp_path / "reports")]
    arguments = ["run", "complexity", "--arms", "alexnet,lenet-5", "--seeds", "0,1", *folders]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "counting 2 networks" in said
    assert "X2" in said and "undecided (runs are missing)" in said
    assert {path.name for path in (tmp_path / "reports").glob("*.csv")} == {
        "complexity-layers.csv", "complexity-totals.csv",
    }  # fmt: skip
    assert (tmp_path / "reports" / "complexity.pdf").exists()
    record = tmp_path / "runs" / "complexity" / "quick" / "alexnet" / "seed0" / "record.json"
    before = record.read_text()
    assert not record.parent.with_name("seed1").exists(), "nothing is drawn: one run"
    assert main([*arguments, "--no-report"]) == 0
    assert "counting" not in capsys.readouterr().out
    assert record.read_text() == before
