"""Statistics of learning curves."""

from __future__ import annotations

import math
from pathlib import Path

from resnet_repro.diagnostics.learning_curve import along_the_way
from resnet_repro.files import Table


def metrics(path: Path, errors: list[float]) -> Path:
    table = Table(path / "metrics.csv", ("running_train_error", "validation_error", "validation_loss"))
    table.rewind(-1)
    table.append({"iteration": 16 * i, "running_train_error": error} for i, error in enumerate(errors, start=1))
    return path / "metrics.csv"


def test_steps_to_25_percent_are_given_in_doublings(tmp_path: Path) -> None:
    path = metrics(tmp_path, [80.0, 20.0, 60.0, 40.0, 30.0, 25.0, 25.0, 20.0, 20.0, 10.0])
    statistics = along_the_way(path, 160)
    assert statistics["doublings_to_25"] == math.log2(16 * 8 + 16), "five readings in a row count, not a single low one"
    assert statistics["mean_running_error"] == 33.0
    assert "doublings_to_25" not in along_the_way(metrics(tmp_path, [80.0, 20.0, 60.0, 40.0, 30.0, 26.0]), 96)
    assert along_the_way(tmp_path / "none.csv", 96) == {}
