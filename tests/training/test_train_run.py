"""A single run: losses, record and tables."""

from __future__ import annotations

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytorch_lightning as pl
import torch
from conftest import QUARTER, make_settings, prepare_run, start_run
from safetensors.torch import load_file
from trained_runs import content, diagnostic_context, run_here, steps_of, wait_for

import resnet_repro
import resnet_repro.data.sources
import resnet_repro.design.experiment
from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR, IMPL_D
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics.complexity import training_operations
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.errors import UserError
from resnet_repro.hardware import stated_watts
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.inspect import main_path_convolutions
from resnet_repro.models.weights import state_sha256
from resnet_repro.records.record import read_record
from resnet_repro.tables import read_rows, series
from resnet_repro.training.monitor import Monitor

GOLDEN = Path(__file__).parent / "golden_losses.csv"


CPU = torch.device("cpu")


def test_a_run_that_was_about_to_end_because_it_diverged_takes_no_further_step(tiny_data: Path, tmp_path: Path) -> None:
    """A checkpoint may be saved between the reading that finds the divergence and the end of the run."""
    settings = make_settings(tiny_data, 6, cifar_arm("resnet", 8, HE15_CIFAR))
    data = diagnostic_context(tmp_path, tiny_data, settings.arm).data
    for diverged_at, stops in ((3, True), (0, False)):
        monitor = Monitor(settings, tmp_path, data, None)
        monitor.diverged_at = diverged_at
        trainer = SimpleNamespace(global_step=4, should_stop=False)
        monitor.on_train_start(cast(pl.Trainer, trainer), cast(pl.LightningModule, None))
        assert trainer.should_stop == stops


def test_losses_match_the_golden_losses(tiny_data: Path, tmp_path: Path) -> None:
    """A refactoring does not change the first losses of a float32 run.

    The first loss is a smooth function of rounded values. After the first update, a ReLU with an input within rounding of
    zero may or may not pass a gradient. Other instruction sets, or first weights changed by half a unit in the last place,
    move losses by at most 2e-5, and the tolerance is ten times that. A learning rate changed by 1 % moves them by 1e-3.
    """
    folder = prepare_run(tmp_path, make_settings(tiny_data, 6, cifar_arm("resnet", 8, HE15_CIFAR)), tiny_data)
    assert run_here(folder) == "finished"
    losses = series(read_rows(folder / "metrics.csv"), "running_train_loss")[1]
    with GOLDEN.open() as file:
        golden = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[0] == pytest.approx(golden[0], rel=1e-5)
    assert losses == pytest.approx(golden, rel=2e-4)


@pytest.mark.slow
def test_a_finished_run_has_a_complete_record_and_tables(whole_run: Path) -> None:
    record = read_record(whole_run)
    assert (record.experiment, record.arm, record.seed, record.budget) == ("degradation", "plain-8", 0, "30it")
    assert (record.iterations, record.status, record.precision, record.device) == (30, "finished", "fp32", "cpu")
    assert record.dataset.standin is True
    assert len(record.dataset.digest) == len(record.weights_sha256 or "") == 64
    assert record.recipe.learning_rate == 0.1
    assert record.versions["torch"] == torch.__version__.split("+")[0]
    assert record.seconds > 0
    # In 30 steps of epochs of 8 steps: 3 epochs of 250 images and 6 batches of 32.
    assert record.operations == (3 * 250 + 6 * 32) * training_operations(record.settings.arm.model, 10, (3, 32, 32))
    assert record.energy is not None and record.energy.joules > 0
    if not record.energy.measured:
        watts = stated_watts("cpu", cores=record.threads or 0)
        assert record.energy.basis == f"stated {watts:g} W"
        assert record.energy.joules == pytest.approx(watts * record.seconds, rel=0.2)
    rows = read_rows(whole_run / "metrics.csv")
    assert [int(row["iteration"]) for row in rows] == list(range(1, 31))
    last, evaluations = rows[-1], series(rows, "test_error")
    assert evaluations[0] == [15, 30]
    assert float(last["test_error"]) == record.final["test_error"] == evaluations[1][-1]
    assert record.best["test_error"] == min(evaluations[1])
    assert record.final["train_images"] == 250
    assert float(rows[14]["learning_rate"]) == 0.1
    assert float(rows[15]["learning_rate"]) == 0.01
    assert float(last["learning_rate"]) == 0.001
    assert not (whole_run / "checkpoint.ckpt").exists()
    speeds = series(read_rows(whole_run / "speed.csv"), "images_per_second")[1]
    assert min(speeds) > 0


@pytest.mark.slow
def test_weights_load_into_the_plain_model(whole_run: Path, tiny_data: Path) -> None:
    record = read_record(whole_run)
    net = resnet_repro.load_run(whole_run)
    state = load_file(whole_run / "weights.safetensors")
    assert state_sha256(state) == state_sha256(net.state_dict()) == record.weights_sha256
    assert state.keys() == cifar_net("plain", 8).state_dict().keys()
    settings = record.settings
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    data = InMemoryData(arrays, StreamConfig(settings.arm.recipe, 0, 1, CPU))
    score = evaluate(net, data.batches("test"), CPU, "fp32")
    assert score.error == record.final["test_error"]
    assert sum(len(labels) for _, labels in data.batches("test")) == 500


@pytest.mark.slow
def test_weights_that_do_not_match_the_record_are_rejected(whole_run: Path, tmp_path: Path) -> None:
    for name in ("record.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((whole_run / name).read_bytes())
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(UserError, match=r"weights\.safetensors .*record"):
        resnet_repro.load_run(tmp_path)


def test_a_run_with_a_non_finite_loss_ends_as_diverged(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("plain", 8, replace(QUARTER, learning_rate=1e30), norm="none")
    folder = prepare_run(tmp_path, make_settings(tiny_data, 12, arm), tiny_data)
    assert run_here(folder) == "diverged"
    record = read_record(folder)
    assert record.status == "diverged"
    assert record.diverged_at == 2  # the loss of the first step is finite, its update is not
    assert record.value("test_error") is None
    json.loads((folder / "record.json").read_text(), parse_constant=pytest.fail)


def test_a_run_with_a_non_finite_last_update_ends_as_diverged(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the last step is finite, and no later loss shows that its update was not."""
    arm = cifar_arm("plain", 8, replace(QUARTER, learning_rate=3e38, weight_decay=1e10), norm="none")
    folder = prepare_run(tmp_path, make_settings(tiny_data, 1, arm), tiny_data)
    assert run_here(folder) == "diverged"
    record = read_record(folder)
    assert (record.diverged_at, record.final) == (1, {})


@pytest.mark.parametrize(
    ("iterations", "evaluate_every", "step", "whole"),
    [
        (64_000, 1_000, 400, True),
        (64_000, 1_000, 1_000, True),
        (64_000, 1_000, 450, False),
        (391, 196, 195, True),
        (391, 196, 196, False),  # the evaluation ends an interval of one batch
        (391, 196, 198, False),  # and leaves two batches for the next reading
        (391, 196, 201, True),
        (60, 30, 31, True),
    ],
)
def test_a_warm_up_ends_only_after_whole_intervals(
    iterations: int, evaluate_every: int, step: int, whole: bool, tiny_data: Path, tmp_path: Path
) -> None:
    settings = make_settings(tiny_data, iterations, evaluate_every=evaluate_every)
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    monitor = Monitor(settings, tmp_path, InMemoryData(arrays, StreamConfig(QUARTER, 0, 1, CPU)))
    assert monitor._is_whole(step) == whole


def test_energy_before_a_checkpoint_of_an_earlier_version_is_estimated(tiny_data: Path, tmp_path: Path) -> None:
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    monitor = Monitor(make_settings(tiny_data, 8), tmp_path, InMemoryData(arrays, StreamConfig(QUARTER, 0, 1, CPU)))
    monitor.load_state_dict({"seconds": 10.0, "training_seconds": 8.0})
    assert monitor.energy.joules == 10.0 * monitor.energy.watts
    assert not monitor.energy.measured


def test_a_data_set_with_another_digest_is_rejected(tiny_data: Path, tmp_path: Path) -> None:
    folder = prepare_run(tmp_path, make_settings(tiny_data, 2, dataset_digest="0" * 64), tiny_data)
    with pytest.raises(UserError, match=r"standin-tiny\b.*data"):
        run_here(folder)


@pytest.mark.slow
def test_gradients_of_every_convolution_are_recorded(whole_run: Path) -> None:
    rows = read_rows(whole_run / "gradients.csv")
    names = [name for name, _ in main_path_convolutions(cifar_net("plain", 8))]
    steps = sorted({int(row["iteration"]) for row in rows})
    assert steps[0] == 1
    assert {15, 30} <= set(steps)
    assert [row["name"] for row in rows if row["iteration"] == "1"] == names
    assert all(float(row["norm"]) > 0 for row in rows)


@pytest.mark.slow
def test_gradients_of_controls_are_read_at_the_steps_of_other_arms(tiny_data: Path, tmp_path: Path) -> None:
    steps = {}
    for share in (1.0, 0.5):
        arm = cifar_arm("plain", 8, QUARTER, share=share)
        folder = prepare_run(tmp_path / str(share), make_settings(tiny_data, 10, arm, evaluate_every=3), tiny_data)
        assert run_here(folder) == "finished"
        steps[share] = {int(row["iteration"]) for row in read_rows(folder / "gradients.csv")}
        assert len(read_rows(folder / "metrics.csv")) == 10 * share
    assert steps[0.5] == {step for step in steps[1.0] if step <= 5}


@pytest.mark.slow
def test_layer_responses_are_the_outputs_of_the_norms(whole_run: Path, tiny_data: Path) -> None:
    net = resnet_repro.load_run(whole_run)
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    data = InMemoryData(arrays, StreamConfig(QUARTER, 0, 1, CPU))
    images = torch.cat([x for x, _ in data.batches("train", 1_000)])
    with torch.no_grad():
        expected = net.bn1(net.conv1(images)).std(correction=0).item()  # type: ignore[operator]
    rows = read_rows(whole_run / "responses.csv")
    assert len(rows) == 7
    assert float(rows[0]["std"]) == pytest.approx(expected, rel=1e-4)


def test_a_bf16_run_keeps_float32_weights(tiny_data: Path, tmp_path: Path) -> None:
    # Few images, because bf16 is slow without hardware for it.
    arm = cifar_arm("plain", 8, replace(QUARTER, batch_size=8, train_images=32))
    settings = make_settings(tiny_data, 3, arm, precision="bf16", evaluate_every=3)
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    weights = load_file(folder / "weights.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.int64}  # int64: num_batches_tracked


@pytest.mark.slow
def test_a_run_with_adam_and_a_validation_split_resumes(tiny_data: Path, tmp_path: Path) -> None:
    recipe = replace(IMPL_D, batch_size=25, validation_images=200, train_images=200)  # 8 steps per epoch
    arm = Arm(
        "original-8", ModelSpec("impl_d.residual_net", {"kind": "original", "depth": 8, "statistics": "batch"}), recipe
    )
    folders = [prepare_run(tmp_path / name, make_settings(tiny_data, 20, arm), tiny_data) for name in ("a", "b")]
    assert run_here(folders[0]) == "finished"
    process = start_run(folders[1])
    wait_for(lambda: steps_of(folders[1]) >= 8)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert run_here(folders[1]) == "finished"
    assert content(folders[0]) == content(folders[1])
    record = read_record(folders[0])
    assert record.final["train_images"] == 200
    rows = read_rows(folders[0] / "metrics.csv")
    losses, errors = (series(rows, f"validation_{name}")[1] for name in ("loss", "error"))
    assert len(losses) == 2
    assert record.value("validation_error") == errors[-1]
    assert record.value("mean_validation_loss") == pytest.approx(sum(losses) / 2)
    assert record.value("validation_error_middle") == errors[0]  # at half of the schedule
    assert record.value("validation_error_end") == errors[1]
    assert record.value("validation_error_start") is None
    assert record.value("validation_loss_lowest_at") == (50 if losses[0] <= losses[1] else 100)
    assert record.value("validation_loss_rise") == pytest.approx(losses[-1] - min(losses))
    assert {row["learning_rate"] for row in rows} == {"0.003"}


@pytest.mark.slow
def test_readings_do_not_wait_for_the_disk(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step reads sums and gradients. On a network disk, a sync for each would take longer than the training."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(file) or real(file))
    folder = prepare_run(tmp_path, make_settings(tiny_data, 30), tiny_data)
    assert run_here(folder) == "finished"
    assert len(read_rows(folder / "metrics.csv")) == 30
    assert len(synced) < 15, "syncs of the checkpoint, the record, and the final measurements"
