"""The values of a run as claims, tables and figures count them."""

from __future__ import annotations

import math

from resnet_repro.records.record import AnyRecord, CountRecord

ERRORS = (
    "train_error",
    "test_error",
    "validation_error",
    "test_error_10crop",
    *(f"validation_error_{part}" for part in ("start", "middle", "end")),
)
COUNTS = ("parameters", "trainable_parameters", "multiply_adds")
LOSSES = ("train_loss", "test_loss", "validation_loss", "mean_validation_loss")


def metrics_of(record: AnyRecord) -> dict[str, float]:
    """{metric: value}: final errors and losses, and diagnostics.

    A run that diverged counts with the error of guessing, in percent, and its loss, in nats. train_error_of_guessing is
    the training error in percent of that of guessing, so that thresholds hold for any number of classes; likewise
    test_error_of_guessing. generalization_gap: test error less training error, in points; a run that diverged has none,
    since guessing would leave it no gap at all. step_seconds: of a training step, evaluation left out;
    training_seconds: of all steps, with the features that were computed before. parameters, those of them that are
    trained, multiply_adds: of the network.
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
    classes = record.dataset.classes
    guessing = 100 * (1 - 1 / classes)
    if record.status == "diverged":
        row.update((error, guessing) for error in ERRORS)
        row.update((loss, math.log(classes)) for loss in LOSSES)
    if "test_error" in row:
        row["test_error_of_guessing"] = 100 * row["test_error"] / guessing
    if "train_error" in row:
        row["train_error_of_guessing"] = 100 * row["train_error"] / guessing
        if "test_error" in row and record.status != "diverged":
            row["generalization_gap"] = row["test_error"] - row["train_error"]
    return row
