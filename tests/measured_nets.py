"""Measurements of networks on the meta device, without weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def on_meta(builder: Callable[..., nn.Module], *arguments: object, **options: object) -> nn.Module:
    """Build a network on the meta device, which has shapes but no memory."""
    with torch.device("meta"):
        return builder(*arguments, **options).eval()


def multiply_adds(net: nn.Module, shape: tuple[int, int, int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() // 2


def maps(net: nn.Module, shape: tuple[int, int, int], names: str) -> list[tuple[int, int]]:
    """(channels, side in pixels) of the outputs of these modules. names: separated by spaces."""
    sizes: list[tuple[int, int]] = []
    for name in names.split():
        net.get_submodule(name).register_forward_hook(lambda m, inputs, out: sizes.append((out.shape[1], out.shape[2])))
    net(torch.empty(1, *shape, device="meta"))
    return sizes
