"""Evaluation of a network, and summaries of its gradients."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.diagnostics.gradients import gradient_diagnostics
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.inspect import forward_hooks, in_mode
from resnet_repro.models.weights import state_sha256
from resnet_repro.tables import Table

CPU = torch.device("cpu")


def test_evaluation_uses_running_statistics_without_updating_them(tiny_data: Path) -> None:
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    data = InMemoryData(arrays, StreamConfig(HE15_CIFAR, 0, 1, CPU))
    net = cifar_net("resnet", 8).train()
    before = state_sha256(net.state_dict())
    whole = evaluate(net, data.batches("test", 100), CPU, "fp32")
    parts = [
        evaluate(net, [(images[i : i + 10], labels[i : i + 10])], CPU, "fp32")
        for images, labels in data.batches("test", 100)
        for i in range(0, 100, 10)
    ]
    assert whole.loss == pytest.approx(sum(part.loss for part in parts) / 10, rel=1e-5)
    assert net.training
    assert state_sha256(net.state_dict()) == before
    with pytest.raises(ValueError, match="no batches"):
        evaluate(net, [], CPU, "fp32")


@pytest.mark.parametrize("training", [True, False])
def test_a_failed_forward_pass_restores_mode_and_hooks(training: bool) -> None:
    net, calls = cifar_net("resnet", 8).train(training), []
    images = torch.zeros(2, 3, 32, 32)
    look = forward_hooks([("fc", net.fc)], lambda key, module, x, output: calls.append((key, net.training)))
    with pytest.raises(RuntimeError, match="channels"), in_mode(net, not training), look:
        list(map(net, (images, images[:, :1])))
    assert net.training is training
    net(images)
    assert calls == [("fc", not training)]


def test_gradient_diagnostics_show_vanishing_gradients(tmp_path: Path) -> None:
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


def test_the_early_gradient_covers_the_first_tenth_of_the_steps(tmp_path: Path) -> None:
    table = Table(tmp_path / "gradients.csv", ("layer", "name", "norm"))
    table.rewind(0)
    for step, norm in ((1, 1.0), (10, 0.01), (11, 1e-9), (100, 1e-9)):
        table.append({"iteration": step, "layer": i, "name": "conv", "norm": norm} for i in range(1, 10))
    assert gradient_diagnostics(table.path, iterations=100)["early_gradient"] == pytest.approx(-1)


def test_the_first_gradient_is_that_of_the_first_step(tmp_path: Path) -> None:
    table = Table(tmp_path / "gradients.csv", ("layer", "name", "norm"))
    table.rewind(0)
    for step, norms in ((1, [1e-4] * 3 + [1e-3] * 3 + [1e-2] * 3), (10, [1.0] * 9)):
        table.append({"iteration": step, "layer": i, "name": "conv", "norm": norm} for i, norm in enumerate(norms, 1))
    diagnosed = gradient_diagnostics(table.path, iterations=100)
    assert diagnosed["first_gradient"] == pytest.approx(-4)
    assert diagnosed["first_gradient_decay"] == pytest.approx(-2)
