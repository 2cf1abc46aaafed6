"""Statistics of a run's learning curves: speed of learning, and course of the validation error."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from statistics import mean

from resnet_repro.tables import read_rows, series

REACHED = 25.0  # percent, as in Krizhevsky 2012 figure 1
FIFTHS = 5  # parts of the schedule between which a steady loss falls
WINDOW = 5  # readings of the running error that are averaged, so that a single lucky one does not count


def along_the_way(path: Path, iterations: int) -> dict[str, float]:
    """Statistics of a run's metrics.csv, for a schedule of `iterations` steps. Empty if there are no readings.

    mean_running_error: error on the training batches, mean over the readings; lower if the network learns sooner.
    doublings_to_25: log2 of the steps until that error, averaged over five readings, is at most 25 %. A difference of 1
    means twice as many steps. Left out if the run never reaches 25 %.
    With a validation split also:
    validation_error_start, _middle, _end: mean over the evaluations in each third of the schedule.
    mean_train_loss, mean_validation_loss, mean_validation_error: mean over all evaluations.
    validation_loss_rise: last loss minus the lowest loss.
    validation_loss_lowest_at: step of the lowest loss, in percent of the schedule.
    train_loss_least_fall: smallest fall of the mean training loss, in nats, from one fifth of the schedule to the next;
    negative if it rises once. Left out if a fifth has no evaluation.
    """
    rows = read_rows(path)
    steps, errors = series(rows, "running_train_error")
    statistics: dict[str, float] = {}
    if errors:
        statistics["mean_running_error"] = mean(errors)
        if reached := _reached(steps, errors):
            statistics["doublings_to_25"] = math.log2(reached)
    return statistics | _validation(rows, iterations)


def _reached(steps: list[int], errors: list[float]) -> int | None:
    """The step of the first reading at which the mean of the last `WINDOW` errors is at most `REACHED`."""
    for end in range(WINDOW, len(errors) + 1):
        if mean(errors[end - WINDOW : end]) <= REACHED:
            return steps[end - 1]
    return None


def _validation(rows: list[dict[str, str]], iterations: int) -> dict[str, float]:
    steps, errors = series(rows, "validation_error")
    loss_steps, losses = series(rows, "validation_loss")
    if not errors or not losses or not iterations:
        return {}
    statistics = {
        "mean_validation_loss": mean(losses),
        "mean_validation_error": mean(errors),
        "validation_loss_rise": losses[-1] - min(losses),
        "validation_loss_lowest_at": 100 * loss_steps[losses.index(min(losses))] / iterations,
    }
    for part, name in enumerate(("start", "middle", "end")):
        in_part = [error for step, error in zip(steps, errors, strict=True) if (3 * step - 1) // iterations == part]
        if in_part:
            statistics[f"validation_error_{name}"] = mean(in_part)
    return statistics | _training(rows, iterations)


def _training(rows: list[dict[str, str]], iterations: int) -> dict[str, float]:
    steps, losses = series(rows, "train_loss")
    if not losses:
        return {}
    fifths: list[list[float]] = [[] for _ in range(FIFTHS)]
    for step, loss in zip(steps, losses, strict=True):
        fifths[min(FIFTHS * max(0, step - 1) // iterations, FIFTHS - 1)].append(loss)
    statistics = {"mean_train_loss": mean(losses)}
    if all(fifths):
        means = [mean(fifth) for fifth in fifths]
        statistics["train_loss_least_fall"] = min(before - after for before, after in pairwise(means))
    return statistics
