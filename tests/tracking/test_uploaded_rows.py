"""Rows of a run's tables as W&B gets them: each step once, with all its values."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from conftest import make_settings, prepare_run
from made_records import record_in

from resnet_repro.tables import Table
from resnet_repro.tracking.upload import Upload
from resnet_repro.tracking.wandb_run import curve_rows

NORM = "per_layer/gradient_norm_001"


def write_losses(folder: Path, *steps: int) -> None:
    Table(folder / "metrics.csv", ("running_train_loss",)).append(
        {"iteration": step, "running_train_loss": 1 / step} for step in steps
    )


def write_norms(folder: Path, *steps: int) -> None:
    Table(folder / "gradients.csv", ("layer", "name", "norm")).append(
        {"iteration": step, "layer": 1, "name": "conv1", "norm": step / 2} for step in steps
    )


def test_norms_between_two_losses_are_rows_of_their_own(tmp_path: Path) -> None:
    for table, columns in (("metrics.csv", "running_train_loss"), ("gradients.csv", "layer,name,norm")):
        (tmp_path / table).write_text(f"iteration,{columns}\n")
    write_losses(tmp_path, 20, 40, 60)
    write_norms(tmp_path, 1, 40, 50, 70)
    assert curve_rows(tmp_path) == [
        (1, {NORM: 0.5}),
        (20, {"loss/running_train": 1 / 20}),
        (40, {"loss/running_train": 1 / 40, NORM: 20.0}),
        (50, {NORM: 25.0}),
        (60, {"loss/running_train": 1 / 60}),
    ]  # step 70 waits for its loss


class Script(threading.Event):
    """A `stop` whose waits are the moments at which a training writes."""

    def __init__(self, *moments: Callable[[], Any]) -> None:
        super().__init__()
        self.moments = list(moments)

    def wait(self, timeout: float | None = None) -> bool:
        self.moments.pop(0)()
        return self.is_set()


def test_a_row_is_sent_once_all_tables_have_it(tmp_path: Path, tiny_data: Path) -> None:
    settings = make_settings(tiny_data, 10)
    folder = prepare_run(tmp_path, settings, tiny_data)
    for table, columns in (("metrics.csv", "running_train_loss"), ("gradients.csv", "layer,name,norm")):
        (folder / table).write_text(f"iteration,{columns}\n")
    write_losses(folder, 1)  # its norms follow a moment later
    sent: dict[int, dict[str, float]] = {}
    stop = Script(
        lambda: write_norms(folder, 1),
        lambda: write_losses(folder, 2),
        lambda: (write_norms(folder, 2), write_losses(folder, 10), record_in(folder, settings)),
    )
    run = SimpleNamespace(log=lambda values, step: sent.update({step: values}))
    Upload(folder, None, tmp_path, stop, lambda *_: None, 1.0)._send(run, settings.stop_at, 0)
    assert {step: set(values) for step, values in sent.items()} == {
        1: {"loss/running_train", NORM},
        2: {"loss/running_train", NORM},
        10: {"loss/running_train"},
    }
