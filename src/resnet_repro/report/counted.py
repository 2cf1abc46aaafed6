"""The values of a run as claims, tables and figures count them."""

from __future__ import annotations

import math

from resnet_repro.results import Record

ERRORS = (
    "train_error",
    "test_error",
    "validation_error",
    *(f"validation_error_{part}" for part in ("start", "middle", "end")),
)
LOSSES = ("train_loss", "test_loss", "validation_loss", "mean_validation_loss")


def counted(record: Record) -> dict[str, float]:
    """{metric: value}: final errors and losses, and diagnostics.

    A run that diverged counts with the error of guessing, in percent, and its loss, in nats. train_error_of_guessing is
    the training error in percent of that of guessing, so that thresholds hold for any number of classes.
    generalization_gap: test error less training error, in points. parameters, multiply_adds: of the network.
    """
    row: dict[str, float] = {}
    for metric in record.data["final"].keys() | record.data["diagnostics"].keys():
        value = record.value(metric)
        if value is not None:
            row[metric] = value
    row |= {quantity: float(record.data["model"][quantity]) for quantity in ("parameters", "multiply_adds")}
    classes = record.data["dataset"]["classes"]
    guessing = 100 * (1 - 1 / classes)
    if record.status == "diverged":
        row.update((error, guessing) for error in ERRORS)
        row.update((loss, math.log(classes)) for loss in LOSSES)
    if "train_error" in row:
        row["train_error_of_guessing"] = 100 * row["train_error"] / guessing
        if "test_error" in row:
            row["generalization_gap"] = row["test_error"] - row["train_error"]
    return row
