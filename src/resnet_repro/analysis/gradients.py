"""Do the gradients vanish on their way to the first layers?"""

from __future__ import annotations

import math
from pathlib import Path

from resnet_repro.results import read_rows


def gradient_diagnostics(path: Path) -> dict[str, float]:
    """Summaries of a run's gradients.csv, in decades (log10), empty where there is nothing to summarize.

    early_gradient: level of the first third of the convolutions, the mean over the recorded steps of the median norm.
    gradient_decay: that level minus the level of the last third; -1 is a tenfold loss on the way to the front.
    Steps at which a layer's gradient is zero or not finite count with the smallest normal number: nothing arrives.
    """
    by_step: dict[int, list[float]] = {}
    for row in read_rows(path):
        by_step.setdefault(int(row["iteration"]), []).append(float(row["norm"]))
    if not by_step:
        return {}
    levels = []
    for norms in by_step.values():
        third = max(1, len(norms) // 3)
        levels.append((_level(norms[:third]), _level(norms[-third:])))
    early = sum(first for first, _ in levels) / len(levels)
    late = sum(last for _, last in levels) / len(levels)
    return {"early_gradient": early, "gradient_decay": early - late}


def _level(norms: list[float]) -> float:
    ordered = sorted(norm if math.isfinite(norm) else 0.0 for norm in norms)
    middle = ordered[len(ordered) // 2]
    return math.log10(max(middle, 1e-38))
