"""record.json: the result of a run, written and read here alone. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from resnet_repro.config.arm import CountedArm, Recipe
from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, read_rows, write_json
from resnet_repro.records.layout import RECORD

FORMAT = 2

Number = int | float


class Parent(msgspec.Struct, frozen=True):
    """The run whose weights another one starts from.

    iterations, published_iterations: steps of the schedules that led to those weights, and as published.
    """

    experiment: str
    arm: str
    seed: int
    weights_sha256: str
    iterations: int
    published_iterations: int


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run among which a learning rate was searched, with the metric of the search; None where it diverged."""

    learning_rate: float
    weights_sha256: str | None
    validation_error: float | None = None
    validation_loss: float | None = None


class FoundRate(msgspec.Struct, frozen=True):
    """The learning rate that a search has found. candidates: by arm, all at the run's seed."""

    chosen: str
    learning_rate: float
    metric: Literal["validation_error", "validation_loss"]
    candidates: dict[str, Candidate]

    def score(self, arm: str) -> float | None:
        """The metric of a candidate; None where it diverged."""
        return getattr(self.candidates[arm], self.metric)


class WeightsFrom(msgspec.Struct, frozen=True):
    """Where a pretrained backbone comes from. substitute: whether in place of the weights wanted."""

    name: str
    substitute: bool


class ModelFacts(msgspec.Struct, frozen=True):
    """layers: those with weights on the main path. multiply_adds: for one image. parts: (name, trainable, frozen parameters)
    of each part, for networks that are counted. trainable_parameters: None in records that do not tell.
    """

    layers: int
    parameters: int
    multiply_adds: int
    trainable_parameters: int | None = None
    parts: tuple[tuple[str, int, int], ...] | None = None


class Dataset(msgspec.Struct, frozen=True):
    """The data set of a run. digest: of the contents, of class folders that of their listing. shape: (C, H, W) as the
    network sees an image. used: images of each split. class_images: {class: {split: images}} of class folders. broken:
    {file: reason} of the first of the broken_images that could not be read.
    """

    name: str
    title: str
    digest: str
    standin: bool
    classes: int
    train_images: int
    test_images: int
    shape: tuple[int, ...] | None = None
    used: dict[str, int] = {}
    class_images: dict[str, dict[str, int]] | None = None
    broken_images: int = 0
    broken: dict[str, str] = {}


# Entries that had other names when the first records were written.
OLD_NAMES = {"budget": "profile", "pairing_key": "draws"}


class Ended(msgspec.Struct, frozen=True, kw_only=True, rename=OLD_NAMES):
    """What records of runs and of counted networks have in common."""

    folder: Path
    format: int = FORMAT
    experiment: str
    arm: str
    seed: int
    budget: str
    diagnostics: dict[str, Number]
    seconds: float = 0.0
    model: ModelFacts
    hardware: str
    versions: dict[str, str]
    commit: str | None
    finished_at: str

    def value(self, metric: str) -> float | None:
        """A metric by name; None where there is none, as of a run that diverged."""
        value = self.diagnostics.get(metric)
        return None if value is None or not math.isfinite(value) else float(value)

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of `metrics`, `speed`, `gradients`, `responses`, a diagnostic's table, or a counted network's `layers`."""
        return read_rows(self.folder / f"{name}.csv")

    def write(self) -> None:
        """Put the record into its folder, in one piece. Raises OSError."""
        data = msgspec.to_builtins(self, enc_hook=str)
        write_json(self.folder / RECORD, {name: value for name, value in data.items() if name != "folder"})


class CountRecord(Ended, frozen=True, kw_only=True):
    """A network that has been counted. diagnostics: its totals and measures by name. seconds: that counting took."""

    network: CountedArm


class Record(Ended, frozen=True, kw_only=True):
    """A run that has ended, as its folder tells it. Fields with defaults are missing from older records.

    status: "skipped" is a run that could not be carried out; `skipped` says why. iterations: steps taken. final, best,
    diagnostics: metrics by name; a value that was not finite is None. seconds: of training and evaluation; feature_seconds:
    those in which features were computed once, before the training. pairing_key: a digest of what chance gave the run.
    processes: that carried it out together. step: how steps were taken, see `Classifier.how_taken`. activation_mib: what
    storing the activations takes; peak_memory_mib: the most that a process held. taken_over_from: the experiment that
    trained the run.
    """

    status: Literal["finished", "diverged", "skipped"]
    skipped: str | None = None
    iterations: int = 0
    diverged_at: int | None = None
    warmed_up_at: int | None = None
    final: dict[str, Number | None]
    best: dict[str, Number]
    training_seconds: float = 0.0
    feature_seconds: float | None = None
    images_per_second: float = 0.0
    weights_sha256: str | None
    parent: Parent | None
    search: FoundRate | None = None
    weights_from: WeightsFrom | None = None
    pairing_key: str | None
    recipe: Recipe
    dataset: Dataset
    processes: int = 1
    precision: str
    device: str
    threads: int | None
    compilation: str
    step: str = "eager"
    activations: str
    activation_mib: float | None = None
    peak_memory_mib: float | None
    settings: RunSettings
    taken_over_from: str | None = None

    @property
    def schedule(self) -> tuple[int, int]:
        """(steps, published steps) of the schedules that led to the weights, with those of the runs it started from.

        Of a prefix the steps are its own.
        """
        settings, parent = self.settings, self.parent
        before, published_before = (parent.iterations, parent.published_iterations) if parent else (0, 0)
        published = round(settings.arm.recipe.iterations * settings.arm.length)
        return settings.followed + before, published + published_before

    def value(self, metric: str) -> float | None:
        value = self.final.get(metric)
        return super().value(metric) if value is None else float(value) if math.isfinite(value) else None


AnyRecord = Record | CountRecord


def only_trained(records: Iterable[AnyRecord]) -> list[Record]:
    """Those of runs, without those of networks that were only counted."""
    return [record for record in records if isinstance(record, Record)]


def only_counted(records: Iterable[AnyRecord]) -> list[CountRecord]:
    """Those of networks that were counted."""
    return [record for record in records if isinstance(record, CountRecord)]


def find_record(folder: Path) -> Record | None:
    """The record in a run's folder, None where the run has not ended. Raises UserError for a damaged one."""
    record = find_any_record(folder)
    if isinstance(record, CountRecord):
        raise UserError(f"{folder} holds a network that was counted: name another RUNS_DIR, or delete {folder}")
    return record


def read_record(folder: Path) -> Record:
    """The record in a run's folder. Raises UserError where the run has not ended, and for a damaged one."""
    record = find_record(folder)
    if record is None:
        raise UserError(f"{folder} holds no finished run: train it first")
    return record


def find_any_record(folder: Path) -> AnyRecord | None:
    """The record of a run or a counted network, None where the folder has none. Raises UserError for a damaged one."""
    path, data = folder / RECORD, read_json(folder / RECORD)
    if data is None:
        return None
    try:
        data = {**data, "folder": folder}
        if network := _network(data):
            record = msgspec.convert({**data, "network": network}, CountRecord)
        else:
            settings = data.get("settings")
            if isinstance(settings, dict):
                settings = RunSettings.from_json(settings)
            record = msgspec.convert({**data, "settings": settings}, Record)
        if record.format != FORMAT:
            raise ValueError(f"format {record.format}, not {FORMAT}")
    except UserError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(
            f"{path} is no record of this version ({error}): delete {folder} to train this run again"
        ) from error
    return record


def _network(data: dict[str, Any]) -> object:
    """The network that a record counts; in the first records it is an arm with a recipe by which nothing was trained."""
    settings = data.get("settings")
    arm = settings.get("arm") if isinstance(settings, dict) else None
    if isinstance(arm, dict) and isinstance(arm.get("counted"), dict):
        return {name: arm.get(name) for name in ("name", "model", "control")} | arm["counted"]
    return data.get("network")


def collect(runs_dir: Path, experiment: str, budget: str) -> list[AnyRecord]:
    """All records of an experiment at a budget, by arm folder and seed. Raises UserError for a damaged one."""
    folders = sorted((runs_dir / experiment / budget).glob("*/seed*"), key=lambda f: (f.parent.name, _seed(f)))
    return [record for folder in folders if (record := find_any_record(folder)) is not None]


def _seed(folder: Path) -> int:
    number = folder.name.removeprefix("seed")
    return int(number) if number.isdigit() else -1
