"""Batches from a data set that is stored on the device as one uint8 tensor.

Crop, flip and normalization run on the device, which never waits for data. The images of a batch and their augmentation
are functions of (seed, epoch, step) alone: a run can stop after any step and resume with the same batches.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_repro.data.arrays import Arrays, Split
from resnet_repro.data.base import Batch, Data, StreamConfig
from resnet_repro.data.color import color_shift
from resnet_repro.errors import UserError

EVALUATION_IMAGES = 10_000  # training images that are evaluated during training
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of pixels in [0, 1], as used to train torchvision's weights
IMAGENET_STD = (0.229, 0.224, 0.225)
# {scaling: (mean, scale) per channel, of pixels in [0, 1]}
FIXED_SCALINGS = {
    "none": ((0.0,), (1 / 255,)),
    "unit": ((0.0,), (1.0,)),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
}


@dataclass(frozen=True)
class Draw:
    """The random choices of one epoch of N images, by position in the epoch."""

    order: Tensor
    """(N,) int64: index of the image."""
    dy: Tensor
    """(N,) int64: vertical offset of the crop in the padded image, in pixels."""
    dx: Tensor
    """(N,) int64: horizontal offset of the crop in the padded image, in pixels."""
    flip: Tensor
    """(N,) bool: whether the crop is mirrored."""
    colors: Tensor | None = None
    """(N, 3) float32: components of the colour shift, see `color.color_shift`. None: no shift."""

    def to(self, device: torch.device) -> Draw:
        """Return the same choices on the device."""
        order, dy, dx, flip = (sent(t, device) for t in (self.order, self.dy, self.dx, self.flip))
        return Draw(order, dy, dx, flip, None if self.colors is None else sent(self.colors, device))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to the device, without waiting on CUDA. On MPS an asynchronous copy may read freed memory."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def draw_epoch(
    images: int, seed: int, epoch: int, padding: int, flip: bool, color: float = 0.0, shuffle: bool = True
) -> Draw:
    """Draw the random choices of an epoch, on the CPU so that they are the same for every device.

    padding: pixels; crop offsets are in 0..2·padding.
    flip: mirror crops with probability 0.5.
    color: standard deviation of the components of the colour shift; 0 for no shift.
    shuffle: draw the order of the images; otherwise they keep theirs. The other choices are the same in both cases.
    """
    state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    order = torch.randperm(images, generator=generator)
    return Draw(
        order=order if shuffle else torch.arange(images),
        dy=torch.randint(0, 2 * padding + 1, (images,), generator=generator),
        dx=torch.randint(0, 2 * padding + 1, (images,), generator=generator),
        flip=torch.randint(0, 2, (images,), generator=generator).bool() & flip,
        colors=color * torch.randn(images, 3, generator=generator) if color else None,
    )


@dataclass(frozen=True)
class Normalization:
    """Normalization of pixels, (pixel - mean) / scale, by one of the scalings of `Recipe.scaling`."""

    mean: Tensor
    """Of pixels in 0..255, in a shape that broadcasts to (C, H, W)."""
    scale: Tensor
    """Of pixels in 0..255, in a shape that broadcasts to (C, H, W)."""

    @classmethod
    def fixed(cls, scaling: str, device: torch.device) -> Normalization:
        """Return a scaling that does not depend on the training images.

        "none": pixels stay as they are. "unit": from 0..255 to 0..1. "imagenet": by mean and standard deviation of
        ImageNet-1k's channels. Raises UserError for other scalings.
        """
        if scaling not in FIXED_SCALINGS:
            raise UserError(
                f"scaling {scaling!r} needs images in memory: expected {', '.join(FIXED_SCALINGS)} for class folders"
            )
        mean, scale = FIXED_SCALINGS[scaling]
        return cls(*(255 * torch.tensor(values, device=device).reshape(-1, 1, 1) for values in (mean, scale)))

    @classmethod
    def of(cls, split: Split, device: torch.device, scaling: str = "pixel-mean") -> Normalization:
        """Return a scaling, computed on the images of `split` unless it is fixed (see `fixed`).

        "pixel-mean": subtract the mean of each pixel (He15 section 4.2) and divide by the standard deviation of all centred
        pixels. The division is our choice; the paper gives none. "standard": mean and standard deviation of each channel.
        """
        if scaling in FIXED_SCALINGS:
            return cls.fixed(scaling, device)
        count = len(split)
        total = np.zeros(split.images.shape[1:], np.int64)
        squares = np.zeros(split.images.shape[1], np.int64)
        for start in range(0, count, 5_000):  # in parts, to save memory; integer sums are exact
            part = split.images[start : start + 5_000]
            total += part.sum(0, dtype=np.int64)
            squares += np.square(part, dtype=np.uint16).sum((0, 2, 3), dtype=np.int64)
        mean = total / count
        pixels = count * mean[0].size  # per channel
        if scaling == "standard":
            centre = mean.mean((1, 2), keepdims=True)
            scale = np.sqrt(squares.reshape(-1, 1, 1) / pixels - np.square(centre))
        else:
            centre = mean
            scale = np.sqrt(squares.sum() / (pixels * len(squares)) - np.square(mean).mean())
        scale = np.where(scale > 0, scale, 1.0)
        return cls(*(torch.tensor(values, dtype=torch.float32, device=device) for values in (centre, scale)))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalize images (B, C, H, W) of pixels in 0..255. Returns float32 in channels-last memory format."""
        return ((images.float() - self.mean) / self.scale).contiguous(memory_format=torch.channels_last)


def crop_and_flip(images: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, padding: int) -> Tensor:
    """Pad images with zeros, crop them to their original size at (dy, dx), and mirror the crop if `flip`.

    images: (B, C, H, W) float, normalized, so zero is the mean colour. dy, dx, flip: (B,). padding: pixels.
    """
    b, c, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    rows = dy[:, None] + torch.arange(height, device=images.device)  # (B, H)
    columns = torch.arange(width, device=images.device).expand(b, width)
    columns = dx[:, None] + torch.where(flip[:, None], columns.flip(1), columns)  # (B, W)
    out = padded.gather(2, rows[:, None, :, None].expand(b, c, height, width + 2 * padding))
    return out.gather(3, columns[:, None, None, :].expand(b, c, height, width))


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Move images (B, C, H, W) by whole pixels, up and left if negative. The uncovered border is zero."""
    if not (down or right):
        return images
    height, width = images.shape[-2:]
    padded = F.pad(images, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)))
    return padded[..., max(-down, 0) : max(-down, 0) + height, max(-right, 0) : max(-right, 0) + width]


def resized(images: Tensor, resolution: int | None) -> Tensor:
    """Resize images (B, C, H, W) float to resolution × resolution pixels, bilinearly; unchanged if None."""
    height, width = images.shape[-2:]
    if resolution is None or (height, width) == (resolution, resolution):
        return images
    shrinks = resolution < min(height, width)
    return F.interpolate(images, (resolution, resolution), mode="bilinear", antialias=shrinks)


class TrainStream(ABC):
    """This process's part of the training batches from step `step` to `config.stop`, on the device.

    The last batch of an epoch is short if the batch size does not divide the number of images: 50,000 images make 391
    batches of at most 128. The loader is stateful, so a checkpoint stores the step at which to resume.
    """

    def __init__(self, images: int, config: StreamConfig) -> None:
        self.images, self.config = images, config
        self.steps_per_epoch = steps_per_epoch(images, config.recipe.batch_size)
        self.step = 0

    def __len__(self) -> int:
        return self.config.stop

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]: ...

    def part(self, step: int) -> tuple[slice, float]:
        """Return this process's part of the batch of a step, as positions in the epoch, and the weight of its mean loss.

        The weight makes the mean over processes the mean over all images of the batch. If a short batch leaves no image
        for this process, its part is the last image of the batch with weight 0.
        """
        size, dist = self.config.recipe.batch_size, self.config.dist
        first = (step % self.steps_per_epoch) * size
        count = min(size, self.images - first)
        share = dist.share(count)
        images = share.stop - share.start
        if not images:
            return slice(first + count - 1, first + count), 0.0
        return slice(first + share.start, first + share.stop), images * dist.size / count


class TensorStream(TrainStream):
    """Training batches of data on the device.

    make_batch: returns images and labels for the draw of an epoch and the positions of a batch in it.
    """

    def __init__(
        self, images: int, config: StreamConfig, make_batch: Callable[[Draw, slice], tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__(images, config)
        self._make_batch = make_batch

    def __iter__(self) -> Iterator[Batch]:
        config, recipe = self.config, self.config.recipe
        epoch, draw = -1, None
        while self.step < config.stop:
            if draw is None or self.step // self.steps_per_epoch != epoch:
                epoch = self.step // self.steps_per_epoch
                shuffle = recipe.order == "shuffled"
                draw = draw_epoch(self.images, config.seed, epoch, recipe.padding, recipe.flip, recipe.color, shuffle)
                draw = draw.to(config.device)
            part, weight = self.part(self.step)
            self.step += 1
            yield Batch(*self._make_batch(draw, part), weight)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of steps of an epoch, which include a short last batch."""
    return math.ceil(images / batch_size)


class InMemoryData(Data):
    """A data set stored on the device, and resized there if `config.resolution` is set.

    The validation split is the last training images in the arrays' order, which mixes the classes and is the same for all
    seeds. Raises UserError if no training images are left.
    """

    def __init__(self, arrays: Arrays, config: StreamConfig) -> None:
        recipe, device = config.recipe, config.device
        kept = len(arrays.train) - recipe.validation_images
        if kept < 1:
            raise UserError(
                f"{arrays.facts.title} has {len(arrays.train):,} training images: expected more than "
                f"{recipe.validation_images:,}, which the recipe {recipe.name} holds out"
            )
        used = min(kept, recipe.train_images or kept)
        splits = {"train": Split(arrays.train.images[:used], arrays.train.labels[:used]), "test": arrays.test}
        if recipe.validation_images:
            splits["validation"] = Split(arrays.train.images[kept:], arrays.train.labels[kept:])
        super().__init__(arrays.facts, arrays.digest, {name: len(split) for name, split in splits.items()}, config)
        self.normalization = Normalization.of(splits["train"], device, recipe.scaling)
        self._on_device = {
            name: (
                torch.from_numpy(np.array(split.images)).to(device),
                torch.from_numpy(split.labels.astype(np.int64)).to(device),
            )
            for name, split in splits.items()
        }

    def train_dataloader(self) -> TensorStream:
        return TensorStream(self.images("train"), self.config, self._training_batch)

    def _training_batch(self, draw: Draw, part: slice) -> tuple[Tensor, Tensor]:
        recipe = self.config.recipe
        pixels, labels = self._on_device["train"]
        index = draw.order[part]
        images = pixels[index]
        if draw.colors is not None:
            images = images + color_shift(draw.colors[part])
        images = self.normalization(images)
        if recipe.padding or recipe.flip:
            images = crop_and_flip(images, draw.dy[part], draw.dx[part], draw.flip[part], recipe.padding)
        images = resized(images, self.config.resolution).contiguous(memory_format=torch.channels_last)
        return images, labels[index]

    def _evaluated(self, split: str, parts: Sequence[slice], shift: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self._on_device[split]
        for part in parts:
            yield resized(self.normalization(shifted(images[part], *shift)), self.config.resolution), labels[part]
