"""The command `complexity` and the experiment `complexity`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from counted_nets import rows_of

from resnet_repro.cli import main
from resnet_repro.diagnostics.complexity import layer_lines


def test_command_prints_the_layers_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_columns_are_aligned() -> None:
    lines = layer_lines(rows_of("googlenet"))
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split() == ["heads", "96.8", "6,379.7", "8.4"]


def test_counting_needs_no_data_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    folders = ["--runs-dir", str(tmp_path / "runs"), "--reports-dir", str(tmp_path / "reports")]
    arguments = ["run", "complexity", "--arms", "alexnet,lenet-5", "--seeds", "0,1", *folders]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert "counting 2 networks" in output
    assert re.search(r"X2 .*not tested.*missing", output)
    assert {path.name for path in (tmp_path / "reports").glob("*.csv")} == {
        "complexity-layers.csv", "complexity-totals.csv", "complexity-claims.csv",
    }  # fmt: skip
    assert (tmp_path / "reports" / "complexity.pdf").exists()
    record = tmp_path / "runs" / "complexity" / "quick" / "alexnet" / "seed0" / "record.json"
    before = record.read_text()
    assert not record.parent.with_name("seed1").exists(), "counting involves no random draws: one run"
    assert main([*arguments, "--no-report"]) == 0
    assert "counting" not in capsys.readouterr().out
    assert record.read_text() == before


def test_a_record_without_a_metric_of_a_claim_is_counted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records of earlier versions lack the measures that later claims compare."""
    arguments = ["run", "complexity", "--arms", "alexnet,lenet-5", "--no-report", "--runs-dir", str(tmp_path)]
    assert main(arguments) == 0
    path = tmp_path / "complexity" / "quick" / "alexnet" / "seed0" / "record.json"
    whole = json.loads(path.read_text())
    older = {**whole, "diagnostics": {k: v for k, v in whole["diagnostics"].items() if k != "fc_jump"}}
    path.write_text(json.dumps(older))
    capsys.readouterr()
    assert main(arguments) == 0
    assert "counting 1 network" in capsys.readouterr().out
    assert json.loads(path.read_text())["diagnostics"] == whole["diagnostics"]
