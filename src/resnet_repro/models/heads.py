"""Training loss of networks: classifiers with or without auxiliary heads, and reconstructions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from resnet_repro.models.reconstruction import Reconstruction

HEAD_WEIGHT = 0.3  # C. Szegedy et al., Going Deeper with Convolutions, 2015, section 5


def training_loss(output: Tensor | tuple[Tensor, ...] | Reconstruction, labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return (loss, logits (N, classes)) of a network's output for labels (N,). A reconstruction has no logits.

    output: logits (N, classes), or a tuple of the logits and those of each auxiliary head: the loss is the mean
    cross-entropy; that of a head is added with weight `HEAD_WEIGHT`. Or a reconstruction: the loss is its relative error.
    """
    if isinstance(output, Reconstruction):
        return output.relative_error(), None
    logits, *heads = output if isinstance(output, tuple) else (output,)
    loss = F.cross_entropy(logits, labels)
    for head in heads:
        loss = loss + HEAD_WEIGHT * F.cross_entropy(head, labels)
    return loss, logits
