"""The loss of networks with auxiliary heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

HEAD_WEIGHT = 0.3  # C. Szegedy et al., Going Deeper with Convolutions, 2015, section 5


def training_loss(output: Tensor | tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, Tensor]:
    """(mean cross-entropy, logits) of what a network gave for labels (N,).

    output: logits (N, classes); or a tuple of them and each auxiliary head's, whose cross-entropies are added with a
    weight of 0.3.
    """
    logits, *heads = output if isinstance(output, tuple) else (output,)
    loss = F.cross_entropy(logits, labels)
    for head in heads:
        loss = loss + HEAD_WEIGHT * F.cross_entropy(head, labels)
    return loss, logits
