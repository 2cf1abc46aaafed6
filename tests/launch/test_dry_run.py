"""Dry runs: every executor says what it would start, and starts and writes nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import cli
from made_jobs import executor, job

from resnet_repro.launch import LaunchOptions, Load, local, ray_cluster, sharing
from resnet_repro.launch.local import LocalExecutor

EXECUTORS = ("local", "ray", "slurm")


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray counts as installed, and importing it fails; so do Slurm's commands and processes of runs."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: True)
    for name, started in (
        ("resnet_repro.launch.ray_cluster.import_module", "Ray"),
        ("resnet_repro.launch.slurm._ask", "Slurm"),
        ("resnet_repro.launch.job.Job.start", "a run"),
    ):

        def fail(*_: object, started: str = started) -> None:
            raise AssertionError(f"{started} was started")

        monkeypatch.setattr(name, fail)


@pytest.mark.parametrize("name", EXECUTORS)
def test_the_command_says_what_would_run_and_writes_nothing(
    name: str, tiny_data: Path, tmp_path: Path, quartered: Path
) -> None:
    process = cli(
        "run", "degradation", "--dry-run", "--executor", name, "--devices", "cpu", "--iterations", "2", "--arms",
        "plain-20,resnet-20", "--dataset", "standin-tiny", "--data-dir", tiny_data, "--runs-dir", tmp_path / "runs",
        "--reports-dir", tmp_path / "reports", cwd=quartered,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "2 runs of up to 2 steps" in process.stdout
    if name == "slurm":
        assert "#SBATCH --array=0-1" in process.stdout
    else:
        (line,) = re.findall(r"^resnet-20 seed 0: (.*)$", process.stdout, re.M)
        folder = tmp_path / "runs" / "degradation" / "2it-standin-tiny" / "resnet-20" / "seed0"
        assert shlex.split(line)[1:] == ["-m", "resnet_repro.training.train_run", str(folder)]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "reports").exists()


def test_without_a_cluster_ray_is_planned_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_repro.hardware.cpu_cores", lambda: 6)
    planned = executor(LaunchOptions("ray", "cpu", threads=2, dry_run=True), tmp_path)
    assert planned.plan(9) == "3 at once on 1 node of a Ray cluster that starts on this machine, 2 threads each"
    assert planned.placement.at_once == 3 and planned.placement.threads == 2
    planned.close()


def test_with_a_cluster_ray_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(AssertionError, match="Ray was started"):
        executor(LaunchOptions("ray", "cpu", dry_run=True), tmp_path)


def test_no_mps_service_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs per GPU are those of a run with the service."""
    monkeypatch.setattr(local, "offers_mps", lambda: True)
    monkeypatch.setattr(local, "service_for", lambda runs: pytest.fail("MPS was started"))
    planned = object.__new__(LocalExecutor)
    planned.options, planned.devices = LaunchOptions(dry_run=True), ["cuda:0"]
    planned.mps = sharing.Mps(start=False)
    monkeypatch.setattr(planned, "_gpus", lambda: [0], raising=False)

    class Properties:
        total_memory = 80 * 2**30

    monkeypatch.setattr("torch.cuda.get_device_properties", lambda gpu: Properties)
    assert planned._runs_per_gpu(20, Load(2e10, 2**30), 16) == 8


def test_a_networks_only_study_counts_nothing(tmp_path: Path) -> None:
    process = cli(
        "run", "complexity", "--dry-run", "--runs-dir", tmp_path / "runs", "--reports-dir", tmp_path / "reports"
    )
    assert process.returncode == 0, process.stderr
    assert re.search(r"counting \d+ networks", process.stdout) and not (tmp_path / "runs").exists()


def test_jobs_are_shown_as_lines_for_a_shell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    planned = executor(LaunchOptions(devices="cpu", dry_run=True), tmp_path)
    planned.plan(1)
    assert planned.execute([job(tmp_path / "it's", "raise SystemExit")], lambda: None) == ["submitted"]
    name, _, command = caplog.messages[-1].partition(": ")
    assert name == "it's" and shlex.split(command)[-1] == str(tmp_path / "it's")
    assert not (tmp_path / "it's" / "log.txt").exists()
