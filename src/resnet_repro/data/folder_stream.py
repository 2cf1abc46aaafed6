"""Batches from class folders: images decoded in worker processes, scaled and cut there, normalized on the device.

Which images a batch holds, and what is drawn on each of them, is a function of (seed, epoch, image) alone: of no worker,
of no number of processes, of nothing that came before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnet_repro.config.arm import Recipe
from resnet_repro.data.base import Batch, Data
from resnet_repro.data.color import color_shift
from resnet_repro.data.folders import ClassFolders, File
from resnet_repro.data.pictures import BrokenPicture, evaluation_view, read_picture, ten_views, training_view
from resnet_repro.data.stream import Normalization, draw_epoch, evaluation_batch, sent, shared, shifted, steps_per_epoch
from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.errors import UserError

PREFETCHED = 2  # batches that each worker has ready, in shared memory
IMAGE_DRAWS = 0x1A6E  # keeps what is drawn on an image apart from all else that is drawn from a seed
Job = tuple[int, int]  # epoch and index of an image; an epoch of -1 is the evaluation view, -10 the ten of them


@dataclass(frozen=True)
class Collated:
    """A batch as the workers give it: images uint8, labels, the components of the colours; and (file, reason) of the bad."""

    images: Tensor
    labels: Tensor
    colors: Tensor
    broken: list[tuple[str, str]]

    def pin_memory(self) -> Collated:
        return Collated(self.images.pin_memory(), self.labels.pin_memory(), self.colors.pin_memory(), self.broken)


class Pictures(Dataset):
    """Images by (epoch, index), as (view, label, components of the colours), or the reason why there is none."""

    def __init__(self, root: Path, files: Sequence[File], recipe: Recipe, seed: int, resolution: int) -> None:
        self.root, self.files, self.recipe, self.seed, self.resolution = root, files, recipe, seed, resolution

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, job: Job) -> Any:
        epoch, index = job
        file = self.files[index]
        try:
            picture = read_picture(self.root / file.path)
        except BrokenPicture as broken:
            return file.path, broken.reason
        colors = np.zeros(3)
        if epoch >= 0:
            rng = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, index, IMAGE_DRAWS)))
            view = training_view(picture, self.resolution, self.recipe, rng)
            colors = self.recipe.color * rng.standard_normal(3)
        elif epoch == -1:
            view = evaluation_view(picture, self.resolution, self.recipe)
        else:
            view = ten_views(picture, self.resolution, self.recipe)
        return view, file.label, torch.from_numpy(colors).float()

    def collate(self, items: Sequence[Any]) -> Collated:
        good = [item for item in items if len(item) == 3]
        broken = [item for item in items if len(item) == 2]
        if not good:  # a batch must have an image; this one counts for nothing
            nothing = torch.zeros(1, 3, self.resolution, self.resolution, dtype=torch.uint8)
            return Collated(nothing, torch.zeros(0, dtype=torch.int64), torch.zeros(1, 3), broken)
        views, labels, colors = zip(*good, strict=True)
        return Collated(torch.stack(views), torch.tensor(labels), torch.stack(colors), broken)


class FolderData(Data):
    """Class folders, their images at `resolution` pixels.

    workers: processes that decode for this one; 0 decodes in this process. skip_broken: files that cannot be read are
    left out, and `broken` names them; else the first one raises UserError.
    Images held out are those of the folders' own validation split, else the last of the training images. Raises
    UserError where none are left to train on, and where a split has none that can be read.
    """

    def __init__(
        self,
        folders: ClassFolders,
        recipe: Recipe,
        seed: int,
        stop: int,
        device: torch.device,
        *,
        resolution: int,
        workers: int = 0,
        dist: DistContext = ALONE,
        skip_broken: bool = False,
    ) -> None:
        super().__init__()
        self.facts, self.digest, self.folders = folders.facts, folders.digest, folders
        self.recipe, self.seed, self.stop, self.device, self.dist = recipe, seed, stop, device, dist
        self.resolution, self.workers, self.skip_broken = resolution, workers, skip_broken
        self.shape = (3, resolution, resolution)
        self.normalization = Normalization.fixed(recipe.scaling, device)
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
        self._broken: set[tuple[str, str]] = set()
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

    @property
    def splits(self) -> list[str]:
        return list(self._files)

    def images(self, split: str) -> int:
        return len(self._files[split])

    def broken(self) -> list[tuple[str, str]]:
        return sorted(self._broken)

    def facts_for_record(self) -> dict[str, Any]:
        counts = {split: self.folders.class_counts(split) for split in self.folders.files}
        return super().facts_for_record() | {
            "class_images": {
                name: {split: of_split[name] for split, of_split in counts.items()} for name in self.facts.class_names
            }
        }

    def train_dataloader(self) -> FolderStream:
        return FolderStream(self)

    def batches(
        self,
        split: str,
        limit: int | None = None,
        size: int | None = None,
        shift: tuple[int, int] = (0, 0),
        share: DistContext = ALONE,
        views: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Data.batches`. views: 1, or 10 for images (B, 10, C, H, W) at the corners and in the middle."""
        count = min(limit or self.images(split), self.images(split))
        mine = share.share(count)
        size = size or max(1, evaluation_batch(self.device.type, self.resolution) // views)
        jobs = [
            [(-views, index) for index in range(start, min(start + size, mine.stop))]
            for start in range(mine.start, mine.stop, size)
        ]
        for collated in self.load(split, jobs):
            if len(collated.labels):
                images, labels = self.to_device(collated)
                yield (shifted(images, *shift) if any(shift) else images), labels

    def ten_views(
        self, split: str, limit: int | None = None, share: DistContext = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches(split, limit, share=share, views=10)

    def load(self, split: str, jobs: Sequence[list[Job]]) -> Iterator[Collated]:
        """The batches of jobs in their order, decoded ahead."""
        pictures = Pictures(self.folders.root, self._files[split], self.recipe, self.seed, self.resolution)
        workers = min(self.workers, len(jobs))
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
        if self.recipe.color and images.ndim == 4 and bool(collated.colors.any()):
            images = images + color_shift(sent(collated.colors, self.device))
        if images.ndim == 5:
            return self.normalization(images.flatten(0, 1)).unflatten(0, images.shape[:2]), labels
        return self.normalization(images), labels

    def _note(self, broken: Sequence[tuple[str, str]]) -> None:
        if broken and not self.skip_broken:
            path, reason = broken[0]
            raise UserError(
                f"{self.folders.root / path} cannot be read as an image ({reason}): repair or remove it, or set BROKEN=skip"
            )
        self._broken.update(broken)


class FolderStream:
    """The training batches from step `step` on; see `stream.TrainStream`, whose counterpart this is.

    The weight of a batch counts the images that could be read, against all that the whole batch should have.
    """

    def __init__(self, data: FolderData) -> None:
        self.data = data
        self.steps_per_epoch = steps_per_epoch(data.images("train"), data.recipe.batch_size)
        self.step = 0

    def __len__(self) -> int:
        return self.data.stop

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]

    def __iter__(self) -> Iterator[Batch]:
        data = self.data
        plan = _Plan(data, self.steps_per_epoch, self.step)
        for collated in data.load("train", plan):
            weight = plan.weight(self.step, len(collated.labels))
            self.step += 1
            images, labels = data.to_device(collated)
            if not len(labels):
                labels = torch.zeros(1, dtype=torch.int64, device=data.device)
            yield (images, labels) if weight == 1.0 and data.dist.size == 1 else (images, labels, weight)


class _Plan(Sequence):
    """The jobs of this process at every step from `first` on; made when asked for, as a training has millions."""

    def __init__(self, data: FolderData, steps_per_epoch: int, first: int) -> None:
        self.data, self.steps_per_epoch, self.first = data, steps_per_epoch, first
        self._epoch = -1
        self._order: list[int] = []

    def __len__(self) -> int:
        return max(0, self.data.stop - self.first)

    def __getitem__(self, index: int) -> list[Job]:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        step = self.first + index
        epoch = step // self.steps_per_epoch
        if epoch != self._epoch:
            images = self.data.images("train")
            self._order = draw_epoch(images, self.data.seed, epoch, padding=0, flip=False).order.tolist()
            self._epoch = epoch
        part, _ = shared(self.data.dist, *self._whole(step))
        return [(epoch, image) for image in self._order[part]]

    def weight(self, step: int, good: int) -> float:
        """Of the mean loss over `good` images, for the mean over all processes to be that over the whole batch."""
        first, count = self._whole(step)
        part, weight = shared(self.data.dist, first, count)
        return weight * good / (part.stop - part.start)

    def _whole(self, step: int) -> tuple[int, int]:
        """(first position, images) of the whole batch at a step."""
        first = (step % self.steps_per_epoch) * self.data.recipe.batch_size
        return first, min(self.data.recipe.batch_size, self.data.images("train") - first)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
