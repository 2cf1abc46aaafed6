"""record.json: the result of a run, as everything after the training reads it. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, read_rows
from resnet_repro.records.layout import RECORD

FORMAT = 2


@dataclass(frozen=True)
class Record:
    """A run that has ended, as its folder tells it."""

    folder: Path
    data: Mapping[str, Any]

    @property
    def arm(self) -> str:
        return self.data["arm"]

    @property
    def seed(self) -> int:
        return self.data["seed"]

    @property
    def status(self) -> str:
        """ "finished", "diverged", or "skipped" for a run that could not be carried out and says why."""
        return self.data["status"]

    @property
    def is_counted(self) -> bool:
        """Whether the network was counted and not trained."""
        return self.settings.arm.counted is not None

    @cached_property
    def settings(self) -> RunSettings:
        try:
            return RunSettings.from_json(self.data["settings"])
        except UserError as error:
            raise UserError(f"{self.folder / RECORD} cannot be read: {error}") from error

    @cached_property
    def schedule(self) -> tuple[int, int]:
        """(steps, published steps) of the schedules that led to the weights, with those of the runs it started from.

        Of a prefix the steps are its own.
        """
        settings, parent = self.settings, self.data["parent"] or {"iterations": 0, "published_iterations": 0}
        published = round(settings.arm.recipe.iterations * settings.arm.length)
        return settings.followed + parent["iterations"], published + parent["published_iterations"]

    def value(self, metric: str) -> float | None:
        """A final error or a diagnostic by name; None where the run has none, as one that diverged."""
        value = self.data["final"].get(metric, self.data["diagnostics"].get(metric))
        return None if value is None or not math.isfinite(value) else float(value)

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of `metrics`, `speed`, `gradients`, `responses`, a diagnostic's table, or a counted net's `layers`."""
        return read_rows(self.folder / f"{name}.csv")


def read_record(folder: Path) -> Record | None:
    """The record in a run's folder, None where the run has not ended. Raises UserError for a damaged one."""
    data = read_json(folder / RECORD)
    if data is None:
        return None
    required = {
        "format",
        "settings",
        "arm",
        "seed",
        "status",
        "final",
        "best",
        "diagnostics",
        "weights_sha256",
        "parent",
    }
    objects = all(isinstance(data.get(key), dict) for key in ("settings", "final", "diagnostics"))
    whole = objects and isinstance(data.get("parent"), dict | None) and all(map(_is_number, data["final"].values()))
    if not required <= set(data) or data["format"] != FORMAT or not whole:
        raise UserError(f"{folder / RECORD} is no record of this version: delete {folder} to train this run again")
    return Record(folder, data)


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def collect(runs_dir: Path, experiment: str, budget: str) -> list[Record]:
    """All records of an experiment at a budget, by arm folder and seed. Raises UserError for a damaged one."""
    folders = sorted((runs_dir / experiment / budget).glob("*/seed*"), key=lambda f: (f.parent.name, _seed(f)))
    return [record for folder in folders if (record := read_record(folder)) is not None]


def _seed(folder: Path) -> int:
    number = folder.name.removeprefix("seed")
    return int(number) if number.isdigit() else -1
