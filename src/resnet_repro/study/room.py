"""Disk space that runs take: their results, and the checkpoints while they train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.study.cost import described

# Bytes of a row, measured on runs of `degradation` and `depth`. Tables of an arm's own measurements are small beside them.
READING, GRADIENT = 90, 32  # of metrics.csv with speed.csv, and of gradients.csv
FILES = 12_000  # bytes of run.json, record.json, the log and small tables


@dataclass(frozen=True)
class Room:
    """Bytes of a run's files."""

    kept: int
    """Tables, record and weights; of a prefix also its checkpoint."""
    training: int
    """At most while it trains: a new checkpoint is written beside the old one."""


def room_for(settings: RunSettings, facts: DatasetFacts) -> Room:
    """The disk space that a run needs on a data set."""
    from resnet_repro.training.monitor import GRADIENT_POINTS, LOG_POINTS

    net = described(settings, facts)
    recipe = settings.arm.recipe
    moments = 2 if recipe.optimizer == "adam" else 1 if recipe.momentum else 0
    weights = 4 * net["parameters"]
    checkpoint = weights + 4 * moments * net["trainable_parameters"]
    read_every = settings.arm.read_every or min(100, max(1, settings.iterations // LOG_POINTS))
    steps, evaluations = settings.stop_at, settings.stop_at // settings.evaluate_every
    readings = steps // read_every + evaluations
    gradients = (steps // max(1, settings.iterations // GRADIENT_POINTS) + evaluations + 1) * net["layers"]
    tables = READING * readings + GRADIENT * gradients + FILES
    keeps = settings.prefix is not None
    return Room(tables + weights + keeps * checkpoint, tables + max(weights + checkpoint, 2 * checkpoint))


def existing_parent(folder: Path) -> Path:
    """The folder itself, or the nearest folder above it that exists."""
    path = folder.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def needed(rooms: list[Room], at_once: int | None) -> tuple[int, int]:
    """(bytes that are kept, most bytes at any time) of runs of which `at_once` train together; None: all."""
    kept = sum(room.kept for room in rooms)
    extra = sorted((max(0, room.training - room.kept) for room in rooms), reverse=True)
    return kept, kept + sum(extra[:at_once])
