"""Structure of a network, found in one pass of an image on the meta device: depth, kernels, pooling, stages, branches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from resnet_repro.diagnostics.complexity import copy_on_meta
from resnet_repro.models.inspect import forward_hooks, main_path

Shape = tuple[int, int, int]

POOLING = (nn.MaxPool2d, nn.AvgPool2d)
SPATIAL = (nn.Conv2d, *POOLING)

_RELUS = (torch.ops.aten.relu, torch.ops.aten.relu_)
_ACTIVATIONS = (
    *_RELUS,
    torch.ops.aten.tanh,
    torch.ops.aten.tanh_,
    torch.ops.aten.sigmoid,
    torch.ops.aten.sigmoid_,
)
# Names of autograd's nodes: convolutions, linear layers with biases, and without.
_WEIGHTED = ("ConvolutionBackward", "AddmmBackward", "MmBackward")


@dataclass(frozen=True)
class Step:
    """The pass of one image through one convolution or pooling layer."""

    name: str
    layer: nn.Module
    before: tuple[int, ...]
    """Shape of the input, without the batch."""
    after: tuple[int, ...]
    """Shape of the output, without the batch."""
    source: int
    """Number of the input: equal for layers that take the same map."""


@dataclass(frozen=True)
class Pass:
    """What happens in one pass of an image."""

    steps: Sequence[Step]
    """Convolutions and pooling layers, in the order in which they run."""
    path: Sequence[Shape]
    """The maps along the main path, up to global pooling."""
    activations: Counter[str]
    """{"relu" or "other": number of times that the function is applied to a map or vector}."""
    depth: int
    """Layers with weights on the longest way from the image to the output."""


def watched_pass(net: nn.Module, shape: Shape) -> Pass:
    """Pass an image of `shape` (C, H, W) through a copy of `net` in evaluation mode, and note what happens.

    A module with submodules is one step of the main path, unless it is a container such as `nn.Sequential`. Shortcuts are
    not on the main path.
    """
    net = copy_on_meta(net).eval()
    path: list[Shape] = []
    steps: list[Step] = []
    sources: list[Tensor] = []  # kept alive, since a freed tensor's id may be that of a later one

    def look(at: tuple[str, bool, bool], module: nn.Module, x: Tensor, output: Tensor) -> None:
        name, on_main, on_path = at
        if on_path and output.dim() == 4:
            path.append((output.shape[1], output.shape[2], output.shape[3]))
        if on_main and isinstance(module, SPATIAL):
            sources.append(x)
            steps.append(Step(name, module, tuple(x.shape[1:]), tuple(output.shape[1:]), id(x)))

    on_main = {name for name, _ in main_path(net)[1:]}
    modules = [
        ((name, name in on_main, name in on_main and _is_step(net, name, module)), module)
        for name, module in net.named_modules()
        if name
    ]
    with forward_hooks(modules, look), _Activations() as activations, torch.enable_grad():
        output = net(torch.empty(1, *shape, device="meta"))
    return Pass(steps, path, activations.applied, _depth(output))


def stage_ends(path: Sequence[Shape]) -> list[Shape]:
    """The last map of each spatial size, which is the end of a stage.

    Channels go up and down inside bottlenecks and Inception modules; only the output of a stage's last module counts.
    """
    return [shape for shape, after in pairwise(path) if shape[1:] != after[1:]] + list(path[-1:])


def structure(seen: Pass, shape: Shape) -> dict[str, float]:
    """Measures of the structure of a network by name, from one pass of an image of `shape` (C, H, W).

    input_side: of the image, in pixels.
    depth: layers with weights on the longest way from the image to the output.
    relus, activations: times that a ReLU, or any of ReLU, tanh and sigmoid, is applied.
    conv_layers, max_pools: number of convolutions and of max pooling layers, without shortcuts.
    branches: largest number of convolutions and pooling layers that take the same map, without shortcuts.
    smallest_conv_kernel, largest_conv_kernel, and the same with stride, padding and pool: over all such layers, in pixels.
    overlapping_pools: pooling layers whose windows overlap: their stride is below their kernel.
    halving_pools: pooling layers that halve the side of the map exactly. pool_layers: all of them, but global ones.
    pool_channel_changes: pooling layers with another number of output than input channels.
    stages: number of map sizes at which there is a convolution.
    stage1_convs, stage2_convs, ...: convolutions whose output has the first, second, ... of the map sizes of the main path.
    stage2_growth, stage3_growth, ...: channels at the end of the stage divided by those at the end of the one before.
    last_channels, last_side: of the last map, before global pooling or linear layers.
    """
    values: dict[str, float] = {
        "input_side": shape[1],
        "depth": seen.depth,
        "relus": seen.activations["relu"],
        "activations": seen.activations.total(),
        "max_pools": sum(isinstance(step.layer, nn.MaxPool2d) for step in seen.steps),
        "branches": max(Counter(step.source for step in seen.steps).values(), default=0),
    }
    return values | _convolutions(seen.steps) | _pooling(seen.steps) | _stages(seen)


def _convolutions(steps: Sequence[Step]) -> dict[str, float]:
    layers = [step.layer for step in steps if isinstance(step.layer, nn.Conv2d)]
    return {"conv_layers": len(layers)} | _range("conv", layers, ("kernel_size", "stride", "padding"))


def _pooling(steps: Sequence[Step]) -> dict[str, float]:
    pooling = [step for step in steps if isinstance(step.layer, POOLING)]
    if not pooling:
        return {}
    layers = [step.layer for step in pooling]
    return {
        "pool_layers": len(pooling),
        "overlapping_pools": sum(side_of(layer, "stride") < side_of(layer, "kernel_size") for layer in layers),
        "halving_pools": sum(step.before[1] == 2 * step.after[1] for step in pooling),
        "pool_channel_changes": sum(step.before[0] != step.after[0] for step in pooling),
    } | _range("pool", layers, ("kernel_size", "stride"))


def _range(kind: str, layers: Sequence[nn.Module], attributes: Sequence[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for attribute in attributes if layers else ():
        sides = [side_of(layer, attribute) for layer in layers]
        word = attribute.removesuffix("_size")
        values |= {f"smallest_{kind}_{word}": min(sides), f"largest_{kind}_{word}": max(sides)}
    return values


def _stages(seen: Pass) -> dict[str, float]:
    ends = stage_ends(seen.path)
    if not ends:
        return {}
    convolutions = Counter(step.after[1:] for step in seen.steps if isinstance(step.layer, nn.Conv2d))
    values: dict[str, float] = {
        "stages": len(convolutions),
        "last_channels": ends[-1][0],
        "last_side": ends[-1][1],
    }
    for place, end in enumerate(ends, start=1):
        values[f"stage{place}_convs"] = convolutions[end[1:]]
    for place, (before, end) in enumerate(pairwise(ends), start=2):
        values[f"stage{place}_growth"] = end[0] / before[0]
    return values


def side_of(layer: nn.Module, name: str, default: int | None = None) -> int:
    """An attribute of a layer with square kernels, such as its kernel size, along one side."""
    value = getattr(layer, name) if default is None else getattr(layer, name, default)
    if isinstance(value, int):
        return value
    assert len(set(value)) == 1, f"{name} of {layer} is not square"
    return value[0]


def _is_step(net: nn.Module, name: str, module: nn.Module) -> bool:
    """Whether the output of a module is one step of the main path."""
    if isinstance(module, nn.Sequential | nn.ModuleDict | nn.ModuleList | nn.AdaptiveAvgPool2d):
        return False
    parts = name.split(".")
    above = (net.get_submodule(".".join(parts[:end])) for end in range(1, len(parts)))
    return all(isinstance(m, nn.Sequential) for m in above)


class _Activations(TorchDispatchMode):
    """Count how often activation functions are applied inside the context, as modules or as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in _ACTIVATIONS:
            self.applied["relu" if func.overloadpacket in _RELUS else "other"] += 1
        return func(*args, **(kwargs or {}))


def _depth(output: Tensor) -> int:
    """Layers with weights on the longest path of the graph that autograd has recorded for `output`."""
    # Without recursion, since the deepest nets have more layers than Python allows calls.
    longest: dict[Any, int] = {}
    pending: list[tuple[Any, bool]] = [(output.grad_fn, False)]
    while pending:
        node, has_inputs = pending.pop()
        if node is None or (node in longest and not has_inputs):
            continue
        inputs = [before for before, _ in node.next_functions if before is not None]
        if has_inputs:
            has_weights = node.name().startswith(_WEIGHTED)
            longest[node] = has_weights + max((longest[before] for before in inputs), default=0)
        else:
            pending.append((node, True))
            pending += [(before, False) for before in inputs if before not in longest]
    return longest.get(output.grad_fn, 0)
