"""Substitute weights: if no pretrained weights are available, a backbone is trained, reused and named in the report."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import THREADS
from trained_runs import run_here

from resnet_repro.cli import main
from resnet_repro.data import catalogue
from resnet_repro.design.registry import load_experiment
from resnet_repro.launch import Job, Load, Outcome, Slot
from resnet_repro.records.entries import WeightsFrom
from resnet_repro.records.record import Record, collect, only_trained
from resnet_repro.report.banners import banners

pytestmark = pytest.mark.slow

BUDGET = "2it-32px-standin-tiny"


class InProcess:
    """An executor that trains all runs in this process, one after the other."""

    kind, precision, leaves = "cpu", "fp32", False

    def plan(self, runs: int, load: Load | None = None) -> str:
        return "one at once, here"

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        for job in jobs:
            assert all(marker.exists() for marker in job.after), f"{job.name} came before a run that it depends on"
            job.prepare(Slot("cpu", "cpu", THREADS, {}, 1.0))
            assert run_here(job.marker.parent) == "finished"
        return ["done"] * len(jobs)

    def close(self) -> None:
        pass


def test_backbone_is_trained_if_no_weights_are_available(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(catalogue.STANDIN_TINY, train_images=40, test_images=20)
    monkeypatch.setitem(catalogue.CATALOGUE, "standin-tiny", tiny)
    monkeypatch.setattr("resnet_repro.models.pretrained._download", lambda url, path: "no network")
    monkeypatch.setattr("resnet_repro.study.prepare.executor_for", lambda *_: InProcess())
    command = [
        *("run", "transfer", "--arms", "frozen-corrected", "--dataset", "standin-tiny", "--iterations", "2"),
        *("--resolution", "32", "--data-dir", str(tmp_path / "data"), "--runs-dir", str(tmp_path / "runs")),
        *("--reports-dir", str(tmp_path / "reports"), "--no-report"),
    ]

    def run_command() -> tuple[str, Record, Record]:
        assert main(command) == 0
        frozen, pretrained = only_trained(collect(tmp_path / "runs", "transfer", BUDGET))
        return capfd.readouterr().out, frozen, pretrained

    output, frozen, pretrained = run_command()
    assert re.search(r"torchvision resnet34 IMAGENET1K_V1 .* https://.*\(no network\)", output)
    assert "SUBSTITUTE WEIGHTS: pretrained is trained in place of torchvision's weights" in output
    assert frozen.weights_from == WeightsFrom("the run pretrained", substitute=True)
    assert frozen.parent and frozen.parent.arm == "pretrained" and pretrained.parent is None
    assert frozen.parent.weights_sha256 == pretrained.weights_sha256
    warnings = banners(load_experiment("transfer"), BUDGET, [frozen, pretrained], [])
    assert [warning.partition(".")[0] for warning in warnings[:2]] == ["STAND-IN DATA", "SUBSTITUTE WEIGHTS"]
    assert "frozen-corrected" in warnings[1]

    file = pretrained.folder / "record.json"
    written = file.read_bytes(), file.stat().st_mtime_ns
    shutil.rmtree(frozen.folder)
    output, again, _ = run_command()
    assert "1 of 2 runs is finished" in output and "SUBSTITUTE WEIGHTS" in output
    assert (file.read_bytes(), file.stat().st_mtime_ns) == written
    assert again.parent == frozen.parent
    assert again.weights_sha256 == frozen.weights_sha256
