"""Summaries of gradient norms, which show whether gradients vanish towards the first layers."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from resnet_repro.records.gradients import ends_by_step


def gradient_diagnostics(path: Path, iterations: int) -> dict[str, float]:
    """Summaries of a run's gradients.csv, in decades (log10), by the levels of `ends_by_step`. Empty if there are no rows.

    early_gradient: level of the first third of the layers, mean over the recorded steps in the first tenth of
    `iterations`. Arms of any share train this part.
    gradient_decay: level of the first third minus level of the last third, mean over all recorded steps. -1 means that
    gradients are ten times smaller in the first layers.
    first_gradient, first_gradient_decay: the level of the first third, and that level minus the level of the last third,
    at the first step.
    """
    ends = ends_by_step(path)
    if not ends:
        return {}
    start = min(ends)
    beginning = [first for step, (first, _) in ends.items() if step <= max(1, iterations // 10)]
    return {
        "early_gradient": mean(beginning),
        "gradient_decay": mean(first - last for first, last in ends.values()),
        "first_gradient": ends[start][0],
        "first_gradient_decay": ends[start][0] - ends[start][1],
    }
