"""Where the data of a study lie, and the data of a run opened there: in memory, or class folders read along the way."""

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
    """A data set that has been found: its facts, the digest of its contents, the folder of its cache or its images."""

    facts: DatasetFacts
    digest: str
    folder: Path

    @property
    def is_folders(self) -> bool:
        """Whether these are class folders, and not a data set of the catalogue."""
        return self.facts.name not in CATALOGUE


def open_data(
    settings: RunSettings,
    folder: Path,
    device: torch.device,
    dist: DistContext,
    workers: int = 0,
    skip_broken: bool = False,
) -> Data:
    """The data that a run's settings name, for one of the processes that train it.

    folder: the cached arrays of a data set of the catalogue, or class folders. workers: see `FolderData`.
    Raises UserError where the folder holds other data than the settings name.
    """
    config = StreamConfig(settings.arm.recipe, settings.seed, settings.stop_at, device, settings.resolution, dist)
    if facts := CATALOGUE.get(settings.dataset):
        arrays = load(facts, folder)
        if arrays is None or arrays.digest != settings.dataset_digest:
            raise UserError(
                f"{folder} no longer holds the data of this run: delete that folder and run the same command"
            )
        return InMemoryData(arrays, config)
    from resnet_repro.data.folder_stream import FolderData  # torchvision takes a second, and runs in memory do without

    folders = scan(folder)
    if folders.digest != settings.dataset_digest:
        raise UserError(
            f"{folder} no longer holds the images that this run began with: put them back, or name a new RUNS_DIR"
        )
    return FolderData(folders, config, workers, skip_broken)
