"""The predictions of a network for single images, collected while it is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnet_repro.distributed import DistContext
from resnet_repro.records.predictions import keeps_correct, keeps_logits

LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Predictions:
    """Predictions for N images, in the order of their split."""

    correct: np.ndarray
    """(N,) bool: whether the class with the largest logit, in float32, is the label."""
    labels: np.ndarray
    """(N,) int32."""
    logits: np.ndarray | None
    """(N, classes) float16, limited to its range. None: they would take too much space."""


class PredictionCollector:
    """An `evaluation.Observer` that keeps the predictions for a split of `images` images, on the device."""

    def __init__(self, images: int, classes: int) -> None:
        self.images = images
        self._keeps_logits = keeps_logits(images, classes)
        self._correct: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._logits: list[Tensor] = []

    def __call__(self, logits: Tensor, predicted: Tensor, labels: Tensor) -> None:
        self._correct.append(predicted.argmax(1) == labels)
        self._labels.append(labels)
        if self._keeps_logits:
            self._logits.append(logits.detach().clamp(-LARGEST, LARGEST).half())

    def gather(self, dist: DistContext) -> Predictions | None:
        """Return the predictions of all processes. All of them must call this.

        None if some image of the split was not predicted, e.g. because it cannot be read: the places of the others are
        then unknown. None also for reconstructions, and for splits that are too large.
        """
        parts = dist.all_gather([_joined(batches) for batches in (self._correct, self._labels, self._logits)])
        correct, labels, logits = ([arrays[kind] for arrays in parts if arrays[kind] is not None] for kind in range(3))
        if not keeps_correct(self.images) or sum(map(len, correct)) != self.images:
            return None
        return Predictions(
            np.concatenate(correct),
            np.concatenate(labels).astype(np.int32),
            np.concatenate(logits) if logits else None,
        )


def _joined(batches: list[Tensor]) -> np.ndarray | None:
    """One array of all batches; None without batches, as of a process without images."""
    return torch.cat(batches).cpu().numpy() if batches else None
