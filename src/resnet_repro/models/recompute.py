"""Recomputation of activations in the backward pass, and the memory of stored activations.

T. Chen et al., *Training Deep Nets with Sublinear Memory Cost*, 2016: with segments of about √n blocks, the memory of n
blocks is reduced to that of about √n blocks, at the cost of a second forward pass.
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

STAGE = "layer"  # prefix of the names of stages, in all networks here


@contextmanager
def frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Keep running statistics constant inside the context. Forward passes in training mode still normalize by the batch.

    Momentum is set to 0, and tracking stays on: a repeated pass must save the same tensors for autograd as the first.
    """
    tracking = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
    before = [(module.momentum, module.num_batches_tracked) for module in tracking]
    for module in tracking:
        module.momentum, module.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for module, (momentum, count) in zip(tracking, before, strict=True):
            module.momentum, module.num_batches_tracked = momentum, count


def recompute_activations(net: nn.Module) -> None:
    """Change training passes of `net` to store only the inputs of segments of blocks, and recompute other activations.

    Each stage (`layer1`, `layer2`, ..., a Sequential of n blocks) is divided into segments of about √n blocks. Gradients
    and running statistics equal those without recomputation, bit for bit in eager mode on a CPU: the second pass runs under
    the same autocast and does not update statistics. State dict keys, evaluation and passes under no_grad do not change.
    Raises ValueError for a network without stages.
    """
    stages = _stages(net)
    if not stages:
        raise ValueError(f"{type(net).__name__} cannot recompute activations: expected stages {STAGE}1, {STAGE}2, ...")
    for stage in stages:
        stage.forward = partial(_in_segments, cast(nn.Sequential, stage))  # type: ignore[method-assign]


@contextmanager
def stored_activations(net: nn.Module) -> Iterator[None]:
    """Store all activations inside the context, for derivatives that recomputation does not allow (torch.func)."""
    recomputing = [stage for stage in _stages(net) if "forward" in vars(stage)]
    replaced = [vars(stage).pop("forward") for stage in recomputing]
    try:
        yield
    finally:
        for stage, forward in zip(recomputing, replaced, strict=True):
            stage.forward = forward


def can_recompute(net: nn.Module) -> bool:
    """Whether `net` has stages of blocks that can be recomputed."""
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
    """Return the contexts of the first pass of a segment, and of its recomputation."""
    return nullcontext(), frozen_statistics(segment)


def stored_bytes(net: nn.Module, images: Tensor, labels: Tensor, precision: str) -> int:
    """Return the bytes that a training step on images (B, C, H, W) and labels (B,) stores for its backward pass.

    Measured in a forward pass in training mode, as the sum of the distinct storages that autograd saves, without
    parameters. It grows linearly with B. Running statistics and gradients do not change.
    """
    parameters = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    saved: dict[int, Tensor] = {}  # by address; while a tensor is alive its address is not reused

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        in_mode(net, training=True),
        frozen_statistics(net),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False),
    ):
        training_loss(net(images), labels)
    weights = sum(p.numel() for p in net.parameters()) * 2 if precision == "bf16" else 0  # autocast's bf16 copies
    return max(0, sum(tensor.untyped_storage().nbytes() for tensor in saved.values()) - weights)
