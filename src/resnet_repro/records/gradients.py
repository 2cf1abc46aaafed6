"""Gradient norms by layer, from the tables gradients.csv and growth.csv, and their levels in the first and last layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from statistics import mean

import numpy as np

from resnet_repro.tables import read_columns, version_of

# Parts of a schedule. In the plain nets of He15, training stands still in the second one.
PLATEAU = (1 / 40, 1 / 10)
REST = 1 / 8


def norms_by_step(path: Path) -> Mapping[int, np.ndarray]:
    """{step: gradient norm of each layer, (layers,)} in order of steps and layers. Empty if there are no rows.

    Raises UserError for a damaged table.
    """
    return _norms_by_step(path, version_of(path))


@lru_cache(maxsize=4096)
def _norms_by_step(path: Path, version: object) -> Mapping[int, np.ndarray]:
    """version: tells whether the file has changed, for the cache."""
    columns = read_columns(path, "iteration", "layer", "norm")
    if not columns:
        return {}
    steps, layers, norms = map(np.array, columns)
    order = np.lexsort((layers, steps))
    values, first = np.unique(steps[order], return_index=True)
    return dict(zip(map(int, values), np.split(norms[order], first[1:]), strict=True))


def ends_by_step(path: Path) -> dict[int, tuple[float, float]]:
    """{step: (level of the first third of the layers, level of the last third)} in decades (log10).

    The level of a group of layers at a step is the median of their gradient norms. A norm that is zero or not finite
    counts as 0, and a level is at least 1e-38. Empty if there are no rows.
    """
    ends = {}
    for step, norms in norms_by_step(path).items():
        third = max(1, len(norms) // 3)
        ends[step] = _level(norms[:third]), _level(norms[-third:])
    return ends


def decay_by_phase(path: Path, iterations: int) -> dict[str, float]:
    """Level of the first third minus level of the last third, as a mean over the readings of a part of the schedule.

    gradient_decay_start: the first step. gradient_decay_plateau: from 2.5 to 10 % of the `iterations`.
    gradient_decay_rest: after 12.5 %. A part without readings is left out.
    """
    return dict(_decay_by_phase(path, iterations, version_of(path)))


@lru_cache(maxsize=4096)
def _decay_by_phase(path: Path, iterations: int, version: object) -> Mapping[str, float]:
    decay = {step: first - last for step, (first, last) in ends_by_step(path).items()}
    phases = {
        "start": [value for step, value in decay.items() if step == 1],
        "plateau": [value for step, value in decay.items() if PLATEAU[0] <= step / iterations <= PLATEAU[1]],
        "rest": [value for step, value in decay.items() if step / iterations > REST],
    }
    return {f"gradient_decay_{phase}": mean(values) for phase, values in phases.items() if values}


def _level(norms: np.ndarray) -> float:
    ordered = np.sort(np.where(np.isfinite(norms), norms, 0.0))
    return math.log10(max(float(ordered[len(ordered) // 2]), 1e-38))
