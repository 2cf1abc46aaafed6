"""Opening the data of a run: arrays in memory, or class folders that are read during training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.arrays import load
from resnet_repro.data.base import Data, StreamConfig
from resnet_repro.data.catalogue import CATALOGUE, DatasetFacts
from resnet_repro.data.folders import scan
from resnet_repro.data.stream import InMemoryData
from resnet_repro.distributed import DistContext
from resnet_repro.errors import UserError


@dataclass(frozen=True)
class LocatedDataset:
    """A data set and its location on disk."""

    facts: DatasetFacts
    digest: str
    """Digest of the contents; of class folders the digest of the listing."""
    folder: Path
    """Folder of the cached arrays, or root of the class folders."""

    @property
    def is_folders(self) -> bool:
        """Whether the data set is class folders, not a data set of the catalogue."""
        return self.facts.name not in CATALOGUE


def open_data(
    settings: RunSettings,
    folder: Path,
    device: torch.device,
    dist: DistContext,
    workers: int = 0,
    skip_broken: bool = False,
) -> Data:
    """Open the data of a run, for one of its processes.

    folder: see `LocatedDataset`. workers, skip_broken: see `FolderData`.
    Raises UserError if the digest of the data differs from the settings.
    """
    config = StreamConfig(settings.arm.recipe, settings.seed, settings.stop_at, device, settings.resolution, dist)
    if facts := CATALOGUE.get(settings.dataset):
        arrays = load(facts, folder)
        if arrays is None or arrays.digest != settings.dataset_digest:
            raise UserError(
                f"{folder} no longer holds the data of this run: delete the folder and run the same command"
            )
        return InMemoryData(arrays, config)
    from resnet_repro.data.folder_stream import FolderData  # imports torchvision, which takes a second

    folders = scan(folder)
    if folders.digest != settings.dataset_digest:
        raise UserError(
            f"{folder} no longer holds the images of this run: restore them, or set RUNS_DIR to a new folder"
        )
    return FolderData(folders, config, workers, skip_broken)
