"""Gradient norms over depth and time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from resnet_repro.diagnostics.gradients import gradient_diagnostics
from resnet_repro.files import Table


def test_gradient_diagnostics_tell_decay_from_health(tmp_path: Path) -> None:
    def diagnose(norms: list[float]) -> dict[str, float]:
        table = Table(tmp_path / "gradients.csv", ("layer", "name", "norm"))
        table.rewind(0)
        table.append({"iteration": 1, "layer": i, "name": "conv", "norm": norm} for i, norm in enumerate(norms, 1))
        return gradient_diagnostics(table.path, iterations=10)

    assert diagnose([0.1] * 9)["gradient_decay"] == pytest.approx(0)
    vanishing = diagnose([10 ** (-4 + i / 2) for i in range(9)])
    assert vanishing["gradient_decay"] == pytest.approx(-3)
    assert vanishing["early_gradient"] == pytest.approx(-3.5)
    assert diagnose([0.0] * 3 + [math.nan] * 3 + [1.0] * 3)["gradient_decay"] == pytest.approx(-38)
    assert gradient_diagnostics(tmp_path / "none.csv", iterations=10) == {}


def test_the_early_gradient_is_that_of_the_first_tenth(tmp_path: Path) -> None:
    table = Table(tmp_path / "gradients.csv", ("layer", "name", "norm"))
    table.rewind(0)
    for step, norm in ((1, 1.0), (10, 0.01), (11, 1e-9), (100, 1e-9)):
        table.append({"iteration": step, "layer": i, "name": "conv", "norm": norm} for i in range(1, 10))
    assert gradient_diagnostics(table.path, iterations=100)["early_gradient"] == pytest.approx(-1)
