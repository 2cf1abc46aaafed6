"""Backpropagation that computes activations again instead of keeping them, and what it takes to keep them.

T. Chen et al., *Training Deep Nets with Sublinear Memory Cost*, 2016: with segments of about √n blocks the memory for
n blocks falls to some √n of them, for one more forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnet_repro.models.heads import training_loss
from resnet_repro.models.inspect import in_mode

STAGE = "layer"  # what the stages of blocks are called in every network here


@contextmanager
def frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Inside, a forward pass in training mode normalizes by the batch as usual and leaves running statistics alone.

    They still take part, with momentum 0: autograd must find the same tensors in a repeated pass as in the first.
    """
    tracking = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
    kept = [(module.momentum, module.num_batches_tracked) for module in tracking]
    for module in tracking:
        module.momentum, module.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for module, (momentum, count) in zip(tracking, kept, strict=True):
            module.momentum, module.num_batches_tracked = momentum, count


def recompute_activations(net: nn.Module) -> None:
    """Make training passes of `net` keep the inputs of segments of blocks only, and compute the rest again.

    Every stage (`layer1`, `layer2`, ..., each a Sequential of blocks) is cut into segments of about √blocks. Gradients
    and running statistics are those of the plain pass, bit for bit in eager mode on a CPU: the second pass runs under
    the same autocast and updates no statistics. Keys of the state dict, evaluation, and `net` called under no_grad are
    as before. Raises ValueError for a network without stages.
    """
    stages = _stages(net)
    if not stages:
        raise ValueError(f"{type(net).__name__} has no stages {STAGE}1, {STAGE}2, ...: it cannot recompute")
    for stage in stages:
        stage.forward = partial(_in_segments, cast(nn.Sequential, stage))  # type: ignore[method-assign]


def can_recompute(net: nn.Module) -> bool:
    """Whether `net` has stages of blocks that can be computed again."""
    return bool(_stages(net))


def _stages(net: nn.Module) -> list[nn.Module]:
    return [stage for name, stage in net.named_children() if name.startswith(STAGE)]


def _in_segments(stage: nn.Sequential, x: Tensor) -> Tensor:
    if not (stage.training and torch.is_grad_enabled()):
        for block in stage:
            x = block(x)
        return x
    size = max(1, round(math.sqrt(len(stage))))
    for start in range(0, len(stage), size):
        segment = stage[start : start + size]
        contexts = partial(_contexts, segment)
        x = cast(Tensor, checkpoint(segment, x, use_reentrant=False, context_fn=contexts, preserve_rng_state=False))
    return x


def _contexts(segment: nn.Module):
    """Around the first pass of a segment, and around its repetition."""
    return nullcontext(), frozen_statistics(segment)


def stored_bytes(net: nn.Module, images: Tensor, labels: Tensor, precision: str) -> int:
    """Bytes that a training step on images (B, C, H, W) and labels (B,) keeps for its backward pass.

    Measured on a real forward pass in training mode: every storage that autograd saves, once, parameters left out. It
    grows linearly with B. Running statistics and gradients are left as they were.
    """
    parameters = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[int, Tensor] = {}  # holding the tensors keeps their addresses from being used again

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        in_mode(net, training=True),
        frozen_statistics(net),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False),
    ):
        training_loss(net(images), labels)
    weights = sum(p.numel() for p in net.parameters()) * 2 if precision == "bf16" else 0  # cast for autocast
    return max(0, sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) - weights)
