"""Loss and error of a network on a set of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.hardware import autocast
from resnet_repro.models.inspect import in_mode
from resnet_repro.models.reconstruction import Reconstruction

# Called with logits (B, classes), log-probabilities (B, classes) and labels (B,) of each batch.
Observer = Callable[[Tensor, Tensor, Tensor], None]


@dataclass(frozen=True)
class Score:
    """The score of a network on a set of images."""

    loss: float
    """Mean cross-entropy, or relative squared error of a reconstruction."""
    error: float
    """Top-1 error in percent; NaN for a reconstruction, which has no classes."""
    images: int
    """Number of images that were scored."""


@torch.inference_mode()
def evaluate(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    precision: str,
    dist: DistContext = ALONE,
    observe: Observer | None = None,
) -> Score:
    """Score `net` in evaluation mode (running batch statistics) on batches of (images (B, C, H, W), labels (B,)).

    Images (B, V, C, H, W) hold V views of each image; the predicted probabilities are averaged over the views
    (Krizhevsky 2012, section 4.1). dist: processes that share the images, each with its own batches; the score covers all
    of them. observe: called with the predictions for each batch, unless they are reconstructions; for several views the
    logits are the averaged log-probabilities. The mode of `net` is restored. Raises ValueError if there are no batches.
    """
    dist.same_buffers(net)
    sums = torch.zeros(3, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    with in_mode(net, training=False), autocast(device.type, precision):
        for images, labels in batches:
            logits, predicted = _predict(net, images)
            if isinstance(predicted, Reconstruction):
                sums[0] += predicted.relative_error() * len(labels)
                sums[1] += math.nan
            else:
                sums[0] += F.nll_loss(predicted, labels, reduction="sum")
                sums[1] += (predicted.argmax(1) != labels).sum()
                if observe is not None:
                    observe(logits, predicted, labels)
            sums[2] += len(labels)
    loss, wrong, count = dist.all_reduce_sum(sums).tolist()
    if not count:
        raise ValueError("no batches to evaluate: expected at least one image")
    return Score(loss / count, 100 * wrong / count, int(count))


def _predict(net: nn.Module, images: Tensor) -> tuple[Any, Tensor | Reconstruction]:
    """Output of the network, and log-probabilities (B, classes) in float32 or a reconstruction of single views."""
    if images.ndim != 5:
        output = net(images)
        return output, output if isinstance(output, Reconstruction) else F.log_softmax(output.float(), 1)
    views = images.shape[1]
    logits = net(images.flatten(0, 1).contiguous(memory_format=torch.channels_last)).float()
    predicted = F.log_softmax(logits, 1).unflatten(0, (-1, views)).logsumexp(1) - math.log(views)
    return predicted, predicted
