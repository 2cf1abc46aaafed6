"""The features of a frozen backbone, computed once in place of at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from resnet_repro.data.base import Data, evaluation_batch
from resnet_repro.data.stream import Draw, TensorStream


class FeatureData(Data):
    """The data set `data` as the features that `extract` gives of its images (N, C, H, W) → (N, D), on the device.

    Raises ValueError for a recipe that draws something on the images, since the features then change with every epoch.
    """

    def __init__(self, data: Data, net: nn.Module, extract: Callable[[Tensor], Tensor], precision: str) -> None:
        recipe = data.config.recipe
        if recipe.padding or recipe.flip or recipe.color or recipe.scale:
            raise ValueError(f"recipe {recipe.name} changes the images at every step: features cannot be computed once")
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

    def facts_for_record(self) -> dict:
        return self._data.facts_for_record()

    def train_dataloader(self) -> TensorStream:
        return TensorStream(self.images("train"), self.config, self._training_batch)

    def _training_batch(self, draw: Draw, part: slice) -> tuple[Tensor, Tensor]:
        """Features (B, D) float32 in place of images."""
        features, labels = self._features["train"]
        index = draw.order[part]
        return features[index], labels[index]

    def _evaluated(self, split: str, parts: Sequence[slice], shift: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises ValueError for a shift, which features do not show."""
        if any(shift):
            raise ValueError("features cannot be shifted: measure shifts on images")
        features, labels = self._features[split]
        for part in parts:
            yield features[part], labels[part]


def _extracted(data: Data, split: str, extract: Callable[[Tensor], Tensor], precision: str) -> tuple[Tensor, Tensor]:
    features, labels = [], []
    with torch.autocast(data.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for images, of_images in data.batches(split):
            features.append(extract(images).float())
            labels.append(of_images)
    return torch.cat(features), torch.cat(labels)
