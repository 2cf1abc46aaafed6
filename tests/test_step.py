"""The pieces of a training step: evaluation, precision, and what gradients say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import resnet_repro.data.sources
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.diagnostics.gradients import gradient_diagnostics
from resnet_repro.errors import UserError
from resnet_repro.files import Table
from resnet_repro.hardware import processor_name, resolve_precision
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.weights import state_sha256

CPU = torch.device("cpu")


def test_evaluation_uses_running_statistics_and_leaves_them_alone(tiny_data: Path) -> None:
    arrays = resnet_repro.data.sources.obtain("standin-tiny", tiny_data, None, lambda text: None)
    data = InMemoryData(arrays, HE15_CIFAR, 0, 1, CPU)
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


def test_precision_is_asked_of_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("avx512_f", "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capability: {c: True, "avx2": True})
        assert resolve_precision("auto", "cpu") == expected
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: (7, 5) if gpu else (8, 0))
    assert resolve_precision("auto", "cuda") == "bf16"
    assert resolve_precision("auto", "cuda", gpus=[0, 1]) == "fp32"
    assert resolve_precision("bf16", "cuda", gpus=[0, 1]) == "bf16"
    with pytest.raises(UserError, match="fp16"):
        resolve_precision("fp16", "cpu")


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (
            "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7763 64-Core Processor\n",
            "AMD EPYC 7763 64-Core Processor",
        ),
        (
            "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nmodel\t: 3\n",
            "AMD EPYC, family 26 model 2",
        ),
        ("model name\t: ARMv8 Processor\n", "ARMv8 Processor"),
        ("model name\t: Processor\nmodel\t: none\n", "Processor"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", None),
    ],
)
def test_processors_whose_name_tells_no_generation_are_told_apart(cpuinfo: str, name: str | None) -> None:
    assert processor_name(cpuinfo) == name
