"""Gradient decay by part of the schedule, from a run's table of gradient norms."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_records import make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.records import gradients
from resnet_repro.records.gradients import decay_by_phase
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import read_record
from resnet_repro.tables import Table, read_columns


def write_gradients(folder: Path, decades: dict[int, float]) -> Path:
    """Write gradients of nine layers: 1 in the last six, `decades` above it in the first three. {step: decades}."""
    table = Table(folder / "gradients.csv", ("layer", "name", "norm"))
    table.rewind(-1)
    table.append(
        {"iteration": step, "layer": layer, "name": "conv", "norm": 10**above if layer <= 3 else 1.0}
        for step, above in decades.items()
        for layer in range(1, 10)
    )
    return table.path


def test_decay_is_averaged_by_part_of_the_schedule(tmp_path: Path) -> None:
    path = write_gradients(tmp_path, {1: 2.0, 24: 9.0, 25: -1.0, 100: -2.0, 125: 9.0, 126: 0.5, 1000: -0.5})
    assert decay_by_phase(path, 1_000) == pytest.approx(
        {"gradient_decay_start": 2.0, "gradient_decay_plateau": -1.5, "gradient_decay_rest": 0.0}
    )


def test_a_part_without_readings_has_no_value(tmp_path: Path) -> None:
    assert decay_by_phase(tmp_path / "none.csv", 1_000) == {}
    assert set(decay_by_phase(write_gradients(tmp_path, {1: 1.0}), 1_000)) == {"gradient_decay_start"}


def test_stored_records_have_the_decay_of_their_table(tmp_path: Path, degradation: Experiment) -> None:
    folder = make_record(tmp_path, degradation, "plain-56", 0, "8000it", 8_000)
    write_gradients(folder, {1: 2.0, 400: -1.0, 4_000: -0.5})
    metrics = metrics_of(read_record(folder))
    assert metrics["gradient_decay_start"] == pytest.approx(2.0)
    assert metrics["gradient_decay_plateau"] == pytest.approx(-1.0)
    assert metrics["gradient_decay_rest"] == pytest.approx(-0.5)


def test_a_table_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report asks for the metrics of each run several times."""
    read = []
    monkeypatch.setattr(gradients, "read_columns", lambda *names: read.append(names) or read_columns(*names))
    path = write_gradients(tmp_path, {1: 1.0})
    first = [decay_by_phase(path, 1_000) for _ in range(3)]
    assert len(read) == 1
    path = write_gradients(tmp_path, {1: 2.0, 500: 3.0})
    assert set(decay_by_phase(path, 1_000)) - set(first[0]) == {"gradient_decay_rest"}
    assert len(read) == 2
