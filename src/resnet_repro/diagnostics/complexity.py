"""Costs of an architecture, counted from its modules on the meta device (no memory, no arithmetic).

The conventions are those of notes-B (J. Johnson, EECS 498, lecture 8). Memory is four bytes for each output number of a
layer, in KiB (1,024 bytes). Parameters include biases. Operations are multiply-adds of convolutions and linear layers.
Activation functions, normalization, additions and concatenations work in place and take no memory.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_repro.config.arm import ModelSpec
from resnet_repro.models import build
from resnet_repro.models.inspect import forward_hooks, main_path_layers
from resnet_repro.terminal import aligned

KIB_PER_NUMBER = 4 / 1024  # float32

KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (nn.Conv2d,),
    "fc": (nn.Linear,),
    "pool": (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    "norm": (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm),
}


@dataclass(frozen=True)
class LayerCost:
    """The costs of one layer for one image."""

    name: str
    kind: str
    """One of "conv", "fc", "pool" and "norm"."""
    output: tuple[int, ...]
    """Shape of the output: (C, H, W) or (C,)."""
    memory_kib: float
    """Memory of the output in KiB; 0 for a norm."""
    params: int
    """Learned scalars. A layer that is called several times counts at its first call."""
    macs: int
    """Multiply-adds of a convolution or linear layer; numbers that pooling compares or adds; 0 for a norm."""
    in_heads: bool = False
    """Whether the layer is part of an auxiliary head, which runs in training only."""


def parameter_count(net: nn.Module) -> int:
    """Number of learned scalars."""
    return sum(parameter.numel() for parameter in net.parameters())


def trainable_count(net: nn.Module) -> int:
    """Number of learned scalars that are trained, i.e. not frozen."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def describe(spec: ModelSpec, classes: int, shape: tuple[int, int, int]) -> dict[str, int]:
    """Layers with weights on the main path, (trainable) parameters, and multiply-adds for one image of `shape` (C, H, W).

    Multiply-adds are those of convolutions and linear layers: half of the operations that torch counts. Auxiliary heads
    count in the parameters only.
    """
    net = build_on_meta(spec, classes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, *shape, device="meta"))
    layers = len(main_path_layers(net))
    return {
        "layers": layers,
        "parameters": parameter_count(net),
        "trainable_parameters": trainable_count(net),
        "multiply_adds": counter.get_total_flops() // 2,
    }


def training_operations(spec: ModelSpec, classes: int, shape: tuple[int, ...]) -> int:
    """Floating-point operations of a training step for one image: forward and backward pass, two per multiply-add.

    Counted as executed, on convolutions and linear layers. In the backward pass a layer has as many operations as in the
    forward pass for the gradient of its weights, if they are trained, and as many again for that of its input, if anything
    before it is trained: the first layer counts twice, others three times, frozen ones once. Auxiliary heads count.
    Normalization, activation functions, the loss and the optimizer do not, nor does recomputation of activations.
    shape: (C, H, W), or (D,) for features in place of images.
    """
    images = 2  # batch normalization cannot train on one
    net = build_on_meta(spec, classes).train()
    backward = 0

    def add(_: None, module: nn.Module, x: Tensor, output: Tensor) -> None:
        nonlocal backward
        assert isinstance(module, nn.Conv2d | nn.Linear)
        gradients = int(module.weight.requires_grad) + int(x.requires_grad)
        backward += 2 * gradients * _operations(module, x, tuple(output.shape[1:]))

    layers = [(None, module) for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with FlopCounterMode(display=False) as counter, forward_hooks(layers, add):
        net(torch.empty(images, *shape, device="meta"))
    return counter.get_total_flops() // images + backward


def build_on_meta(spec: ModelSpec, classes: int) -> nn.Module:
    """The network of `spec` on the meta device, without memory for its weights."""
    with torch.device("meta"):
        return build(spec, classes, seed=0)


def copy_on_meta(net: nn.Module) -> nn.Module:
    """A copy of `net` on the meta device, without memory for its weights. `net` is unchanged."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta")) for p in net.parameters()}
    memo |= {id(buffer): buffer.detach().to("meta") for buffer in net.buffers()}
    return copy.deepcopy(net, memo)


def layer_costs(net: nn.Module, shape: tuple[int, int, int]) -> list[LayerCost]:
    """The cost of each layer for one image of `shape` (C, H, W), in the order of the signal, auxiliary heads last.

    Projections in shortcuts are layers too. Pooling that is written as a function and not as a module has no row. The
    trunk is counted in evaluation mode, `net.heads` in training mode. Raises RuntimeError if the network does not accept
    images of that shape, and ValueError if it has parameters outside of the counted layers.
    """
    meta = copy_on_meta(net)
    rows = _one_pass(meta.eval(), shape, images=1)
    if next(iter(getattr(meta, "heads", None) or ()), None) is not None:
        # Two images, because batch normalization cannot train on one.
        rows += [row for row in _one_pass(meta.train(), shape, images=2) if row.in_heads]
    uncounted = parameter_count(net) - sum(row.params for row in rows)
    if uncounted:
        raise ValueError(
            f"{uncounted:,} parameters are not counted: expected all in convolutions, linear layers and norms that are used"
        )
    return rows


def totals(rows: Sequence[LayerCost]) -> dict[str, float]:
    """Sums over the layers of a network for one image.

    memory_kib, params: of all layers.
    macs: multiply-adds of convolutions and linear layers.
    weighted_memory_kib: outputs of convolutions and linear layers only.
    pool_operations: numbers that pooling compares or adds.
    conv_memory_kib, conv_params, conv_macs, and the same with fc and heads: of one kind of layer. Only the sums named
    heads include auxiliary heads.
    """
    trunk = [row for row in rows if not row.in_heads]
    heads = [row for row in rows if row.in_heads]
    of_kind = {kind: [row for row in trunk if row.kind == kind] for kind in ("conv", "fc")}
    weighted = of_kind["conv"] + of_kind["fc"]
    sums: dict[str, float] = {
        "memory_kib": sum(row.memory_kib for row in trunk),
        "params": sum(row.params for row in trunk),
        "macs": sum(row.macs for row in weighted),
        "weighted_memory_kib": sum(row.memory_kib for row in weighted),
        "pool_operations": sum(row.macs for row in trunk if row.kind == "pool"),
    }
    for part, layers in (*of_kind.items(), ("heads", heads)):
        sums[f"{part}_memory_kib"] = sum(row.memory_kib for row in layers)
        sums[f"{part}_params"] = sum(row.params for row in layers)
        sums[f"{part}_macs"] = sum(row.macs for row in layers if row.kind != "pool")
    return sums


def layer_lines(rows: Sequence[LayerCost]) -> list[str]:
    """A table of the layers and their sums for a terminal: memory in KiB, parameters in thousands, macs in millions.

    The macs column also shows the operations of pooling layers; their sum is in a separate line.
    """
    sums = totals(rows)
    cells = [("layer", "output", "memory KiB", "params k", "macs M")]
    cells += [_cells(row.name, format_shape(row.output), row.memory_kib, row.params, row.macs) for row in rows]
    cells.append(_cells("total", "", sums["memory_kib"], sums["params"], sums["macs"]))
    cells.append(_cells("pooling", "", None, None, sums["pool_operations"]))
    if any(row.in_heads for row in rows):
        cells.append(_cells("heads", "", sums["heads_memory_kib"], sums["heads_params"], sums["heads_macs"]))
    lines = aligned(cells, left=1)
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1 : 1 + len(rows)], rule, *lines[1 + len(rows) :]]


def format_shape(shape: Sequence[int]) -> str:
    """A shape as text, e.g. "64×56×56"."""
    return "×".join(map(str, shape))


def _cells(name: str, shape: str, memory: float | None, params: float | None, macs: float) -> tuple[str, ...]:
    def fixed(value: float | None, unit: float) -> str:
        return "" if value is None else f"{value / unit:,.1f}"

    return name, shape, fixed(memory, 1), fixed(params, 1e3), fixed(macs, 1e6)


def _one_pass(net: nn.Module, shape: tuple[int, int, int], images: int) -> list[LayerCost]:
    """The rows of one pass of `images` images through a network on the meta device."""
    rows: list[LayerCost] = []
    seen: set[nn.Module] = set()

    def add(layer: tuple[str, str], module: nn.Module, x: Tensor, output: Tensor) -> None:
        name, kind = layer
        size = tuple(output.shape[1:])
        memory = 0.0 if kind == "norm" else prod(size) * KIB_PER_NUMBER
        params = 0 if module in seen else parameter_count(module)
        seen.add(module)
        operations = _operations(module, x, size)
        rows.append(LayerCost(name, kind, size, memory, params, operations, in_heads="heads" in name.split(".")))

    layers = [
        ((name, kind), module)
        for name, module in net.named_modules()
        for kind, types in KINDS.items()
        if isinstance(module, types)
    ]
    with forward_hooks(layers, add), torch.no_grad():
        net(torch.empty(images, *shape, device="meta"))
    return rows


def _operations(module: nn.Module, x: Tensor, size: tuple[int, ...]) -> int:
    """The `macs` of a layer with input `x` and output of this `size` for one image."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return prod(size) * module.weight[0].numel()
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        kernel = module.kernel_size
        return prod(size) * (kernel * kernel if isinstance(kernel, int) else prod(kernel))
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        windows = [
            sum(ceil((i + 1) * before / after) - i * before // after for i in range(after))
            for before, after in zip(x.shape[2:], size[1:], strict=True)
        ]
        return size[0] * prod(windows)
    return 0
