"""Table of the spread of test errors over seeds, from the predictions for single test images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from resnet_repro.claims.spread import Spread, spread
from resnet_repro.design.experiment import Experiment
from resnet_repro.records.predictions import correct_images
from resnet_repro.records.record import Record

HEADER = ("arm", "seeds", "test images", "test error", "s.d. over seeds", "from test images", "beyond them")
CAPTION = (
    "Spread of the test error over seeds, in percentage points, with 95 % intervals. The standard deviation (s.d.; its χ² "
    "interval holds for normal errors) has two parts, whose squares add up. From test images: luck with a test set of this "
    "size, because runs err on different images. Beyond them: the s.d. that would remain on unlimited images of the kind, or 0 "
    "if the luck explains all; its square is estimated without bias from the covariances of errors on different images "
    "(Jordan 2024, arXiv 2304.01910)."
)


def spread_table(experiment: Experiment, records: Sequence[Record]) -> dict[str, Any] | None:
    """Return the table of all arms but controls with two or more runs whose records have predictions; None without any."""
    rows = []
    for arm in experiment.arms:
        correct = _on_the_same_images([record for record in records if record.arm == arm.name])
        if not arm.control and len(correct) > 1:
            rows.append([arm.name, *_cells(spread(correct))])
    if not rows:
        return None
    return {"header": list(HEADER), "align": ["left", *["right"] * (len(HEADER) - 1)], "rows": rows, "caption": CAPTION}


def _on_the_same_images(runs: Sequence[Record]) -> list[np.ndarray]:
    """The correctness of the finished runs that were scored on the same images; of several groups, the largest."""
    groups: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    for record in runs:
        if record.status == "finished" and (correct := correct_images(record)) is not None:
            groups[record.dataset.digest, len(correct)].append(correct)
    return max(groups.values(), key=len, default=[])


def _cells(of_arm: Spread) -> list[str]:
    return [
        str(of_arm.seeds),
        f"{of_arm.images:,}",
        f"{of_arm.error:.2f}",
        _with_interval(of_arm.observed, of_arm.observed_interval),
        f"{of_arm.of_images:.2f}",
        _with_interval(of_arm.beyond, of_arm.beyond_interval),
    ]


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
