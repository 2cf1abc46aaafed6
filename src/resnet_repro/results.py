"""What a run leaves on disk: written by the training, read by everything after it. No torch here.

A run's folder, `RUNS_DIR/<experiment>/<profile or budget>/<arm>/seed<k>/`:

    run.json             settings and execution, written before the first step
    progress.json        where the run is, rewritten about once a second
    metrics.csv          losses, errors and learning rate by iteration: a function of the settings alone
    speed.csv            images a second by iteration: what the machine made of it
    gradients.csv        gradient norm of every convolution at the evaluations
    responses.csv        layer responses of the finished network (He15 figure 7)
    inputs.csv, ...      what an arm's watches measured (`analysis.watches`)
    checkpoint.ckpt      where an interrupted run, or a longer prefix, goes on; gone when the whole schedule is finished
    weights.safetensors  final parameters and buffers
    record.json          the result; its presence says that the run is done
    log.txt              what the process printed
    lock                 held by the run's process as long as it lives
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.experiment import RunSettings
from resnet_repro.files import read_json, read_rows

RECORD, RUN, PROGRESS, CHECKPOINT, WEIGHTS, LOG, LOCK = (
    "record.json",
    "run.json",
    "progress.json",
    "checkpoint.ckpt",
    "weights.safetensors",
    "log.txt",
    "lock",
)
FORMAT = 2
SAID = "resnet-repro: "  # before the sentence in a run's log that says why it failed


def run_folder(runs_dir: Path, experiment: str, budget: str, arm: str, seed: int) -> Path:
    """Where a run's files lie."""
    return runs_dir / experiment / budget / arm / f"seed{seed}"


def parent_folder(folder: Path, settings: RunSettings) -> Path | None:
    """The folder of the run that the run in `folder` starts from; None where it starts from no other run."""
    start = settings.arm.start
    if start is None or settings.weights is not None:
        return None
    runs_dir = folder.parents[3]
    return run_folder(runs_dir, start.experiment or settings.experiment, settings.budget, start.arm, settings.seed)


def candidate_folders(folder: Path, settings: RunSettings) -> dict[str, Path]:
    """{arm: folder} of the runs among which the learning rate of the run in `folder` is found."""
    search = settings.arm.search
    runs_dir = folder.parents[3]
    return {
        arm: run_folder(runs_dir, settings.experiment, settings.budget, arm, settings.seed)
        for arm in (search.arms if search else ())
    }


def source_folders(folder: Path, settings: RunSettings) -> list[Path]:
    """The folders of all runs that must have ended before the run in `folder` can start."""
    parent = parent_folder(folder, settings)
    return ([parent] if parent else []) + list(candidate_folders(folder, settings).values())


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
        """The rows of `metrics`, `speed`, `gradients`, `responses`, a watch's table, or a counted net's `layers`."""
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


def progress_of(folder: Path) -> dict[str, Any]:
    """What a run has last said of itself; nothing where that is not there or damaged, as it is only for show."""
    try:
        return read_json(folder / PROGRESS) or {}
    except UserError:
        return {}


def state_of(folder: Path, settings: RunSettings) -> str:
    """ "done", "started" or "new": what a run's folder holds for these settings.

    A run that was skipped is "new": what it lacked may be there by now.
    Raises UserError, naming the difference and the remedy, where it holds a run of other settings, or a record or
    checkpoint that is cut short: a run is never continued as a mixture.
    """
    record = read_record(folder)
    stored = record.data if record else read_json(folder / RUN)
    if stored is None:
        if (folder / CHECKPOINT).exists():
            raise UserError(f"{folder} holds a checkpoint without its {RUN}: delete the folder to train this run again")
        return "new"
    remedy = f"name another RUNS_DIR, or delete {folder} to train this run again"
    asked, found = settings.to_json(), stored.get("settings")
    if not isinstance(found, dict):
        raise UserError(f"{folder} holds no settings: {remedy}")
    found = _with_defaults(found)
    ignored = {"device"} if record else set()
    for key in asked.keys() | found.keys():
        if key not in ignored and _plain(asked.get(key)) != _plain(found.get(key)):
            now, then = _difference(_plain(asked.get(key)), _plain(found.get(key)))
            raise UserError(f"{folder} holds a run made with {key} {then}, not {now}: {remedy}")
    if record:
        check_sources(folder, settings, record)
        return "new" if record.status == "skipped" else "done"
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        return "new"
    if damage := damage_of(checkpoint):
        raise UserError(f"{checkpoint} is cut short or damaged ({damage}): delete {folder} to train this run again")
    return "started"


def damage_of(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's file; None for one that is whole."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)


def check_sources(folder: Path, settings: RunSettings, record: Record) -> None:
    """Raise UserError where the run started from other weights than its parent now has, or was searched among others."""
    remedy = f"delete {folder} to train it again"
    source = parent_folder(folder, settings)
    parent = read_record(source) if source else None
    started_from = record.data["parent"]
    if parent is not None and started_from and started_from["weights_sha256"] != parent.data["weights_sha256"]:
        raise UserError(f"{folder} holds a run that started from other weights than {source} now holds: {remedy}")
    search = record.data.get("search") or {"candidates": {}}
    for arm, row in search["candidates"].items():
        candidate = candidate_folders(folder, settings)[arm]
        found = read_record(candidate)
        if found is not None and found.data["weights_sha256"] != row["weights_sha256"]:
            raise UserError(
                f"{folder} holds a run whose learning rate was found among other runs than {candidate} now holds: {remedy}"
            )


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Stored settings with the fields that this version has added; as they are where this version cannot read them."""
    try:
        return RunSettings.from_json(settings).to_json()
    except UserError:
        return settings


def _plain(value: Any) -> Any:
    """As JSON would give it back, so that tuples equal lists."""
    return json.loads(json.dumps(value))


def _difference(asked: Any, found: Any) -> tuple[str, str]:
    """The two values, or where both are objects the first part in which they differ."""
    if isinstance(asked, dict) and isinstance(found, dict):
        for key in sorted(asked.keys() | found.keys()):
            if asked.get(key) != found.get(key):
                now, then = _difference(asked.get(key), found.get(key))
                return f"{key} {now}", f"{key} {then}"
    return str(asked), str(found)
