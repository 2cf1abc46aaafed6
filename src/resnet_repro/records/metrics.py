"""Metrics of a run, as used by claims, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.records.gradients import decay_by_phase
from resnet_repro.records.record import AnyRecord, CountRecord, Record
from resnet_repro.tables import read_cells, version_of

ERRORS = (
    "train_error",
    "test_error",
    "validation_error",
    "test_error_10crop",
    "mean_validation_error",
    *(f"validation_error_{part}" for part in ("start", "middle", "end")),
)
COUNTS = ("parameters", "trainable_parameters", "multiply_adds")
AFTER_EPOCH_1 = {error: f"{error}_epoch_1" for error in ("train_error", "test_error")}
LOSSES = ("train_loss", "test_loss", "validation_loss", "mean_train_loss", "mean_validation_loss")
FALLS = ("train_loss_least_fall",)
SPLITS = ("train", "validation", "test")


def metrics_of(record: AnyRecord) -> dict[str, float]:
    """{metric: value} of a run or a counted network: final errors and losses, diagnostics, and these derived metrics.

    parameters, trainable_parameters, multiply_adds: of the network.
    step_seconds: mean time of a training step, without evaluation.
    training_seconds: time of all training steps, plus the time to precompute features.
    train_error_of_guessing, test_error_of_guessing: the error in percent of the error of random guessing. A threshold
    on it holds for any number of classes.
    gradient_decay_start, _plateau, _rest: `gradients.decay_by_phase`, from the run's table.
    generalization_gap: test error minus training error, in percentage points.
    train_error_epoch_1, test_error_epoch_1: error in percent at the evaluation after the first epoch, if there is one. It
    may score fewer images than the last evaluation.
    train_error_drop: training error after the first epoch minus the final one, in percentage points.

    train_relative_mse, validation_relative_mse, test_relative_mse: of a reconstruction, the loss: the mean squared error
    divided by the variance of the target. Reconstructions have no errors in percent.

    A diverged run gets the error (percent) and the loss (nats) of random guessing, which does not fall. It gets no
    generalization_gap, because guessing would make it 0. A diverged reconstruction gets a relative error of 1, that of
    the mean of each channel.
    """
    results = record.diagnostics if isinstance(record, CountRecord) else record.final | record.diagnostics
    row = {metric: value for metric in results if (value := record.value(metric)) is not None}
    for quantity in COUNTS:
        if (count := getattr(record.model, quantity)) is not None:
            row[quantity] = float(count)
    if isinstance(record, CountRecord):
        return row
    if record.status == "finished" and record.iterations:
        row["step_seconds"] = record.training_seconds / record.iterations
        row["training_seconds"] = record.training_seconds + (record.feature_seconds or 0.0)
    if record.settings.iterations:
        row.update(decay_by_phase(record.folder / "gradients.csv", record.settings.iterations))
    if record.settings.arm.task == "reconstruct":
        return row | _relative_errors(record)
    row.update(_after_first_epoch(record))
    classes = record.dataset.classes
    guessing = 100 * (1 - 1 / classes)
    if record.status == "diverged":
        row.update((error, guessing) for error in ERRORS)
        row.update((loss, math.log(classes)) for loss in LOSSES)
        row.update((error, guessing) for error in AFTER_EPOCH_1.values() if error not in row)
        row.update((fall, 0.0) for fall in FALLS)
    if "test_error" in row:
        row["test_error_of_guessing"] = 100 * row["test_error"] / guessing
    if "train_error" in row:
        row["train_error_of_guessing"] = 100 * row["train_error"] / guessing
        if "test_error" in row and record.status != "diverged":
            row["generalization_gap"] = row["test_error"] - row["train_error"]
        if (first := row.get(AFTER_EPOCH_1["train_error"])) is not None:
            row["train_error_drop"] = first - row["train_error"]
    return row


def _relative_errors(record: Record) -> dict[str, float]:
    """The relative errors of a reconstruction."""
    errors = {f"{split}_relative_mse": record.value(f"{split}_loss") for split in SPLITS}
    if record.status == "diverged":
        errors = dict.fromkeys(errors, 1.0)
    return {name: error for name, error in errors.items() if error is not None}


def _after_first_epoch(record: Record) -> Mapping[str, float]:
    """The errors at the evaluation after the first epoch, from the run's table. Records of all versions have it."""
    path = record.folder / "metrics.csv"
    return _at_epoch_1(path, version_of(path))


@lru_cache(maxsize=4096)
def _at_epoch_1(path: Path, version: object) -> Mapping[str, float]:
    """The errors in the row of metrics.csv whose epoch is 1. version: tells whether the file has changed, for the cache."""
    epochs, *errors = read_cells(path, "epoch", *AFTER_EPOCH_1)
    try:
        for place, epoch in enumerate(epochs):
            if not epoch or abs(float(epoch) - 1) >= 0.01:
                continue
            at_epoch = {name: cells[place] for name, cells in zip(AFTER_EPOCH_1.values(), errors, strict=True) if cells}
            found = {name: float(cell) for name, cell in at_epoch.items() if cell}
            if found:
                return found
    except ValueError as error:
        raise UserError(
            f"{path} is not a table of numbers ({error}): delete {path.parent} to train it again"
        ) from error
    return {}
