"""Layer responses: how strongly each layer changes the signal (He15 section 4.2 and figure 7)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_repro.hardware import autocast
from resnet_repro.models.inspect import forward_hooks, in_mode, responding_modules


@torch.inference_mode()
def layer_responses(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device, precision: str
) -> list[tuple[str, float]]:
    """(name of the convolution, standard deviation of its response), in the order of the layers.

    The response is the output of the batch normalization after a convolution, before nonlinearity and addition; if no
    normalization follows, that of the convolution. The standard deviation is over all images, channels and pixels of
    `batches` of (images (B, C, H, W), labels), with the network in evaluation mode.
    """
    sources = responding_modules(net)
    sums = torch.zeros(len(sources), 3, dtype=torch.float64)

    def add(index: int, module: nn.Module, x: Tensor, output: Tensor) -> None:
        count = output.numel()
        variance, mean = torch.var_mean(output.float(), correction=0)
        mean, variance = mean.item(), variance.item()
        sums[index] += torch.tensor([count, count * mean, count * (variance + mean**2)], dtype=torch.float64)

    modules = enumerate(module for _, module in sources)
    with in_mode(net, training=False), forward_hooks(modules, add), autocast(device.type, precision):
        for images, _ in batches:
            net(images)
    count, total, squares = sums.unbind(1)
    deviations = (squares / count - (total / count) ** 2).clamp(min=0).sqrt()
    return [(name, deviation) for (name, _), deviation in zip(sources, deviations.tolist(), strict=True)]
