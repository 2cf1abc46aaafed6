"""He initialization (K. He et al., *Delving Deep into Rectifiers*, 2015, equation 10), from an explicit generator."""

from __future__ import annotations

import torch
from torch import nn


def he_initialize(net: nn.Module, seed: int) -> None:
    """Draw every convolution's and linear layer's weights from N(0, 2/fan_in); biases and norms keep their defaults 0 and 1.

    Shortcut projections are drawn last, so that nets which differ in their shortcuts alone share all other weights.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for _, layer in sorted(layers, key=lambda item: "downsample" in item[0]):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu", generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
