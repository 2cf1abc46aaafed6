"""Training loss of networks, with or without auxiliary heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

HEAD_WEIGHT = 0.3  # C. Szegedy et al., Going Deeper with Convolutions, 2015, section 5


def training_loss(output: Tensor | tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (mean cross-entropy, logits (N, classes)) of a network's output for labels (N,).

    output: logits (N, classes), or a tuple of the logits and those of each auxiliary head. The cross-entropy of a head is
    added with weight `HEAD_WEIGHT`.
    """
    logits, *heads = output if isinstance(output, tuple) else (output,)
    loss = F.cross_entropy(logits, labels)
    for head in heads:
        loss = loss + HEAD_WEIGHT * F.cross_entropy(head, labels)
    return loss, logits
