"""Batches from class folders: images decoded in worker processes, scaled and cut there, normalized on the device.

Which images a batch holds, and what is drawn on each of them, is a function of (seed, epoch, image) alone: of no worker,
of no number of processes, of nothing that came before.
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
from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.errors import UserError

PREFETCHED = 2  # batches that each worker has ready, in shared memory
IMAGE_DRAWS = 0x1A6E  # keeps what is drawn on an image apart from all else that is drawn from a seed


class View(Enum):
    """What is cut out of an image: at random, the middle, or middle and corners with their mirror images."""

    TRAINING = "training"
    EVALUATION = "evaluation"
    TEN = "ten"


class Job(NamedTuple):
    """The image of that number in its split; epoch: for the draws of a training view."""

    image: int
    epoch: int = 0


class Decoded(NamedTuple):
    """view (3, R, R) uint8, or ten of them; colors (3,): components of the shift of colours."""

    view: Tensor
    label: int
    colors: Tensor


class Broken(NamedTuple):
    """A file below the root that cannot be read, and why."""

    path: str
    reason: str


class Collated(NamedTuple):
    """A batch as the workers give it: what `Decoded` has, of the images that could be read, and the broken ones."""

    images: Tensor
    labels: Tensor
    colors: Tensor
    broken: list[Broken]


class Pictures(Dataset):
    """Images decoded to one kind of view, R × R pixels."""

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

    def collate(self, items: Sequence[Decoded | Broken]) -> Collated:
        broken = [item for item in items if isinstance(item, Broken)]
        decoded = [item for item in items if isinstance(item, Decoded)]
        if not decoded:  # a batch must have an image; this one counts for nothing
            nothing = torch.zeros(1, 3, self.resolution, self.resolution, dtype=torch.uint8)
            return Collated(nothing, torch.zeros(0, dtype=torch.int64), torch.zeros(1, 3), broken)
        views, labels, colors = zip(*decoded, strict=True)
        return Collated(torch.stack(views), torch.tensor(labels), torch.stack(colors), broken)


class FolderData(Data):
    """Class folders, their images at the config's resolution, or at 224 pixels.

    workers: processes that decode for this one; 0 decodes in this process. skip_broken: files that cannot be read are
    left out, and `broken` names them; else the first one raises UserError.
    Images held out are those of the folders' own validation split, else the last of the training images. Raises
    UserError where none are left to train on, and where a split has none that can be read.
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
                f"{folders.root} has {len(folders.files['train']):,} training images, the recipe {recipe.name} holds out "
                f"{recipe.validation_images:,}: take a larger data set"
            )
        counts = {split: len(files) for split, files in self._files.items()}
        super().__init__(folders.facts, folders.digest, counts, config)
        self.folders, self.workers, self.skip_broken = folders, workers, skip_broken
        self.normalization = Normalization.fixed(recipe.scaling, config.device)
        self._broken: set[Broken] = set()
        if skip_broken:
            for split in self._files:
                self._check_any_is_read(split)

    def _check_any_is_read(self, split: str) -> None:
        """Of a split that can be read the first image is as a rule, and no other is opened."""
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
            f"none of the {len(self._files[split]):,} images for {split} in {folder} can be read ({reason}): repair them, or "
            "name another DATASET"
        )

    def broken(self) -> list[tuple[str, str]]:
        return [(path, reason) for path, reason in sorted(self._broken)]

    def facts_for_record(self) -> dict[str, Any]:
        counts = {split: self.folders.class_counts(split) for split in self.folders.files}
        return super().facts_for_record() | {
            "class_images": {
                name: {split: of_split[name] for split, of_split in counts.items()} for name in self.facts.class_names
            }
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
        """The `count` batches of jobs in their order, decoded ahead."""
        config = self.config
        pictures = Pictures(self.folders.root, self._files[split], config.recipe, config.seed, self.shape[1], view)
        workers = min(self.workers, count)
        loader = DataLoader(
            pictures,
            batch_sampler=jobs,
            num_workers=workers,
            collate_fn=pictures.collate,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=PREFETCHED if workers else None,
            worker_init_fn=_one_thread if workers else None,
        )
        for collated in loader:
            self._note(collated.broken)
            yield collated

    def to_device(self, collated: Collated) -> tuple[Tensor, Tensor]:
        images, labels = sent(collated.images, self.device), sent(collated.labels, self.device)
        if self.config.recipe.color and images.ndim == 4 and bool(collated.colors.any()):
            images = images + color_shift(sent(collated.colors, self.device))
        if images.ndim == 5:
            return self.normalization(images.flatten(0, 1)).unflatten(0, images.shape[:2]), labels
        return self.normalization(images), labels

    def _note(self, broken: Sequence[Broken]) -> None:
        if broken and not self.skip_broken:
            path, reason = broken[0]
            raise UserError(
                f"{self.folders.root / path} cannot be read as an image ({reason}): repair or remove it, or set BROKEN=skip"
            )
        self._broken.update(broken)


class FolderStream(TrainStream):
    """The weight of a batch counts the images that could be read, against all that the whole batch should have."""

    def __init__(self, data: FolderData) -> None:
        super().__init__(data.images("train"), data.config)
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        left = max(0, self.config.stop - self.step)
        for collated in self.data.load("train", self._jobs(self.step), left, View.TRAINING):
            part, weight = self.part(self.step)
            self.step += 1
            images, labels = self.data.to_device(collated)
            weight = weight * len(labels) / (part.stop - part.start)
            if not len(labels):
                labels = torch.zeros(1, dtype=torch.int64, device=self.data.device)
            yield Batch(images, labels, weight)

    def _jobs(self, first: int) -> Iterator[list[Job]]:
        """The jobs of this process at every step from `first` on."""
        epoch, order = -1, []
        for step in range(first, self.config.stop):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = draw_epoch(self.images, self.config.seed, epoch, padding=0, flip=False).order.tolist()
            part, _ = self.part(step)
            yield [Job(index, epoch) for index in order[part]]


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
