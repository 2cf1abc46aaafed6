"""Features of a frozen backbone, computed once before training instead of at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from resnet_repro.data.base import Data, evaluation_batch
from resnet_repro.data.stream import Draw, TensorStream


class FeatureData(Data):
    """The data set `data` with features (N, D) in place of images, stored on the device.

    extract: computes the features of images (N, C, H, W). net: the network, in evaluation mode while features are
    computed. Raises ValueError if the recipe augments the images: their features then change with every epoch.
    """

    def __init__(self, data: Data, net: nn.Module, extract: Callable[[Tensor], Tensor], precision: str) -> None:
        recipe = data.config.recipe
        if recipe.padding or recipe.flip or recipe.color or recipe.scale:
            raise ValueError(f"recipe {recipe.name} augments the images: features='once' needs a recipe without")
        self._data = data
        was_training = net.training
        net.eval()
        with torch.inference_mode(False), torch.no_grad():
            self._features = {split: _extracted(data, split, extract, precision) for split in data.splits}
        net.train(was_training)
        counts = {split: len(labels) for split, (_, labels) in self._features.items()}
        super().__init__(data.facts, data.digest, counts, data.config)
        self.evaluation_batch = evaluation_batch(self.device.type, pixels=1)

    def broken(self) -> list[tuple[str, str]]:
        return self._data.broken()

    def mark_broken(self, images: Sequence[tuple[str, str]]) -> None:
        self._data.mark_broken(images)

    def remarks(self) -> list[str]:
        return self._data.remarks()

    def facts_for_record(self) -> dict:
        return self._data.facts_for_record()

    def train_dataloader(self) -> TensorStream:
        return TensorStream(self.images("train"), self.config, self._training_batch)

    def _training_batch(self, draw: Draw, part: slice) -> tuple[Tensor, Tensor]:
        """Return features (B, D) float32 and labels (B,) int64."""
        features, labels = self._features["train"]
        index = draw.order[part]
        return features[index], labels[index]

    def _evaluated(self, split: str, parts: Sequence[slice], shift: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and labels. Raises ValueError for a shift, which is undefined for features."""
        if any(shift):
            raise ValueError(f"shift {shift} of features: expected (0, 0); measure shifts on images")
        features, labels = self._features[split]
        for part in parts:
            yield features[part], labels[part]


def _extracted(data: Data, split: str, extract: Callable[[Tensor], Tensor], precision: str) -> tuple[Tensor, Tensor]:
    features, labels = [], []
    with torch.autocast(data.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for images, batch_labels in data.batches(split):
            features.append(extract(images).float())
            labels.append(batch_labels)
    return torch.cat(features), torch.cat(labels)
