"""Layer responses: how strongly each layer changes the signal.  He15 section 4.2 and figure 7."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_repro.models.inspect import responding_modules


@torch.inference_mode()
def layer_responses(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device, precision: str
) -> list[tuple[str, float]]:
    """(name of the convolution, standard deviation of its response) in the order of the layers.

    The response is the output of a convolution's batch normalization, before the nonlinearity and the addition; of the
    convolution itself where no normalization follows it. In evaluation mode, over all images, channels and pixels of
    `batches` of (images (B, C, H, W), labels).
    """
    sources = responding_modules(net)
    sums = torch.zeros(len(sources), 3, dtype=torch.float64)

    def hook(index: int):
        def add(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            values = output.float()
            count = values.numel()
            variance, mean = torch.var_mean(values, correction=0)
            mean, variance = mean.item(), variance.item()
            sums[index] += torch.tensor([count, count * mean, count * (variance + mean**2)], dtype=torch.float64)

        return add

    was_training = net.training
    net.eval()
    handles = []
    try:
        for index, (_, source) in enumerate(sources):
            handles.append(source.register_forward_hook(hook(index)))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for images, _ in batches:
                net(images)
    finally:
        for handle in handles:
            handle.remove()
        net.train(was_training)
    count, total, squares = sums.unbind(1)
    deviations = (squares / count - (total / count) ** 2).clamp(min=0).sqrt()
    return [(name, deviation) for (name, _), deviation in zip(sources, deviations.tolist(), strict=True)]
