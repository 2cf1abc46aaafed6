"""Metrics of a run, as used by claims, tables and figures."""

from __future__ import annotations

import math

from resnet_repro.records.gradients import decay_by_phase
from resnet_repro.records.record import AnyRecord, CountRecord

ERRORS = (
    "train_error",
    "test_error",
    "validation_error",
    "test_error_10crop",
    "mean_validation_error",
    *(f"validation_error_{part}" for part in ("start", "middle", "end")),
)
COUNTS = ("parameters", "trainable_parameters", "multiply_adds")
LOSSES = ("train_loss", "test_loss", "validation_loss", "mean_train_loss", "mean_validation_loss")
FALLS = ("train_loss_least_fall",)


def metrics_of(record: AnyRecord) -> dict[str, float]:
    """{metric: value} of a run or a counted network: final errors and losses, diagnostics, and these derived metrics.

    parameters, trainable_parameters, multiply_adds: of the network.
    step_seconds: mean time of a training step, without evaluation.
    training_seconds: time of all training steps, plus the time to precompute features.
    train_error_of_guessing, test_error_of_guessing: the error in percent of the error of random guessing. A threshold
    on it holds for any number of classes.
    gradient_decay_start, _plateau, _rest: `gradients.decay_by_phase`, from the run's table.
    generalization_gap: test error minus training error, in percentage points.

    A diverged run gets the error (percent) and the loss (nats) of random guessing, which does not fall. It gets no
    generalization_gap, because guessing would make it 0.
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
    classes = record.dataset.classes
    guessing = 100 * (1 - 1 / classes)
    if record.status == "diverged":
        row.update((error, guessing) for error in ERRORS)
        row.update((loss, math.log(classes)) for loss in LOSSES)
        row.update((fall, 0.0) for fall in FALLS)
    if "test_error" in row:
        row["test_error_of_guessing"] = 100 * row["test_error"] / guessing
    if "train_error" in row:
        row["train_error_of_guessing"] = 100 * row["train_error"] / guessing
        if "test_error" in row and record.status != "diverged":
            row["generalization_gap"] = row["test_error"] - row["train_error"]
    return row
