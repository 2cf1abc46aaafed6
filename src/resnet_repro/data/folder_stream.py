"""Batches from class folders: worker processes decode, scale and crop the images; the device normalizes them.

The images of a batch and their augmentation are functions of (seed, epoch, image) alone. They do not depend on the
number of workers or processes, or on earlier batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnet_repro.config.arm import Recipe
from resnet_repro.data.base import Batch, Data, StreamConfig
from resnet_repro.data.color import color_shift
from resnet_repro.data.folders import ClassFolders, File
from resnet_repro.data.pictures import BrokenPicture, evaluation_view, read_picture, ten_views, training_view
from resnet_repro.data.stream import Normalization, TrainStream, draw_epoch, sent, shifted
from resnet_repro.data.workers import Piped, begin_worker, received, sendable, stacked
from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.errors import UserError, os_reason

PREFETCHED = 2  # batches that each worker prepares in advance, in shared memory
FULL = (
    "shared memory (/dev/shm) is full: decoded images reach the training process through pipes, which takes longer; "
    "enlarge it, e.g. with docker run --shm-size=8g"
)
IMAGE_DRAWS = 0x1A6E  # separates the random stream of images from other streams of the same seed


class View(Enum):
    """Crops of an image."""

    TRAINING = "training"
    """A random crop, see `pictures.training_view`."""
    EVALUATION = "evaluation"
    """The centre crop."""
    TEN = "ten"
    """The centre and corner crops, and their mirror images."""


class Job(NamedTuple):
    """One image to decode."""

    image: int
    """Index of the image in its split."""
    epoch: int = 0
    """Epoch, for the random choices of a training view."""


class Decoded(NamedTuple):
    """A decoded image."""

    view: Tensor
    """(3, R, R) uint8, or (10, 3, R, R) for ten views."""
    label: int
    colors: Tensor
    """(3,) float32: components of the colour shift, see `color.color_shift`."""


class Broken(NamedTuple):
    """A file that cannot be read as an image."""

    path: str
    """Path relative to the root of the data set."""
    reason: str
    """Error message of the decoder, in one line."""


class Collated(NamedTuple):
    """A batch from a worker: the readable images, and the unreadable files."""

    images: Tensor
    """(B, 3, R, R) uint8, or (B, 10, 3, R, R). One black image if no file could be read."""
    labels: Tensor
    """(B,) int64. Empty if no file could be read."""
    colors: Tensor
    """(B, 3) float32: components of the colour shifts."""
    broken: list[Broken]


class Pictures(Dataset):
    """The images of a split, decoded to one kind of view of R × R pixels."""

    def __init__(
        self, root: Path, files: Sequence[File], recipe: Recipe, seed: int, resolution: int, view: View
    ) -> None:
        self.root, self.files, self.recipe, self.seed = root, files, recipe, seed
        self.resolution, self.view = resolution, view

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, job: Job) -> Decoded | Broken:
        file = self.files[job.image]
        try:
            picture = read_picture(self.root / file.path)
        except BrokenPicture as broken:
            return Broken(file.path, broken.reason)
        colors = np.zeros(3)
        if self.view is View.TRAINING:
            rng = np.random.default_rng(np.random.SeedSequence((self.seed, job.epoch, job.image, IMAGE_DRAWS)))
            view = training_view(picture, self.resolution, self.recipe, rng)
            colors = self.recipe.color * rng.standard_normal(3)
        else:
            cut = evaluation_view if self.view is View.EVALUATION else ten_views
            view = cut(picture, self.resolution, self.recipe)
        return Decoded(view, file.label, torch.from_numpy(colors).float())

    def collate(self, items: Sequence[Decoded | Broken]) -> tuple[list[Tensor] | Piped, list[Broken]]:
        """Return the tensors of a `Collated` as they are sent by a worker, and the unreadable files."""
        broken = [item for item in items if isinstance(item, Broken)]
        decoded = [item for item in items if isinstance(item, Decoded)]
        if not decoded:  # a training step needs an image; this one gets weight 0
            black = torch.zeros(1, 3, self.resolution, self.resolution, dtype=torch.uint8)
            return sendable([black, torch.zeros(0, dtype=torch.int64), torch.zeros(1, 3)]), broken
        views, labels, colors = zip(*decoded, strict=True)
        return sendable([stacked(list(views)), torch.tensor(labels), torch.stack(colors)]), broken


class FolderData(Data):
    """Data of class folders, at the config's resolution (224 pixels by default).

    workers: number of worker processes that decode images; 0 decodes in this process.
    skip_broken: skip unreadable files and list them in `broken`; otherwise the first unreadable file raises UserError.

    The validation split is that of the folders, if they have one, otherwise the last training images. Raises UserError if
    no training images are left, or, with skip_broken, if all images of a split are unreadable.
    """

    def __init__(
        self, folders: ClassFolders, config: StreamConfig, workers: int = 0, skip_broken: bool = False
    ) -> None:
        recipe = config.recipe
        self._files = dict(folders.files)
        if recipe.validation_images and "validation" not in self._files:
            train = self._files["train"]
            kept = max(0, len(train) - recipe.validation_images)
            self._files |= {"train": train[:kept], "validation": train[kept:]}
        self._files["train"] = self._files["train"][: recipe.train_images or None]
        if not self._files["train"]:
            raise UserError(
                f"{folders.root} has {len(folders.files['train']):,} training images: expected more than "
                f"{recipe.validation_images:,}, which the recipe {recipe.name} holds out"
            )
        counts = {split: len(files) for split, files in self._files.items()}
        super().__init__(folders.facts, folders.digest, counts, config)
        self.folders, self.workers, self.skip_broken = folders, workers, skip_broken
        self.normalization = Normalization.fixed(recipe.scaling, config.device)
        self._broken: set[Broken] = set()
        self._remarks: dict[str, None] = {}  # an ordered set
        if skip_broken:
            for split in self._files:
                self._check_readable(split)

    def _check_readable(self, split: str) -> None:
        """Raise UserError unless one image of the split can be read. Usually the first can, and no other is opened."""
        reason = ""
        for file in self._files[split]:
            try:
                read_picture(self.folders.root / file.path)
            except BrokenPicture as broken:
                reason = reason or broken.reason
            else:
                return
        folder = self.folders.root / Path(self._files[split][0].path).parts[0]
        raise UserError(
            f"none of the {len(self._files[split]):,} images for {split} in {folder} can be read ({reason}): repair them or "
            "use another DATASET"
        )

    def broken(self) -> list[tuple[str, str]]:
        return [(path, reason) for path, reason in sorted(self._broken)]

    def mark_broken(self, images: Sequence[tuple[str, str]]) -> None:
        self._broken.update(Broken(path, reason) for path, reason in images)

    def remarks(self) -> list[str]:
        return list(self._remarks)

    def facts_for_record(self) -> dict[str, Any]:
        counts = {split: self.folders.class_counts(split) for split in self.folders.files}
        return super().facts_for_record() | {
            "left_out": self.folders.left_out,
            "class_images": {
                name: {split: by_class[name] for split, by_class in counts.items()} for name in self.facts.class_names
            },
        }

    def train_dataloader(self) -> FolderStream:
        return FolderStream(self)

    def _evaluated(
        self, split: str, parts: Sequence[slice], shift: tuple[int, int], view: View = View.EVALUATION
    ) -> Iterator[tuple[Tensor, Tensor]]:
        jobs = [[Job(index) for index in range(part.start, part.stop)] for part in parts]
        for collated in self.load(split, jobs, len(jobs), view):
            if len(collated.labels):
                images, labels = self.to_device(collated)
                yield (shifted(images, *shift) if any(shift) else images), labels

    def ten_views(
        self, split: str, limit: int | None = None, share: DistContext = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        size = max(1, self.evaluation_batch // 10)
        return self._evaluated(split, self._parts(split, limit, size, share), (0, 0), View.TEN)

    def load(self, split: str, jobs: Iterable[list[Job]], count: int, view: View) -> Iterator[Collated]:
        """Yield the batches of `jobs` in order; workers decode in advance. count: the number of batches."""
        config = self.config
        pictures = Pictures(self.folders.root, self._files[split], config.recipe, config.seed, self.shape[1], view)
        for sent_tensors, broken in self._batches(pictures, jobs, min(self.workers, count)):
            self._record_broken(broken)
            if isinstance(sent_tensors, Piped):
                self._remarks[FULL] = None
            images, labels, colors = received(sent_tensors)
            yield Collated(images, labels, colors, broken)

    def _batches(self, pictures: Pictures, jobs: Iterable[list[Job]], workers: int) -> Iterator[Any]:
        loader = DataLoader(
            pictures,
            batch_sampler=jobs,
            num_workers=workers,
            collate_fn=pictures.collate,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=PREFETCHED if workers else None,
            worker_init_fn=begin_worker if workers else None,
        )
        if not workers:
            return iter(loader)
        try:
            return iter(loader)
        except OSError as error:  # queues between processes need a little of /dev/shm
            self._remarks[f"no worker can be started ({os_reason(error)}): the training process decodes all images"] = (
                None
            )
            return self._batches(pictures, jobs, 0)

    def to_device(self, collated: Collated) -> tuple[Tensor, Tensor]:
        """Return the images, normalized as float32, and their labels, on the device."""
        images, labels = sent(collated.images, self.device), sent(collated.labels, self.device)
        if self.config.recipe.color and images.ndim == 4 and bool(collated.colors.any()):
            images = images + color_shift(sent(collated.colors, self.device))
        if images.ndim == 5:
            return self.normalization(images.flatten(0, 1)).unflatten(0, images.shape[:2]), labels
        return self.normalization(images), labels

    def _record_broken(self, broken: Sequence[Broken]) -> None:
        if broken and not self.skip_broken:
            path, reason = broken[0]
            raise UserError(
                f"{self.folders.root / path} cannot be read as an image ({reason}): repair or remove it, or set BROKEN=skip"
            )
        self._broken.update(broken)


class FolderStream(TrainStream):
    """Training batches of class folders. Unreadable images reduce the weight of a batch in proportion."""

    def __init__(self, data: FolderData) -> None:
        super().__init__(data.images("train"), data.config)
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        remaining = max(0, self.config.stop - self.step)
        for collated in self.data.load("train", self._jobs(self.step), remaining, View.TRAINING):
            part, weight = self.part(self.step)
            self.step += 1
            images, labels = self.data.to_device(collated)
            weight = weight * len(labels) / (part.stop - part.start)
            if not len(labels):
                labels = torch.zeros(1, dtype=torch.int64, device=self.data.device)
            yield Batch(images, labels, weight)

    def _jobs(self, first: int) -> Iterator[list[Job]]:
        """Yield this process's jobs of each step, from step `first` on."""
        epoch, order = -1, []
        for step in range(first, self.config.stop):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                shuffle = self.config.recipe.order == "shuffled"
                order = draw_epoch(self.images, self.config.seed, epoch, 0, False, shuffle=shuffle).order.tolist()
            part, _ = self.part(step)
            yield [Job(index, epoch) for index in order[part]]
