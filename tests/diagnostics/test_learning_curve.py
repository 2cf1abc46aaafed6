"""Statistics of learning curves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from resnet_repro.diagnostics.learning_curve import along_the_way
from resnet_repro.tables import Table


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


def scored(path: Path, train: list[float], every: int = 1) -> Path:
    """A table with an evaluation at each of these training losses, and readings without one before each."""
    table = Table(path / "metrics.csv", ("running_train_error", "train_loss", "validation_loss", "validation_error"))
    table.rewind(-1)
    for index, loss in enumerate(train, start=1):
        for step in range((index - 1) * every + 1, index * every):
            table.append([{"iteration": step, "running_train_error": 50.0}])
        scores = {"train_loss": loss, "validation_loss": loss + 1, "validation_error": 10 * loss}
        table.append([{"iteration": index * every, "running_train_error": 50.0, **scores}])
    return path / "metrics.csv"


def test_a_loss_falls_steadily_if_each_fifth_is_lower_than_the_one_before(tmp_path: Path) -> None:
    losses = [2.0, 1.8, 1.5, 1.6, 1.2, 1.0, 0.9, 0.7, 0.2, 0.4]  # means of fifths 1.9, 1.55, 1.1, 0.8, 0.3
    statistics = along_the_way(scored(tmp_path, losses, every=3), 30)
    assert statistics["train_loss_least_fall"] == pytest.approx(0.3)
    assert statistics["mean_train_loss"] == pytest.approx(1.13)
    assert statistics["mean_validation_loss"] == pytest.approx(2.13)
    assert statistics["mean_validation_error"] == pytest.approx(11.3)
    rising = [*losses[:6], 1.1, 1.2, 0.2, 0.4]  # the fourth fifth is higher than the third, by 0.05
    assert along_the_way(scored(tmp_path, rising, every=3), 30)["train_loss_least_fall"] == pytest.approx(-0.05)


def test_a_part_of_the_schedule_has_no_fall(tmp_path: Path) -> None:
    statistics = along_the_way(scored(tmp_path, [2.0, 1.5]), 50)
    assert "train_loss_least_fall" not in statistics
    assert statistics["mean_train_loss"] == 1.75
