"""Runs of the task "reconstruct": their losses, records, displays and resuming, and their metrics."""

from __future__ import annotations

import json
import math
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import QUARTER, make_settings, prepare_run, start_run
from made_records import DIVERGED, record_in
from trained_runs import content, run_here, steps_of, wait_for

import resnet_repro
from resnet_repro.config.arm import Arm, Search, WarmUp
from resnet_repro.config.families import reconstruction_arm
from resnet_repro.config.settings import RunSettings, as_json
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.errors import UserError
from resnet_repro.models.reconstruction import Reconstruction, ReconstructionNet
from resnet_repro.records.metrics import ERRORS, metrics_of
from resnet_repro.records.progress import progress_of
from resnet_repro.records.record import read_record
from resnet_repro.records.state import run_state
from resnet_repro.tables import read_rows, series
from resnet_repro.tracking.wandb_run import curve_rows, summary_of
from resnet_repro.training.start import found_rate

RECIPE = replace(QUARTER, validation_images=100, learning_rate=0.03, padding=0, flip=False)


def stack(kind: str, target: str = "identity", depth: int = 2, **fields) -> Arm:
    return reconstruction_arm(kind, depth, target, RECIPE, **fields)


def settings_of(data: Path, arm: Arm, iterations: int = 24, **changes: object) -> RunSettings:
    return make_settings(data, iterations, arm, experiment="identity", **changes)


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind, {kind: folder}; the target is perturbed."""
    folders = {}
    for kind in ("plain", "residual"):
        settings = settings_of(tiny_data, stack(kind, "perturbed", watch=("input",)))
        folders[kind] = prepare_run(tmp_path_factory.mktemp(kind), settings, tiny_data)
        assert run_here(folders[kind]) == "finished"
    return folders


@pytest.mark.slow
def test_a_run_records_relative_errors_and_no_class_errors(trained: dict[str, Path], tiny_data: Path) -> None:
    record = read_record(trained["plain"])
    assert set(record.final) == {f"{split}_{what}" for split in ("train", "test") for what in ("loss", "images")} | {
        "validation_loss"
    }
    assert record.best == {}
    net = resnet_repro.load_run(trained["plain"])
    assert isinstance(net, ReconstructionNet)
    arrays, recipe = obtain("standin-tiny", DataSources(tiny_data)), record.settings.arm.recipe
    data = InMemoryData(arrays, StreamConfig(recipe, 0, 1, torch.device("cpu")))
    # All test images at once: one mean over all numbers in place of a mean over batches.
    images, _ = next(data.batches("test", size=data.images("test")))
    with torch.inference_mode():
        x, target = net.fixed(images)
        squared = (net.layer1(x) - target).square().mean() / net.fixed.variance
    assert record.final["test_loss"] == pytest.approx(float(squared), rel=1e-5)
    values = metrics_of(record)
    assert values["test_relative_mse"] == record.final["test_loss"]
    assert values["train_relative_mse"] == record.final["train_loss"]
    assert not set(ERRORS) & set(values) and "generalization_gap" not in values
    assert 0.004 < values["input_relative_mse"] < 0.01


@pytest.mark.slow
def test_tables_and_curves_have_losses_only(trained: dict[str, Path]) -> None:
    folder = trained["residual"]
    rows = read_rows(folder / "metrics.csv")
    steps, losses = series(rows, "running_train_loss")
    assert steps == list(range(1, 25)) and losses[-1] < losses[0]
    assert not any(row[column] for row in rows for column in row if column.endswith("_error"))
    assert series(rows, "validation_loss")[0] == [12, 24]
    curves = {name for _, values in curve_rows(folder) for name in values}
    assert {"loss/running_train", "loss/train", "loss/test", "loss/validation"} <= curves
    assert not any(name.startswith("error/") for name in curves)
    assert summary_of(read_record(folder))["final"]["test_loss"] == pytest.approx(losses_at_end(folder), rel=1e-8)
    json.dumps(summary_of(read_record(folder)), allow_nan=False)
    state = progress_of(folder)
    assert state["error"] is None and state["test_error"] is None
    assert state["loss"] == pytest.approx(losses[-1], rel=1e-8)
    state = run_state(folder, "residual-2-perturbed", 0, time.time())
    assert (state.state, state.test_error) == ("finished", None)
    assert state.relative_error == pytest.approx(losses_at_end(folder), rel=1e-8)


def losses_at_end(folder: Path) -> float:
    return series(read_rows(folder / "metrics.csv"), "test_loss")[1][-1]


@pytest.mark.slow
def test_both_kinds_of_a_seed_are_paired(trained: dict[str, Path]) -> None:
    plain, residual = (read_record(trained[kind]) for kind in ("plain", "residual"))
    assert plain.pairing_key == residual.pairing_key
    assert plain.model.layers == residual.model.layers == 2
    assert plain.weights_sha256 != residual.weights_sha256


@pytest.mark.slow
def test_a_killed_reconstruction_ends_like_an_uninterrupted_one(
    trained: dict[str, Path], tiny_data: Path, tmp_path: Path
) -> None:
    settings = settings_of(tiny_data, stack("residual", "perturbed", watch=("input",)))
    folder = prepare_run(tmp_path, settings, tiny_data, checkpoint_seconds=0.0)
    process = start_run(folder)
    wait_for(lambda: steps_of(folder) >= 9)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "checkpoint.ckpt").exists() and not (folder / "record.json").exists()
    assert run_here(folder) == "finished"
    assert content(folder) == content(trained["residual"])


@pytest.mark.slow
def test_an_untrained_reconstruction_is_scored(tiny_data: Path, tmp_path: Path) -> None:
    folder = prepare_run(tmp_path, settings_of(tiny_data, stack("plain", length=0), 0), tiny_data)
    assert run_here(folder) == "finished"
    assert 1 < metrics_of(read_record(folder))["test_relative_mse"] < 10


def test_evaluation_averages_relative_errors_over_images(tiny_data: Path) -> None:
    class Shifted(torch.nn.Module):
        """Outputs the target and, for images above 0, its negative."""

        def forward(self, images: torch.Tensor) -> Reconstruction:
            wrong = (images.mean((1, 2, 3), keepdim=True) > 0).float()
            ones = torch.ones_like(images)
            return Reconstruction(ones - 2 * wrong * ones, ones, torch.tensor(4.0))

    images = torch.tensor([-1.0, 1, -1, -1, 1])[:, None, None, None].expand(5, 3, 4, 4)
    labels = torch.zeros(5, dtype=torch.int64)
    batches = [(images[:2], labels[:2]), (images[2:], labels[2:])]
    score = evaluate(Shifted(), batches, torch.device("cpu"), "fp32")
    assert (score.loss, score.images) == (pytest.approx(2 / 5), 5)
    assert math.isnan(score.error)


def test_a_diverged_reconstruction_counts_as_a_constant(tiny_data: Path, tmp_path: Path) -> None:
    folder = record_in(tmp_path, settings_of(tiny_data, stack("plain")), **DIVERGED)
    values = metrics_of(read_record(folder))
    assert values["train_relative_mse"] == values["test_relative_mse"] == 1
    assert not set(ERRORS) & set(values)


def test_a_search_among_reconstructions_takes_the_lowest_relative_error(tiny_data: Path, tmp_path: Path) -> None:
    rates = {"low": 0.01, "middle": 0.1, "high": 1.0}
    tried = [replace(stack("plain"), name=name, recipe=replace(RECIPE, learning_rate=r)) for name, r in rates.items()]
    arm = stack("plain", search=Search(tuple(rates), "validation_loss"))
    settings = settings_of(tiny_data, arm)
    settings.check()
    folder = prepare_run(tmp_path, settings, tiny_data)
    for candidate, loss in zip(tried, (0.3, 0.02, 0.5), strict=True):
        other = prepare_run(tmp_path, settings_of(tiny_data, candidate), tiny_data)
        final = {"validation_loss": loss}
        record_in(other, settings_of(tiny_data, candidate), final=final, recipe=as_json(candidate.recipe))
    recipe, search = found_rate(folder, settings)
    assert recipe.learning_rate == 0.1
    assert search is not None and search.score("high") == 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"search": Search(("a", "b"))},
            "invalid search of plain-2-identity by validation_error: expected validation_loss",
        ),
        (
            {"recipe": replace(RECIPE, warm_up=WarmUp(0.01, until_error=80.0))},
            "invalid warm-up of plain-2-identity until a class error: expected a number of steps",
        ),
    ],
)
def test_settings_that_need_classes_are_refused(fields: dict, message: str, tiny_data: Path) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        settings_of(tiny_data, replace(stack("plain"), **fields)).check()
