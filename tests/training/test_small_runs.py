"""Runs of networks with dropout, auxiliary heads, or without convolutions."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_settings, prepare_run, start_run
from trained_runs import content, run_here, steps_of, wait_for

from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import BLOG_E_MNIST, HE15_CIFAR, HE15_CIFAR_WITHOUT_BN
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.records.record import read_record

pytestmark = pytest.mark.slow


RECIPE = replace(HE15_CIFAR_WITHOUT_BN, batch_size=16, train_images=125)  # 8 steps per epoch


@pytest.mark.parametrize(
    "arm",
    [
        Arm("headed", ModelSpec("googlenet.small_googlenet", {"auxiliary": True, "width": 8}), RECIPE),
        cifar_arm("plain", 8, RECIPE, norm="noisy", watch=("inputs",)),
        cifar_arm("resnet", 8, RECIPE, statistics_over=4),
    ],
    ids=["dropout and heads", "noise", "groups"],
)
def test_a_net_with_random_numbers_resumes_with_the_same_bits(arm: Arm, tiny_data: Path, tmp_path: Path) -> None:
    """Dropout masks and noise are a function of (seed, step), so a resumed run draws the same ones."""
    settings = make_settings(tiny_data, 12, arm)
    whole = prepare_run(tmp_path / "whole", settings, tiny_data)
    assert run_here(whole) == "finished"
    cut = prepare_run(tmp_path / "cut", settings, tiny_data)
    process = start_run(cut)
    wait_for(lambda: steps_of(cut) >= 4)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert run_here(cut) == "finished"
    assert content(cut) == content(whole)
    record = read_record(whole)
    assert record.value("early_gradient") is not None


def test_a_perceptron_has_a_record_without_layer_responses(tiny_data: Path, tmp_path: Path) -> None:
    arrays = obtain("standin-grey-tiny", DataSources(tiny_data))
    arm = Arm("mlp", ModelSpec("mnist.mnist_net", {"kind": "mlp"}), BLOG_E_MNIST, watch=("shifts",))
    settings = make_settings(tiny_data, 4, arm, dataset="standin-grey-tiny", dataset_digest=arrays.digest)
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    record = read_record(folder)
    assert record.value("mean_response") is None
    assert {row["name"] for row in record.table("gradients")} == {"layers.1", "layers.3"}
    assert record.value("shift_error") is not None
    assert record.settings.arm.recipe != HE15_CIFAR


def test_an_arm_may_read_the_running_error_more_often(tiny_data: Path, tmp_path: Path) -> None:
    """A schedule of 210 steps is read every second step, the arm every fifth; evaluations and the end are read as well."""
    recipe = replace(HE15_CIFAR_WITHOUT_BN, batch_size=4, train_images=100)
    arm = Arm("stack", ModelSpec("conv_stack.conv_stack", {"depth": 4, "activation": "relu"}), recipe, share=0.1)
    read: dict[str, list[int]] = {}
    for name, changed in (("usual", arm), ("rare", replace(arm, read_every=5))):
        folder = prepare_run(tmp_path / name, make_settings(tiny_data, 210, changed, evaluate_every=9), tiny_data)
        assert run_here(folder) == "finished"
        read[name] = [int(row["iteration"]) for row in read_record(folder).table("metrics")]
    assert read == {"usual": [2, 4, 6, 8, 9, 10, 12, 14, 16, 18, 20, 21], "rare": [5, 9, 10, 15, 18, 20, 21]}
