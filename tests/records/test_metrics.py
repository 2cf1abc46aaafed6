"""Metrics that are read from a run's tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_records import make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import read_record
from resnet_repro.tables import Table

COLUMNS = ("epoch", "running_train_error", "train_error", "test_error")


def with_curve(folder: Path, *rows: tuple[int, float, float | str, float | str]) -> Path:
    """Write metrics.csv with rows of (step, epoch, training error, test error); the running error is 99 everywhere."""
    table = Table(folder / "metrics.csv", COLUMNS)
    table.rewind(-1)
    table.append(
        {"iteration": step, "epoch": epoch, "running_train_error": 99.0, "train_error": train, "test_error": test}
        for step, epoch, train, test in rows
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path, degradation: Experiment) -> Path:
    return make_record(tmp_path, degradation, "plain-20", 0)


def test_errors_after_the_first_epoch_are_those_of_its_evaluation(folder: Path) -> None:
    with_curve(folder, (200, 0.5, 60.0, 61.0), (380, 0.97, "", ""), (391, 1.0, 40.0, 42.0), (782, 2.0, 30.0, 33.0))
    values = metrics_of(read_record(folder))
    assert (values["train_error_epoch_1"], values["test_error_epoch_1"]) == (40, 42)
    assert values["train_error_drop"] == pytest.approx(40 - values["train_error"])


def test_a_run_without_an_evaluation_there_has_no_such_metric(folder: Path) -> None:
    for rows in ([(200, 0.5, 60.0, 61.0), (600, 1.5, 35.0, 36.0)], [(391, 1.0, "", "")], []):
        with_curve(folder, *rows)
        assert not {"train_error_epoch_1", "test_error_epoch_1", "train_error_drop"} & set(
            metrics_of(read_record(folder))
        )


def test_a_table_that_has_changed_is_read_again(folder: Path) -> None:
    for error in (40.0, 5.0):
        with_curve(folder, (391, 1.0, error, error))
        assert metrics_of(read_record(folder))["train_error_epoch_1"] == error


def test_a_run_that_diverged_in_its_first_epoch_counts_as_guessing(tmp_path: Path, degradation: Experiment) -> None:
    changes = {"status": "diverged", "diverged_at": 30, "final": {}, "diagnostics": {}}
    early = make_record(tmp_path / "early", degradation, "plain-20", 0, **changes)
    later = make_record(tmp_path / "later", degradation, "plain-20", 0, **{**changes, "diverged_at": 500})
    assert metrics_of(read_record(early))["train_error_epoch_1"] == 90
    with_curve(later, (391, 1.0, 40.0, 42.0))
    values = metrics_of(read_record(later))
    assert (values["train_error_epoch_1"], values["train_error"], values["train_error_drop"]) == (40, 90, -50)
