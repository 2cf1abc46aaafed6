"""The features of a frozen backbone, computed once in place of at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from resnet_repro.data.base import Data
from resnet_repro.data.stream import Draw, Normalization, TrainStream, evaluation_batch
from resnet_repro.distributed import ALONE, DistContext


class FeatureStream(TrainStream):
    """The batches of `TrainStream`, each image's features (B, D) float32 in its place; the same images at each step."""

    def _batch(self, draw: Draw, part: slice) -> tuple[Tensor, Tensor]:
        index = draw.order[part]
        return self.images[index], self.labels[index]


class FeatureData(Data):
    """The data set `data` as the features that `extract` gives of its images (N, C, H, W) → (N, D), on the device.

    Raises ValueError for a recipe that draws something on the images, since the features then change with every epoch.
    """

    def __init__(self, data: Data, net: nn.Module, extract: Callable[[Tensor], Tensor], precision: str) -> None:
        super().__init__()
        recipe = data.recipe
        if recipe.padding or recipe.flip or recipe.color or recipe.scale:
            raise ValueError(f"recipe {recipe.name} changes the images at every step: features cannot be computed once")
        self.facts, self.digest, self.shape = data.facts, data.digest, data.shape
        self.recipe, self.seed, self.stop, self.device, self.dist = (
            recipe,
            data.seed,
            data.stop,
            data.device,
            data.dist,
        )
        self._data = data
        was_training = net.training
        net.eval()
        with torch.inference_mode(False), torch.no_grad():
            self._features = {split: self._extracted(split, extract, precision) for split in data.splits}
        net.train(was_training)

    def _extracted(self, split: str, extract: Callable[[Tensor], Tensor], precision: str) -> tuple[Tensor, Tensor]:
        found, labels = [], []
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
            for images, of_images in self._data.batches(split):
                found.append(extract(images).float())
                labels.append(of_images)
        return torch.cat(found), torch.cat(labels)

    @property
    def splits(self) -> list[str]:
        return list(self._features)

    def images(self, split: str) -> int:
        return len(self._features[split][1])

    def broken(self) -> list[tuple[str, str]]:
        return self._data.broken()

    def facts_for_record(self) -> dict:
        return self._data.facts_for_record()

    def train_dataloader(self) -> FeatureStream:
        unused = Normalization.fixed("unit", self.device)
        return FeatureStream(*self._features["train"], unused, self.recipe, self.seed, self.stop, None, self.dist)

    def batches(
        self,
        split: str,
        limit: int | None = None,
        size: int | None = None,
        shift: tuple[int, int] = (0, 0),
        share: DistContext = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Data.batches`; features cannot be shifted, which raises ValueError."""
        if any(shift):
            raise ValueError("features cannot be shifted: measure shifts on images")
        features, labels = self._features[split]
        mine = share.share(min(limit or len(labels), len(labels)))
        size = size or evaluation_batch(self.device.type, pixels=1)
        for start in range(mine.start, mine.stop, size):
            part = slice(start, min(start + size, mine.stop))
            yield features[part], labels[part]
