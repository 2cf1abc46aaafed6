"""Do the gradients vanish on their way to the first layers?"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean

from resnet_repro.files import read_rows


def gradient_diagnostics(path: Path, iterations: int) -> dict[str, float]:
    """Summaries of a run's gradients.csv, in decades (log10), empty where there is nothing to summarize.

    The level of some layers at a step is the median of their norms. early_gradient: level of the first third of the
    convolutions, mean over the recorded steps of the first tenth of the `iterations` of the budget, the part that arms
    of any share have in common. gradient_decay: that level minus the level of the last third, mean over all recorded
    steps; -1 is a tenfold loss on the way to the front.
    Steps at which a layer's gradient is zero or not finite count with the smallest normal number: nothing arrives.
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
    beginning = [level for step, level in first.items() if step <= max(1, iterations // 10)]
    return {
        "early_gradient": mean(beginning),
        "gradient_decay": mean(first[step] - last[step] for step in by_step),
    }


def _level(norms: list[float]) -> float:
    ordered = sorted(norm if math.isfinite(norm) else 0.0 for norm in norms)
    middle = ordered[len(ordered) // 2]
    return math.log10(max(middle, 1e-38))
