"""What an architecture costs, counted from the real modules on the meta device (no memory, no arithmetic)."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_repro.experiment import ModelSpec
from resnet_repro.models import build
from resnet_repro.models.inspect import main_path_convolutions


def parameter_count(net: nn.Module) -> int:
    """Number of learned scalars."""
    return sum(parameter.numel() for parameter in net.parameters())


def describe(spec: ModelSpec, classes: int, shape: tuple[int, int, int]) -> dict[str, int]:
    """Layers with weights on the main path, parameters, and multiply-adds of one image of `shape` (C, H, W).

    Multiply-adds are those of convolutions and linear layers, half of the operations that torch counts.
    """
    net = build(spec, classes, seed=0).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, *shape, device="meta"))
    layers = len(main_path_convolutions(net)) + sum(isinstance(m, nn.Linear) for m in net.modules())
    return {"layers": layers, "parameters": parameter_count(net), "multiply_adds": counter.get_total_flops() // 2}
