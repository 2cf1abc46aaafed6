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
    """
    ends = ends_by_step(path)
    if not ends:
        return {}
    beginning = [first for step, (first, _) in ends.items() if step <= max(1, iterations // 10)]
    return {
        "early_gradient": mean(beginning),
        "gradient_decay": mean(first - last for first, last in ends.values()),
    }
