"""Summaries of gradient norms, which show whether gradients vanish towards the first layers."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean

from resnet_repro.files import read_rows


def gradient_diagnostics(path: Path, iterations: int) -> dict[str, float]:
    """Summaries of a run's gradients.csv, in decades (log10). Empty if there are no rows.

    The level of a group of layers at a step is the median of their gradient norms. A norm that is zero or not finite
    counts as 0, and a level is at least 1e-38.
    early_gradient: level of the first third of the layers, mean over the recorded steps in the first tenth of
    `iterations`. Arms of any share train this part.
    gradient_decay: level of the first third minus level of the last third, mean over all recorded steps. -1 means that
    gradients are ten times smaller in the first layers.
    first_gradient, first_gradient_decay: the level of the first third, and that level minus the level of the last third,
    at the first step.
    """
    by_step: dict[int, list[float]] = {}
    for row in read_rows(path):
        by_step.setdefault(int(row["iteration"]), []).append(float(row["norm"]))
    if not by_step:
        return {}
    first, last = {}, {}
    for step, norms in by_step.items():
        third = max(1, len(norms) // 3)
        first[step], last[step] = _level(norms[:third]), _level(norms[-third:])
    start = min(by_step)
    beginning = [level for step, level in first.items() if step <= max(1, iterations // 10)]
    return {
        "early_gradient": mean(beginning),
        "gradient_decay": mean(first[step] - last[step] for step in by_step),
        "first_gradient": first[start],
        "first_gradient_decay": first[start] - last[start],
    }


def _level(norms: list[float]) -> float:
    ordered = sorted(norm if math.isfinite(norm) else 0.0 for norm in norms)
    middle = ordered[len(ordered) // 2]
    return math.log10(max(middle, 1e-38))
