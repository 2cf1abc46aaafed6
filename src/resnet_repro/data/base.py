"""What training and measurements know of the data, wherever they lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from resnet_repro.config.arm import Recipe
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.distributed import ALONE, DistContext


class Batch(NamedTuple):
    """images (B, C, H, W) float32 and labels (B,) int64 on the device; weight: of the batch's mean loss."""

    images: Tensor
    labels: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class StreamConfig:
    """What batches depend on beside the images. stop: the step at which training ends. resolution: pixels of an image's
    side as the network sees it, None for the data set's own. dist: the processes that share each training batch.
    """

    recipe: Recipe
    seed: int
    stop: int
    device: torch.device
    resolution: int | None = None
    dist: DistContext = ALONE


def evaluation_batch(device: str, pixels: int) -> int:
    """How many images of pixels × pixels are scored at once on a kind of device.

    200 stay in a CPU core's cache: a quarter faster than 500. GPUs take as many pixels as in 1,000 images of 32 × 32, which
    cards of 16 GiB hold beside what training keeps, and 64 images at least.
    """
    return 200 if device == "cpu" else max(64, min(1_000, 1_000 * 32**2 // pixels**2))


class Data(pl.LightningDataModule, ABC):
    """The training stream of one run, and plain batches of each split for evaluation, normalized and on the device.

    The training stream gives this process's part of every batch, with the weight that makes the mean over processes that
    over the whole batch. digest is that of the contents. counts: images of each split, "train", "test" and, where images
    are held out, "validation". shape: (C, H, W) of an image as the network sees it.
    """

    def __init__(self, facts: DatasetFacts, digest: str, counts: dict[str, int], config: StreamConfig) -> None:
        super().__init__()
        self.facts, self.digest, self.counts, self.config = facts, digest, counts, config
        self.device, self.dist = config.device, config.dist
        channels, height, width = facts.shape
        self.shape = (channels, config.resolution or height, config.resolution or width)
        self.evaluation_batch = evaluation_batch(self.device.type, max(self.shape[1:]))

    @property
    def classes(self) -> int:
        return self.facts.classes

    @property
    def splits(self) -> list[str]:
        """Names of the splits that there are."""
        return list(self.counts)

    def images(self, split: str) -> int:
        """How many images a split has."""
        return self.counts[split]

    @abstractmethod
    def train_dataloader(self) -> Iterable[Batch]:
        """The training batches from the first step to `stop`; stateful in the sense of Lightning's loaders."""

    def batches(
        self,
        split: str,
        limit: int | None = None,
        size: int | None = None,
        shift: tuple[int, int] = (0, 0),
        share: DistContext = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) of a split, un-augmented, in their order, the first `limit` of them, `size` at a time.

        shift: pixels by which they are moved down and to the right, the room that this leaves black.
        share: whose part of them, where several processes go through them together; all of them by default.
        """
        return self._evaluated(split, self._parts(split, limit, size or self.evaluation_batch, share), shift)

    def _parts(self, split: str, limit: int | None, size: int, share: DistContext) -> list[slice]:
        count = self.images(split)
        part = share.share(min(limit or count, count))
        return [slice(start, min(start + size, part.stop)) for start in range(part.start, part.stop, size)]

    @abstractmethod
    def _evaluated(self, split: str, parts: Sequence[slice], shift: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of `batches`, by their places in the split."""

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
