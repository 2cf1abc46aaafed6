"""What the curves of a run say, in numbers: how fast it learned, and how its validation error went."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean

from resnet_repro.files import read_rows, series

REACHED = 25.0  # percent: Krizhevsky 2012 figure 1
WINDOW = 5  # readings of the running error that are averaged, so that no single lucky one counts


def along_the_way(path: Path, iterations: int) -> dict[str, float]:
    """Numbers from a run's metrics.csv, for a schedule of `iterations` steps; empty where there is nothing to tell.

    mean_running_error: of the batches as they were trained on, mean over the readings; a net that learns sooner has
    the lower one. doublings_to_25: log2 of the steps after which that error, over five readings, is at or under 25 %;
    a difference of 1 is twice as long. A run that never gets there has none.
    Of the validation split, where there is one: validation_error_start, _middle, _end, the mean over the evaluations in
    the first, second and last third of the schedule. mean_validation_loss: over all. validation_loss_rise: how far the
    loss lies above its lowest value at the end; validation_loss_lowest_at: where that value lies, in percent of the schedule.
    """
    rows = read_rows(path)
    steps, errors = series(rows, "running_train_error")
    found: dict[str, float] = {}
    if errors:
        found["mean_running_error"] = mean(errors)
        if reached := _reached(steps, errors):
            found["doublings_to_25"] = math.log2(reached)
    return found | _validation(rows, iterations)


def _reached(steps: list[int], errors: list[float]) -> int | None:
    """The step of the first reading that ends a window whose mean is low enough."""
    for end in range(WINDOW, len(errors) + 1):
        if mean(errors[end - WINDOW : end]) <= REACHED:
            return steps[end - 1]
    return None


def _validation(rows: list[dict[str, str]], iterations: int) -> dict[str, float]:
    steps, errors = series(rows, "validation_error")
    loss_steps, losses = series(rows, "validation_loss")
    if not errors or not losses or not iterations:
        return {}
    found = {
        "mean_validation_loss": mean(losses),
        "validation_loss_rise": losses[-1] - min(losses),
        "validation_loss_lowest_at": 100 * loss_steps[losses.index(min(losses))] / iterations,
    }
    for part, name in enumerate(("start", "middle", "end")):
        mine = [error for step, error in zip(steps, errors, strict=True) if (3 * step - 1) // iterations == part]
        if mine:
            found[f"validation_error_{name}"] = mean(mine)
    return found
