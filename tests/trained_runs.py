"""Runs trained in the process of the tests, and the content of their folders."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import torch
from conftest import make_settings

from resnet_repro.config.arm import Arm
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics.diagnostic import DiagnosticContext
from resnet_repro.tables import read_rows, series
from resnet_repro.training.train_run import Execution, train


def run_here(folder: Path) -> str:
    """Train a run in this process, and restore the signal handlers. Returns its status."""
    run = json.loads((folder / "run.json").read_text())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()
    try:
        return train(folder, RunSettings.from_json(run["settings"]), Execution(**run["execution"]))
    finally:
        torch.set_num_threads(threads)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def diagnostic_context(folder: Path, data: Path, arm: Arm) -> DiagnosticContext:
    """The context of an arm's diagnostics, on the tiny stand-in for CIFAR-10."""
    arrays = obtain("standin-tiny", DataSources(data))
    device = torch.device("cpu")
    return DiagnosticContext(
        make_settings(data, 20, arm), folder, InMemoryData(arrays, StreamConfig(arm.recipe, 0, 1, device)), device
    )


def content(folder: Path) -> dict[str, object]:
    """All results of a run that its settings determine."""
    record = json.loads((folder / "record.json").read_text())
    tables: dict[str, object] = {
        name: (folder / f"{name}.csv").read_text() for name in ("metrics", "gradients", "responses")
    }
    entries = ("final", "best", "diagnostics", "weights_sha256", "status", "operations", "test_correct")
    return tables | {key: record[key] for key in entries}


def wait_for(condition, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)


def steps_of(folder: Path) -> int:
    return len(series(read_rows(folder / "metrics.csv"), "running_train_loss")[0])
