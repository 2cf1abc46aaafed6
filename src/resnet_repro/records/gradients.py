"""Levels of the gradient in the first and last layers of a net, from the table gradients.csv of a run."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean

from resnet_repro.files import read_rows

# Parts of a schedule. In the plain nets of He15, training stands still in the second one.
PLATEAU = (1 / 40, 1 / 10)
REST = 1 / 8


def ends_by_step(path: Path) -> dict[int, tuple[float, float]]:
    """{step: (level of the first third of the layers, level of the last third)} in decades (log10).

    The level of a group of layers at a step is the median of their gradient norms. A norm that is zero or not finite
    counts as 0, and a level is at least 1e-38. Empty if there are no rows.
    """
    by_step: dict[int, list[float]] = {}
    for row in read_rows(path):
        by_step.setdefault(int(row["iteration"]), []).append(float(row["norm"]))
    ends = {}
    for step, norms in by_step.items():
        third = max(1, len(norms) // 3)
        ends[step] = _level(norms[:third]), _level(norms[-third:])
    return ends


def decay_by_phase(path: Path, iterations: int) -> dict[str, float]:
    """Level of the first third minus level of the last third, as a mean over the readings of a part of the schedule.

    gradient_decay_start: the first step. gradient_decay_plateau: from 2.5 to 10 % of the `iterations`.
    gradient_decay_rest: after 12.5 %. A part without readings is left out.
    """
    decay = {step: first - last for step, (first, last) in ends_by_step(path).items()}
    phases = {
        "start": [value for step, value in decay.items() if step == 1],
        "plateau": [value for step, value in decay.items() if PLATEAU[0] <= step / iterations <= PLATEAU[1]],
        "rest": [value for step, value in decay.items() if step / iterations > REST],
    }
    return {f"gradient_decay_{phase}": mean(values) for phase, values in phases.items() if values}


def _level(norms: list[float]) -> float:
    ordered = sorted(norm if math.isfinite(norm) else 0.0 for norm in norms)
    middle = ordered[len(ordered) // 2]
    return math.log10(max(middle, 1e-38))
