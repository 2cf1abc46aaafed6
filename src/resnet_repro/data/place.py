"""Where the data of a study lie, and the data of a run opened there: in memory, or class folders read along the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from resnet_repro.data.arrays import load
from resnet_repro.data.base import Data
from resnet_repro.data.catalogue import CATALOGUE, CIFAR10, DatasetFacts
from resnet_repro.data.folders import IMAGENET, names_folders, scan
from resnet_repro.data.sources import obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.errors import UserError
from resnet_repro.experiment import Experiment, RunSettings
from resnet_repro.world import World

FOLDER_RESOLUTION = 224


@dataclass(frozen=True)
class Place:
    """A data set that has been found: its facts, the digest of its contents, the folder of its cache or its images."""

    facts: DatasetFacts
    digest: str
    folder: Path

    @property
    def is_folders(self) -> bool:
        """Whether these are class folders, and not a data set of the catalogue."""
        return self.facts.name not in CATALOGUE


def find_place(
    dataset: str,
    experiment: Experiment,
    data_dir: Path,
    mirror: str | None,
    say: Callable[[str], None],
    data_dir_named: bool,
) -> Place:
    """Where the data set lies that the user asks for, by a name of the catalogue or by the path of class folders.

    "auto" is the experiment's own, or CIFAR-10 for one whose own is ImageNet; else a stand-in. Raises UserError, see
    `sources.obtain` and `folders.scan`, and for class folders that the experiment cannot use.
    """
    if names_folders(dataset):
        if not experiment.folders:
            raise UserError(
                f"DATASET={dataset} names class folders, and the nets of {experiment.name} are made for the images of "
                f"{experiment.dataset}: name a data set"
            )
        say(f"looking through {dataset}")
        folders = scan(Path(dataset))
        return Place(folders.facts, folders.digest, Path(dataset))
    if dataset == IMAGENET and experiment.folders:
        raise UserError(
            f"{experiment.name} wants ImageNet-1k here, which nobody may pass on: set DATASET to the path of its folders "
            "(train/<class>/*, val/<class>/*), or to a data set that can be had, as cifar10"
        )
    if experiment.folders and dataset not in ("auto", *CATALOGUE):
        raise UserError(
            f"unknown data set {dataset!r}: take auto, {', '.join(CATALOGUE)}, or the path of class folders "
            "(train/<class>/*, val/<class>/*)"
        )
    own = experiment.dataset if experiment.dataset in CATALOGUE else CIFAR10.name
    arrays = obtain(dataset, data_dir, mirror, say, own, data_dir_named)
    return Place(arrays.facts, arrays.digest, arrays.folder)


def find_named(
    name: str, data_dir: Path, mirror: str | None, say: Callable[[str], None], data_dir_named: bool
) -> Place:
    """Where a data set of the catalogue lies; its stand-in where it cannot be had."""
    arrays = obtain("auto", data_dir, mirror, say, name, data_dir_named)
    return Place(arrays.facts, arrays.digest, arrays.folder)


def open_data(
    settings: RunSettings, folder: Path, device: torch.device, world: World, workers: int = 0, skip_broken: bool = False
) -> Data:
    """The data that a run's settings name, for one of the processes that train it.

    folder: the cached arrays of a data set of the catalogue, or class folders. workers: see `FolderData`.
    Raises UserError where the folder holds other data than the settings name.
    """
    recipe, seed, stop = settings.arm.recipe, settings.seed, settings.stop_at
    if facts := CATALOGUE.get(settings.dataset):
        arrays = load(facts, folder)
        if arrays is None or arrays.digest != settings.dataset_digest:
            raise UserError(
                f"{folder} no longer holds the data of this run: delete that folder and run the same command"
            )
        return InMemoryData(arrays, recipe, seed, stop, device, settings.resolution, world)
    from resnet_repro.data.folder_stream import FolderData  # torchvision takes a second, and runs in memory do without

    folders = scan(folder)
    if folders.digest != settings.dataset_digest:
        raise UserError(
            f"{folder} no longer holds the images that this run began with: put them back, or name a new RUNS_DIR"
        )
    resolution = settings.resolution or FOLDER_RESOLUTION
    return FolderData(
        folders,
        recipe,
        seed,
        stop,
        device,
        resolution=resolution,
        workers=workers,
        world=world,
        skip_broken=skip_broken,
    )
