"""Shared pieces: tiny data, a tiny experiment, the real data where they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resnet_repro.arms import cifar_arm
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.data.sources import obtain
from resnet_repro.experiment import Arm, RunSettings
from resnet_repro.recipes import HE15_CIFAR
from resnet_repro.results import run_folder, write_json

REPO = Path(__file__).resolve().parents[1]

# The tests run in as many workers as there are cores: more threads in each would only wait for one another.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches Weights & Biases, or finds a mirror, unless it says so."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose cache holds the tiny stand-in."""
    folder = tmp_path_factory.mktemp("data")
    obtain("standin-tiny", folder, None, lambda text: None)
    return folder


@pytest.fixture(scope="session")
def by_this_machine(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study that the tests of clusters compare with, carried out by the local executor."""
    from cluster_study import study_by_this_machine

    return study_by_this_machine(tiny_data, tmp_path_factory.mktemp("local"))


@pytest.fixture
def real_mirror(monkeypatch: pytest.MonkeyPatch) -> str:
    """The mirror of real data sets; skips where DATA_MIRROR names none."""
    mirror = os.environ.get("DATA_MIRROR")
    if not mirror or not (Path(mirror) / "cifar10.tgz").exists():
        pytest.skip("DATA_MIRROR names no folder with cifar10.tgz")
    return mirror


def make_settings(data: Path, iterations: int = 6, arm: Arm | None = None, **changes: object) -> RunSettings:
    """Settings of a short run on the tiny stand-in."""
    arrays = obtain("standin-tiny", data, None, lambda text: None)
    values = {
        "experiment": "degradation",
        "budget": f"{iterations}it",
        "arm": arm or cifar_arm("plain", 8, HE15_CIFAR),
        "seed": 0,
        "iterations": iterations,
        "evaluate_every": max(1, iterations // 2),
        "dataset": "standin-tiny",
        "dataset_digest": arrays.digest,
        "precision": "fp32",
        "device": "cpu",
    }
    return RunSettings(**{**values, **changes})  # type: ignore[arg-type]


def prepare_run(folder: Path, settings: RunSettings, data: Path, **execution: object) -> Path:
    """A run's folder as the launcher leaves it before the process starts."""
    folder = run_folder(folder, settings.experiment, settings.budget, settings.arm.name, settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "data_folder": str(data / "cache" / settings.dataset),
        "threads": 1,
        "checkpoint_seconds": 60.0,
        "commit": None,
    }
    facts = CATALOGUE[settings.dataset]
    run = {
        "settings": settings.to_json(),
        "execution": {**values, **execution},
        "id": "0123abcd",
        "dataset": {"title": facts.title, "standin": facts.standin},
    }
    write_json(folder / "run.json", run)
    return folder


def start_run(folder: Path) -> subprocess.Popen:
    """The run's process, on one thread, its standard input held open as the launcher does."""
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "resnet_repro.training.train_run", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def cli(*arguments: str | Path, cwd: Path = REPO, **environment: str) -> subprocess.CompletedProcess:
    """The real console script's main function, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "resnet_repro.cli", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
