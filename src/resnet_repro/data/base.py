"""What training and measurements know of the data, wherever they lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from resnet_repro.config.arm import Recipe
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.distributed import ALONE, DistContext

# (images (B, C, H, W) float32, labels (B,) int64), and a weight of the batch's loss where that is not 1.
Batch = tuple[Any, ...]


class Data(pl.LightningDataModule, ABC):
    """The training stream of one run, and plain batches of each split for evaluation, normalized and on the device.

    The splits are "train", "test" and, where images are held out, "validation". The training stream gives this
    process's part of every batch, with the weight that makes the mean over processes that over the whole batch.
    digest is that of the contents. shape: (C, H, W) of an image as the network sees it.
    """

    facts: DatasetFacts
    digest: str
    shape: tuple[int, int, int]
    recipe: Recipe
    seed: int
    stop: int
    device: torch.device
    dist: DistContext

    @property
    def classes(self) -> int:
        return self.facts.classes

    @property
    @abstractmethod
    def splits(self) -> list[str]:
        """Names of the splits that there are."""

    @abstractmethod
    def images(self, split: str) -> int:
        """How many images a split has."""

    @abstractmethod
    def train_dataloader(self) -> Iterable[Batch]:
        """The training batches from the first step to `stop`; stateful in the sense of Lightning's loaders."""

    @abstractmethod
    def batches(
        self,
        split: str,
        limit: int | None = None,
        size: int | None = None,
        shift: tuple[int, int] = (0, 0),
        share: DistContext = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The un-augmented images of a split in their order, the first `limit` of them, `size` at a time.

        shift: pixels by which they are moved down and to the right, the room that this leaves black.
        share: whose part of them, where several processes go through them together; all of them by default.
        """

    def ten_views(
        self, split: str, limit: int | None = None, share: DistContext = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]] | None:
        """The first `limit` images of a split as ten crops each, (B, 10, C, H, W); None where they are no larger than one
        crop.
        """
        return None

    def broken(self) -> list[tuple[str, str]]:
        """(file, reason) of the images that could not be read and were left out, by this process so far."""
        return []

    def facts_for_record(self) -> dict[str, Any]:
        """What a record says of the data set."""
        facts = self.facts
        return {
            "name": facts.name,
            "title": facts.title,
            "digest": self.digest,
            "standin": facts.standin,
            "classes": facts.classes,
            "train_images": facts.train_images,
            "test_images": facts.test_images,
            "shape": list(self.shape),
            "used": {split: self.images(split) for split in self.splits},
        }
