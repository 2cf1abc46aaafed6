"""Data interface of a run, implemented for data in memory and for class folders."""

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
    """A training batch, or this process's part of it, on the device."""

    images: Tensor
    """(B, C, H, W) float32, normalized."""
    labels: Tensor
    """(B,) int64."""
    weight: float = 1.0
    """Factor of the mean loss over these images. It makes the mean over processes the mean over the whole batch."""


@dataclass(frozen=True)
class StreamConfig:
    """Parameters of a run's batches, apart from the images."""

    recipe: Recipe
    seed: int
    stop: int
    """Step at which training ends."""
    device: torch.device
    resolution: int | None = None
    """Side of the network's input, in pixels. None: the size of the data set's images."""
    dist: DistContext = ALONE
    """Processes that share each training batch."""


def evaluation_batch(device: str, pixels: int) -> int:
    """Return the batch size of evaluation, for images of pixels × pixels on a type of device ("cpu", "cuda", ...).

    CPU: 200 images, which fit into a core's cache and are 25 % faster than 500. GPU: the pixels of 1,000 images of
    32 × 32, which fit into 16 GiB beside the training state; between 64 and 1,000 images.
    """
    return 200 if device == "cpu" else max(64, min(1_000, 1_000 * 32**2 // pixels**2))


class Data(pl.LightningDataModule, ABC):
    """Training and evaluation batches of one run, normalized, on the device.

    digest: digest of the contents.
    counts: number of images of each split: "train", "test" and, if images are held out, "validation".

    The attribute `shape` is the (C, H, W) of the network's input.
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
        """Names of the splits."""
        return list(self.counts)

    def images(self, split: str) -> int:
        """Return the number of images of a split."""
        return self.counts[split]

    @abstractmethod
    def train_dataloader(self) -> Iterable[Batch]:
        """Return this process's part of the training batches up to step `stop`, as a stateful Lightning loader."""

    def batches(
        self,
        split: str,
        limit: int | None = None,
        size: int | None = None,
        shift: tuple[int, int] = (0, 0),
        share: DistContext = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) of a split in a fixed order, without augmentation.

        limit: number of images, the first of the split; all by default.
        size: images per batch; `evaluation_batch` by default.
        shift: pixels by which images are moved (down, right). The uncovered border is black; for class folders it is 0
            after normalization.
        share: processes that divide the images among them; yields this process's part.
        """
        return self._evaluated(split, self._parts(split, limit, size or self.evaluation_batch, share), shift)

    def _parts(self, split: str, limit: int | None, size: int, share: DistContext) -> list[slice]:
        count = self.images(split)
        part = share.share(min(limit or count, count))
        return [slice(start, min(start + size, part.stop)) for start in range(part.start, part.stop, size)]

    @abstractmethod
    def _evaluated(self, split: str, parts: Sequence[slice], shift: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of `batches`, one for each slice of the split."""

    def ten_views(
        self, split: str, limit: int | None = None, share: DistContext = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]] | None:
        """Yield ten crops (B, 10, C, H, W) of each of the first `limit` images, and their labels; None if the images are
        not larger than a crop.
        """
        return None

    def broken(self) -> list[tuple[str, str]]:
        """Return (file, reason) of the unreadable images that this process has skipped so far."""
        return []

    def mark_broken(self, images: Sequence[tuple[str, str]]) -> None:
        """Count (file, reason) of images that earlier processes of a resumed run have skipped."""

    def remarks(self) -> list[str]:
        """Return sentences for the user on how images reach this process. Empty if all is as usual."""
        return []

    def facts_for_record(self) -> dict[str, Any]:
        """Return the record's entry on the data set."""
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
