"""First weights from an explicit generator: He initialization, and PyTorch's own."""

from __future__ import annotations

import math

import torch
from torch import nn


def he_initialize(net: nn.Module, seed: int) -> None:
    """Draw every convolution's and linear layer's weights from N(0, 2/fan_in); biases and norms keep their defaults 0 and 1.

    K. He et al., *Delving Deep into Rectifiers*, 2015, equation 10.
    Shortcut projections are drawn last, so that nets which differ in their shortcuts alone share all other weights.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for _, layer in sorted(layers, key=lambda item: "downsample" in item[0]):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu", generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def torch_initialize(net: nn.Module, seed: int) -> None:
    """PyTorch's own defaults: weights and biases of convolutions and linear layers uniform in ±1/√fan_in.

    Drawn from a generator of its own, in the order of the layers, so that a net does not depend on what was drawn before.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
