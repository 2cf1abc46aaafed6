"""Weight initialization from an explicit generator: He's, Xavier's, PyTorch's default, and special starts within stages."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn

from resnet_repro.models.blocks import BasicBlock

Init = Literal["he", "dirac", "identity", "orthogonal"]

# Mean of a rectified standard normal variable in units of its standard deviation.
RECTIFIED_MEAN = 1 / math.sqrt(math.pi - 1)


def he_initialize(net: nn.Module, seed: int) -> torch.Generator:
    """Draw the weights of convolutions and linear layers from N(0, 2/fan_in), and set their biases to zero.

    K. He et al., *Delving Deep into Rectifiers*, 2015, equation 10. Normalization layers are not changed. Shortcut
    projections are drawn last, so that nets with different shortcuts share all other weights. Returns the generator, from
    which further weights can be drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for _, layer in sorted(layers, key=lambda item: "downsample" in item[0]):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu", generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return generator


@torch.no_grad()
def initialize_within_stages(net: nn.Module, init: Init, generator: torch.Generator) -> None:
    """Replace the kernels of all 3×3 convolutions in basic blocks that keep the number of channels.

    "he": they stay as they are. "dirac": each channel passes its input on. "identity": the same, and the shift of the
    normalization after it is such that ReLU cuts nothing off, so that a non-negative input passes up to a factor per
    channel. With a scale of 1 this shift is the input's mean in units of its standard deviation. It is set to that of a
    rectified normal variable, 1/√(π−1) = 0.683; at a shift of 0, each layer sets the values below its mean to zero.
    "orthogonal": the middle of the kernel is a random orthogonal matrix from `generator`, the rest is zero, so that the
    norm of the input is kept (delta-orthogonal: L. Xiao et al., *Dynamical Isometry and a Mean Field Theory of CNNs*,
    2018). All but "identity" leave the normalization layers unchanged.
    """
    assert init in get_args(Init), init
    if init == "he":
        return
    for block in (module for module in net.modules() if isinstance(module, BasicBlock)):
        for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
            if conv.in_channels != conv.out_channels:
                continue
            if init == "orthogonal":
                matrix = torch.empty(conv.out_channels, conv.in_channels)
                nn.init.zeros_(conv.weight)[:, :, 1, 1] = nn.init.orthogonal_(matrix, generator=generator)
            else:
                nn.init.dirac_(conv.weight)
            if init == "identity":
                assert isinstance(norm.bias, nn.Parameter), "identity needs a normalization with a shift"
                nn.init.constant_(norm.bias, RECTIFIED_MEAN)


@torch.no_grad()
def scale_branches(net: nn.Module, scale: float) -> None:
    """Set the scale of the last normalization of each residual basic block, so that its branch begins weak or at zero.

    P. Goyal et al., *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour*, 2017, section 5.1: zero.
    """
    for block in (module for module in net.modules() if isinstance(module, BasicBlock)):
        assert block.downsample is not None and isinstance(block.bn2.weight, nn.Parameter)
        nn.init.constant_(block.bn2.weight, scale)


def xavier_initialize(net: nn.Module, seed: int) -> None:
    """Draw the weights of convolutions and linear layers from U(-a, a), a = √(6 / (fan_in + fan_out)); biases are zero.

    X. Glorot and Y. Bengio, *Understanding the difficulty of training deep feedforward neural networks*, 2010, equation 16.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def torch_initialize(net: nn.Module, seed: int) -> None:
    """Draw weights and biases of convolutions and linear layers uniformly in ±1/√fan_in, PyTorch's default.

    They are drawn in the order of the layers from a separate generator, so they depend on `seed` alone.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
