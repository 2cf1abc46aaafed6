"""The pieces of a training step: evaluation, precision, and what gradients say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.inspect import forward_hooks, in_mode
from resnet_repro.models.weights import state_sha256

CPU = torch.device("cpu")


def test_evaluation_uses_running_statistics_and_leaves_them_alone(tiny_data: Path) -> None:
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
def test_mode_and_hooks_are_as_before_where_a_pass_fails(training: bool) -> None:
    net, seen = cifar_net("resnet", 8).train(training), []
    images = torch.zeros(2, 3, 32, 32)
    look = forward_hooks([("fc", net.fc)], lambda key, module, x, output: seen.append((key, net.training)))
    with pytest.raises(RuntimeError, match="channels"), in_mode(net, not training), look:
        list(map(net, (images, images[:, :1])))
    assert net.training is training
    net(images)
    assert seen == [("fc", not training)]
