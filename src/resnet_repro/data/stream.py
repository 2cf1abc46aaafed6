"""Batches from a data set that lies in memory, on the device, as one uint8 tensor.

Crop, flip and normalization are done on the batch where it lies, so the device never waits for data. Which images a
batch holds and how they are cropped is a function of (seed, epoch, step) alone: a run can stop after any step and
continue as if it had not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_repro.data.arrays import Arrays, Split
from resnet_repro.errors import UserError
from resnet_repro.experiment import Recipe

EVALUATION_BATCH = {"cpu": 200, "cuda": 1_000, "mps": 1_000}  # 200 stay in a core's cache: a quarter faster than 500
EVALUATION_IMAGES = 10_000  # training images scored along the way


@dataclass(frozen=True)
class Draw:
    """The random choices of one epoch, for the image at each position: index, crop offset (dy, dx), flip; all (N,)."""

    order: Tensor
    dy: Tensor
    dx: Tensor
    flip: Tensor

    def to(self, device: torch.device) -> Draw:
        return Draw(*(t.to(device, non_blocking=True) for t in (self.order, self.dy, self.dx, self.flip)))


def draw_epoch(images: int, seed: int, epoch: int, padding: int, flip: bool) -> Draw:
    """The choices of an epoch; drawn on the CPU, so every device sees the same. Offsets lie in 0..2·padding."""
    state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    return Draw(
        order=torch.randperm(images, generator=generator),
        dy=torch.randint(0, 2 * padding + 1, (images,), generator=generator),
        dx=torch.randint(0, 2 * padding + 1, (images,), generator=generator),
        flip=torch.randint(0, 2, (images,), generator=generator).bool() & flip,
    )


class Normalization:
    """(pixel - mean) / scale, by one of the recipes' scalings (see `experiment.Recipe`), from the training images.

    "pixel-mean": the mean is that of each pixel (He15 section 4.2). The scale, the standard deviation of all centred
    training pixels, is our choice: the paper names none. "unit": from 0..255 to 0..1. "standard": mean and standard
    deviation of each channel. Raises ValueError for another scaling.
    """

    def __init__(self, split: Split, device: torch.device, scaling: str = "pixel-mean") -> None:
        if scaling not in ("pixel-mean", "unit", "standard"):
            raise ValueError(f"unknown scaling {scaling!r}: take pixel-mean, unit or standard")
        if scaling == "unit":
            self.mean, self.scale = torch.zeros(1, device=device), torch.full((1,), 255.0, device=device)
            return
        count = len(split)
        total = np.zeros(split.images.shape[1:], np.int64)
        squares = np.zeros(split.images.shape[1], np.int64)
        for start in range(0, count, 5_000):  # in parts, to keep the memory small; sums of integers are exact
            part = split.images[start : start + 5_000]
            total += part.sum(0, dtype=np.int64)
            squares += np.square(part, dtype=np.uint16).sum((0, 2, 3), dtype=np.int64)
        mean = total / count
        pixels = count * mean[0].size  # of one channel
        if scaling == "standard":
            centre = mean.mean((1, 2), keepdims=True)
            scale = np.sqrt(squares.reshape(-1, 1, 1) / pixels - np.square(centre))
        else:
            centre = mean
            scale = np.sqrt(squares.sum() / (pixels * len(squares)) - np.square(mean).mean())
        self.mean = torch.tensor(centre, dtype=torch.float32, device=device)
        self.scale = torch.tensor(np.where(scale > 0, scale, 1.0), dtype=torch.float32, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 → float32, channels last in memory."""
        return ((images.float() - self.mean) / self.scale).contiguous(memory_format=torch.channels_last)


def crop_and_flip(images: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, padding: int) -> Tensor:
    """Pad with zeros, cut out a window of the first size at (dy, dx), mirror it where `flip`.

    images (B, C, H, W) float, already normalized, so that the border has the mean colour; dy, dx, flip (B,).
    """
    b, c, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    rows = dy[:, None] + torch.arange(height, device=images.device)  # (B, H)
    columns = torch.arange(width, device=images.device).expand(b, width)
    columns = dx[:, None] + torch.where(flip[:, None], columns.flip(1), columns)  # (B, W)
    out = padded.gather(2, rows[:, None, :, None].expand(b, c, height, width + 2 * padding))
    return out.gather(3, columns[:, None, None, :].expand(b, c, height, width))


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Images (B, C, H, W) moved by whole pixels, either way; what comes in is zero, what goes out is lost."""
    if not (down or right):
        return images
    height, width = images.shape[-2:]
    padded = F.pad(images, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)))
    return padded[..., max(-down, 0) : max(-down, 0) + height, max(-right, 0) : max(-right, 0) + width]


class TrainStream:
    """The training batches from step `start` to `stop`: (images (B, C, H, W) float32, labels (B,) int64) on the device.

    The last batch of an epoch is short where the batch size does not divide the images: 391 steps for 50,000 by 128.
    Stateful in the sense of Lightning's loaders, so that a checkpoint says where to go on.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalization: Normalization,
        recipe: Recipe,
        seed: int,
        stop: int,
    ) -> None:
        self.images, self.labels, self.normalization = images, labels, normalization
        self.recipe, self.seed, self.stop = recipe, seed, stop
        self.steps_per_epoch = steps_per_epoch(len(labels), recipe.batch_size)
        self.step = 0

    def __len__(self) -> int:
        return self.stop

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch = -1
        draw = None
        while self.step < self.stop:
            if self.step // self.steps_per_epoch != epoch or draw is None:
                epoch = self.step // self.steps_per_epoch
                draw = draw_epoch(len(self.labels), self.seed, epoch, self.recipe.padding, self.recipe.flip)
                draw = draw.to(self.images.device)
            first = (self.step % self.steps_per_epoch) * self.recipe.batch_size
            self.step += 1
            yield self._batch(draw, slice(first, first + self.recipe.batch_size))

    def _batch(self, draw: Draw, part: slice) -> tuple[Tensor, Tensor]:
        index = draw.order[part]
        images = self.normalization(self.images[index])
        if self.recipe.padding or self.recipe.flip:
            images = crop_and_flip(images, draw.dy[part], draw.dx[part], draw.flip[part], self.recipe.padding)
            images = images.contiguous(memory_format=torch.channels_last)
        return images, self.labels[index]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps that see every image once, the last batch short."""
    return -(-images // batch_size)


class InMemoryData(pl.LightningDataModule):
    """A data set on the device: the training stream, and plain batches of each split for evaluation.

    The splits are "train", "test" and, where the recipe holds images out, "validation": the last of the training
    images in the arrays' order, which mixes the classes and is the same for all seeds. Raises UserError where that
    leaves none to train on.
    """

    def __init__(self, arrays: Arrays, recipe: Recipe, seed: int, stop: int, device: torch.device) -> None:
        super().__init__()
        self.recipe, self.seed, self.stop, self.device = recipe, seed, stop, device
        self.classes = arrays.facts.classes
        kept = len(arrays.train) - recipe.validation_images
        if kept < 1:
            raise UserError(
                f"{arrays.facts.title} has {len(arrays.train):,} training images, the recipe {recipe.name} holds out "
                f"{recipe.validation_images:,}: take a larger data set"
            )
        splits = {"train": Split(arrays.train.images[:kept], arrays.train.labels[:kept]), "test": arrays.test}
        if recipe.validation_images:
            splits["validation"] = Split(arrays.train.images[kept:], arrays.train.labels[kept:])
        self.normalization = Normalization(splits["train"], device, recipe.scaling)
        self._on_device = {
            name: (
                torch.from_numpy(np.array(split.images)).to(device),
                torch.from_numpy(split.labels.astype(np.int64)).to(device),
            )
            for name, split in splits.items()
        }

    @property
    def splits(self) -> list[str]:
        """Names of the splits that there are."""
        return list(self._on_device)

    def train_dataloader(self) -> TrainStream:
        return TrainStream(*self._on_device["train"], self.normalization, self.recipe, self.seed, self.stop)

    def images(self, split: str) -> int:
        return len(self._on_device[split][1])

    def batches(
        self, split: str, limit: int | None = None, size: int | None = None, shift: tuple[int, int] = (0, 0)
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The un-augmented images of a split in their order, the first `limit` of them, normalized, `size` at a time.

        shift: pixels by which they are moved down and to the right, the room that this leaves black.
        """
        images, labels = self._on_device[split]
        count = min(limit or len(labels), len(labels))
        size = size or EVALUATION_BATCH[images.device.type]
        for start in range(0, count, size):
            part = slice(start, min(start + size, count))
            yield self.normalization(shifted(images[part], *shift)), labels[part]
