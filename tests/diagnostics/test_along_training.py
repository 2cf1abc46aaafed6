"""Diagnostics along the training: input shifts, and the dependence of predictions on the mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import sleep

import pytest
import torch
from trained_runs import diagnostic_context

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.diagnostics.along_training import ForwardTime, InputShift, Modes
from resnet_repro.models import build
from resnet_repro.tables import read_rows


def test_an_input_shift_is_in_units_of_the_inputs_standard_deviation(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("plain", 8, HE15_CIFAR, watch=("inputs",))
    diagnostic = InputShift(diagnostic_context(tmp_path, tiny_data, arm))
    diagnostic.tables[0].rewind(-1)
    net = build(arm.model, 10, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    diagnostic.along(net, 0)
    diagnostic.along(net, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert {float(row["mean_shift"]) for row in read_rows(tmp_path / "inputs.csv")} == {0.0}
    inputs: list[torch.Tensor] = []
    first = net.get_submodule("layer1.0.conv1")
    handle = first.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0].detach()))
    images = torch.cat([x for x, _ in diagnostic.context.data.batches("train", 500)])
    net.train()
    net(images)
    with torch.no_grad():
        net.bn1.bias += 5.0  # type: ignore[operator]  far from the ReLU's kink: every input rises by nearly 5
    net(images)
    handle.remove()
    diagnostic.along(net, 2)
    row = next(r for r in read_rows(tmp_path / "inputs.csv") if (r["iteration"], r["layer"]) == ("2", "2"))
    old, new = (x.mean((0, 2, 3)) for x in inputs)
    spread = inputs[0].var((0, 2, 3), correction=0).mean().sqrt()
    assert float(row["mean_shift"]) == pytest.approx(float((new - old).square().mean().sqrt() / spread), rel=1e-3)
    assert diagnostic.finish(net)["input_mean_shift"] > 0


@pytest.mark.parametrize(("norm", "depends"), [("batch", True), ("group", False), ("layer", False), ("none", False)])
def test_predictions_depend_on_the_mode_only_with_batch_statistics(
    norm: str, depends: bool, tiny_data: Path, tmp_path: Path
) -> None:
    arm = cifar_arm("plain", 8, replace(HE15_CIFAR, batch_size=4), norm=norm, watch=("modes",))
    net = build(arm.model, 10, seed=0)
    change = Modes(diagnostic_context(tmp_path, tiny_data, arm)).finish(net)["mode_change"]
    assert (change > 1) if depends else (change == 0)
    assert net.training


def test_forward_time_is_that_of_a_usual_pass_of_training(tiny_data: Path, tmp_path: Path) -> None:
    class Sleeping(torch.nn.Module):
        passes = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert self.training and torch.is_grad_enabled() and len(x) == 16
            self.passes += 1
            sleep(0.5 if self.passes in (1, 9) else 0.01)  # compilation, and another process on the machine
            return x

    arm = cifar_arm("plain", 8, replace(HE15_CIFAR, batch_size=16), watch=("forward",))
    net = Sleeping()
    seconds = ForwardTime(diagnostic_context(tmp_path, tiny_data, arm)).finish(net)["forward_seconds"]
    assert 0.01 <= seconds < 0.25
    assert net.training and net.passes > 10
