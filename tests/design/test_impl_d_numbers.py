"""The numbers that impl-D publishes: they must pass the tests of the claims that impl-D makes."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from resnet_repro.claims.judge import judge_all
from resnet_repro.claims.results import Results
from resnet_repro.design.registry import load_experiment
from resnet_repro.diagnostics.learning_curve import along_the_way
from resnet_repro.tables import Table

EPOCHS, STEPS = 50, 450
ARM_OF = {"original": "original-as-written", "proposed": "preact-as-written", "cnn": "plain-as-written"}


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return json.loads((files("resnet_repro.figures") / "impl_d_curves.json").read_text(encoding="utf-8"))


def metrics_of(curves: dict[str, list[float]], folder: Path) -> dict[str, float]:
    """The metrics of a run with these curves, by the code that computes them for ours."""
    table = Table(folder / "metrics.csv", ("running_train_error", "train_loss", "validation_loss", "validation_error"))
    table.rewind(-1)
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    for epoch, (loss, accuracy, held_out_loss, held_out) in enumerate(
        zip(*map(curves.get, names), strict=True), start=1
    ):
        row = {"train_loss": loss, "validation_loss": held_out_loss, "validation_error": 100 * (1 - held_out)}
        table.append([{"iteration": STEPS * epoch, "running_train_error": 100 * (1 - accuracy), **row}])
    return along_the_way(table.path, EPOCHS * STEPS) | {"train_error": 100 * (1 - curves["train_accuracy"][-1])}


@pytest.mark.parametrize("name", ["B0", "B1", "B2", "B3", "B4"])
def test_the_published_numbers_pass_the_tests_of_the_claims(name: str, published: dict, tmp_path: Path) -> None:
    results = {}
    for net, arm in ARM_OF.items():
        (tmp_path / net).mkdir()
        results[arm] = {0: metrics_of(published["curves"][net], tmp_path / net)}
    claims = [claim for claim in load_experiment("block").claims if claim.name == name]
    (judgement,) = judge_all(claims, Results(results))
    assert judgement.verdict == "seen once", [part.interval for part in judgement.parts]
    for comparison, part in zip(judgement.claim.test, judgement.parts, strict=True):
        assert part.interval is not None
        if comparison.published is not None:  # type: ignore[union-attr]
            assert part.interval.estimate == pytest.approx(comparison.published, abs=6e-3), part  # type: ignore[union-attr]


def test_the_published_values_are_those_at_the_end_of_the_curves(published: dict) -> None:
    declared = load_experiment("block").published
    for net, arm in ARM_OF.items():
        curves, values = published["curves"][net], declared[arm]
        for loss in ("train_loss", "validation_loss"):
            assert values[loss] == pytest.approx(curves[loss][-1], abs=6e-4)
        for split in ("train", "validation"):
            assert values[f"{split}_error"] == pytest.approx(100 * (1 - curves[f"{split}_accuracy"][-1]), abs=6e-3)
        assert values["test_error"] == pytest.approx(100 * (1 - published["test_accuracy"][net]), abs=6e-3)
