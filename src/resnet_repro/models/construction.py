"""Construction of a deeper network that computes the function of a shallower one (He15 section 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from resnet_repro.models.cifar import BasicBlock, CifarNet
from resnet_repro.models.inspect import forward_hooks, in_mode

STAGES = ("layer1", "layer2", "layer3")


@torch.no_grad()
def deepen(
    parent: nn.Module,
    child: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    scale: float = 0.0,
    perturbation: float = 0.0,
) -> None:
    """Set the weights of `child` so that it computes the function of `parent`, a shallower net of the same family.

    Each stage begins with copies of the parent's blocks; the blocks after them are the identity. In a residual net, the
    last batch normalization of these blocks has scale and shift zero. In a plain net, their kernels are the identity on
    each channel and batch normalization undoes itself: its scale is the standard deviation of its input, its shift the
    mean. ReLU does not change the non-negative input. In training mode a plain net is only approximately the parent,
    because the statistics of a batch differ.

    batches: (images (B, C, H, W), labels (B,)) to measure mean and variance; used for plain nets only.
    scale: scale of the last batch normalization of added residual blocks. Unless it is 0 these blocks act from the start,
    and the child computes another function.
    perturbation: factor of the child's present kernels in added plain layers, which are added to the identity. Unless it is
    0 the child computes another function. The statistics, scales and shifts are those of the unperturbed net.

    Raises ValueError for a scale other than 0 in a plain net, for a perturbation other than 0 in a residual net, and unless
    both are CIFAR nets of the same kind, with batch normalization and span 2, and the child is not the shallower one.
    """
    if not isinstance(parent, CifarNet) or not isinstance(child, CifarNet):
        raise ValueError(f"cannot build {type(child).__name__} from {type(parent).__name__}: expected two CIFAR nets")
    for option in ("kind", "norm", "span"):
        value, parent_value = getattr(child, option), getattr(parent, option)
        if value != parent_value:
            raise ValueError(f"cannot build a net of {option} {value} from {option} {parent_value}: expected the same")
    if child.norm != "batch" or child.span != 2:
        raise ValueError(f"cannot build a net of norm {child.norm} and span {child.span}: expected batch and 2")
    if scale and child.kind == "plain":
        raise ValueError(f"cannot add blocks of scale {scale:g} to a plain net: expected 0")
    if perturbation and child.kind != "plain":
        raise ValueError(f"cannot perturb added blocks of a residual net by {perturbation:g}: expected 0, or a scale")
    pairs = [(_blocks(parent, stage), _blocks(child, stage)) for stage in STAGES]
    if any(len(shallow) > len(deep) for shallow, deep in pairs):
        raise ValueError("cannot build a net from a deeper one: expected a shallower parent")
    for name in ("conv1", "bn1", "fc"):
        getattr(child, name).load_state_dict(getattr(parent, name).state_dict())
    moments = _input_moments(parent, batches) if child.kind == "plain" else {}
    for stage, (shallow, deep) in zip(STAGES, pairs, strict=True):
        for child_block, parent_block in zip(deep[: len(shallow)], shallow, strict=True):
            child_block.load_state_dict(parent_block.state_dict())
        for block in deep[len(shallow) :]:
            if child.kind == "plain":
                _pass_through(block, *moments[stage], perturbation)
            else:
                nn.init.constant_(block.bn2.weight, scale)  # type: ignore[arg-type]
                nn.init.zeros_(block.bn2.bias)  # type: ignore[arg-type]


def _blocks(net: nn.Module, stage: str) -> list[BasicBlock]:
    return [cast(BasicBlock, block) for block in cast(nn.Sequential, net.get_submodule(stage))]


def _pass_through(block: BasicBlock, mean: Tensor, variance: Tensor, perturbation: float) -> None:
    """Make a plain block the identity on non-negative inputs with this mean and variance (C,) of each channel.

    perturbation: factor of the block's present kernels, which are added to the identity.
    """
    for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        assert isinstance(norm, nn.BatchNorm2d)
        noise = perturbation * conv.weight
        nn.init.dirac_(conv.weight).add_(noise)
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)


def _input_moments(net: CifarNet, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return {stage: (mean (C,), variance (C,)) of its output}, in evaluation mode, accumulated in double precision."""
    sums: dict[str, Tensor] = {}

    def add(stage: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        values = output.cpu().double()  # Apple's GPUs have no float64
        count = torch.full((values.shape[1],), values.numel() / values.shape[1], device=values.device)
        batch_sums = torch.stack([count.double(), values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        sums[stage] = sums[stage] + batch_sums if stage in sums else batch_sums

    with in_mode(net, training=False), forward_hooks([(stage, net.get_submodule(stage)) for stage in STAGES], add):
        for images, _ in batches:
            net(images)
    if not sums:
        raise ValueError("no batches to measure the statistics of added layers: expected at least one")
    moments = {}
    for stage, (count, total, squares) in sums.items():
        mean = total / count
        moments[stage] = mean.float(), (squares / count - mean.square()).clamp(min=0).float()
    return moments
