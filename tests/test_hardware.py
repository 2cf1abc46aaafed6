"""Detection of bf16 support and of processor names."""

from __future__ import annotations

import pytest
import torch

from resnet_repro.errors import UserError
from resnet_repro.hardware import processor_name, resolve_precision


def test_auto_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_processor_name_without_a_number_gets_family_and_model(cpuinfo: str, name: str | None) -> None:
    assert processor_name(cpuinfo) == name
