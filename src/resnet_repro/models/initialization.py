"""Weight initialization from an explicit generator: He's, Xavier's, and PyTorch's default."""

from __future__ import annotations

import math

import torch
from torch import nn


def he_initialize(net: nn.Module, seed: int) -> None:
    """Draw the weights of convolutions and linear layers from N(0, 2/fan_in), and set their biases to zero.

    K. He et al., *Delving Deep into Rectifiers*, 2015, equation 10. Normalization layers are not changed. Shortcut
    projections are drawn last, so that nets with different shortcuts share all other weights.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for _, layer in sorted(layers, key=lambda item: "downsample" in item[0]):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu", generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


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
