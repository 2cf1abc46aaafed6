"""record.json: the result of a run. Only this module reads and writes the file. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from resnet_repro.config.arm import CountedArm, Recipe
from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError, os_reason
from resnet_repro.files import read_json, typed, write_json
from resnet_repro.records.entries import Dataset, Energy, FoundRate, ModelFacts, Number, Parent, WeightsFrom
from resnet_repro.records.layout import RECORD
from resnet_repro.tables import read_curve, read_rows

FORMAT = 2

# Fields that had other names when the first records were written: {field: name in the file}.
OLD_NAMES = {"budget": "profile", "pairing_key": "draws"}


class Ended(msgspec.Struct, frozen=True, kw_only=True, rename=OLD_NAMES):
    """Fields that records of runs and records of counted networks have in common."""

    folder: Path
    """The folder of the record. Not stored in the file."""
    format: int = FORMAT
    """Version of the file format."""
    experiment: str
    arm: str
    seed: int
    budget: str
    """Name of the budget's folder, e.g. a profile."""
    diagnostics: dict[str, Number]
    """{metric: value}."""
    seconds: float = 0.0
    """Wall-clock time in seconds: training and evaluation, or counting."""
    model: ModelFacts
    hardware: str
    """Name of the CPU or GPU."""
    versions: dict[str, str]
    """{package: version}, Python included."""
    commit: str | None
    """Commit of the code, see `provenance.commit`; several, if processes of different commits trained the run."""
    finished_at: str
    """UTC time in ISO 8601."""

    def value(self, metric: str) -> float | None:
        """A metric by name; None if it is missing or not finite."""
        value = self.diagnostics.get(metric)
        return None if value is None or not math.isfinite(value) else float(value)

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of a table in the run's folder, e.g. `metrics`, `speed`, or `layers` of a counted network.

        Raises UserError if the file cannot be read.
        """
        path = self.folder / f"{name}.csv"
        try:
            return read_rows(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({os_reason(error)}): check what it is, and its permissions"
            ) from error

    def curve(self, name: str, column: str) -> tuple[list[int], list[float]]:
        """(iterations, values) of a column of a table in the run's folder; rows without a value are left out.

        Faster than `table`. Raises UserError if the file cannot be read or lacks the column.
        """
        return read_curve(self.folder / f"{name}.csv", column)

    def write(self) -> None:
        """Write the record to its folder, atomically. Raises OSError."""
        data = msgspec.to_builtins(self, enc_hook=str)
        write_json(self.folder / RECORD, {name: value for name, value in data.items() if name != "folder"})


class CountRecord(Ended, frozen=True, kw_only=True):
    """The record of a counted network. Its diagnostics are the network's totals and measures."""

    network: CountedArm


class Record(Ended, frozen=True, kw_only=True):
    """The record of a run that has ended. Older records lack the fields with defaults."""

    status: Literal["finished", "diverged", "skipped"]
    """A skipped run could not be trained, e.g. because its parent diverged."""
    skipped: str | None = None
    """The reason for the status "skipped"."""
    iterations: int = 0
    """Training steps taken."""
    diverged_at: int | None = None
    """The first step whose loss or update was not finite."""
    warmed_up_at: int | None = None
    """The step at which a warm-up with `until_error` ended."""
    lone_steps: int = 0
    """Steps on one image per process whose batch normalizations used running statistics, see `norms.BatchNorm`."""
    final: dict[str, Number | None]
    """{metric: value} of the final network. None: the value was not finite."""
    best: dict[str, Number]
    """The lowest test error of all evaluations, with its iteration and the number of test images."""
    training_seconds: float = 0.0
    """Seconds spent in training steps, without evaluation."""
    feature_seconds: float | None = None
    """Seconds to precompute features before training. None: no features were precomputed."""
    images_per_second: float = 0.0
    """Mean speed of training, without evaluation."""
    operations: float | None = None
    """Floating-point operations of all training steps, see `diagnostics.complexity.training_operations`. None: older records,
    and skipped runs.
    """
    energy: Energy | None = None
    """None: older records, and runs without steps."""
    begun_at: str | None = None
    """UTC time in ISO 8601 at which the run was first prepared. None: older records."""
    weights_sha256: str | None
    """SHA-256 of the final weights. None: diverged or skipped."""
    parent: Parent | None
    """The run that the first weights come from. None: no such run."""
    search: FoundRate | None = None
    """The learning-rate search. None: the rate is the recipe's."""
    weights_from: WeightsFrom | None = None
    """The source of a pretrained backbone. None: no pretrained backbone."""
    pairing_key: str | None
    """Digest of the first weights and of the order of the data. Runs with equal keys can be compared in pairs."""
    recipe: Recipe
    """The recipe as trained, with the learning rate of the search."""
    dataset: Dataset
    processes: int = 1
    """Processes that trained the run together."""
    precision: str
    """Either "bf16" or "fp32"."""
    device: str
    """Kind of device: "cpu", "cuda" or "mps"."""
    threads: int | None
    """CPU threads. None: the run was not on a CPU."""
    compilation: str
    """Whether the forward pass was compiled, and if not, why."""
    step: str = "eager"
    """How training steps were executed, see `Classifier.how_taken`."""
    activations: str
    """Activations for backpropagation: "stored" or "recomputed". Skipped runs: "none"."""
    activation_mib: float | None = None
    """Memory in MiB that the activations of one step take if stored."""
    peak_memory_mib: float | None
    """Peak memory in MiB of a process: allocated GPU memory on CUDA, else resident memory."""
    settings: RunSettings
    test_correct: str | None = None
    """Which of the scored test images are classified correctly, see `predictions.packed`. None: unknown."""
    taken_over_from: str | None = None
    """The experiment that trained the run. None: the run's own experiment."""

    @property
    def schedule(self) -> tuple[int, int]:
        """(steps, published steps) of all schedules that led to the weights, including the parent's.

        For a prefix, the steps are those of the prefix.
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
    """The records of runs, without those of counted networks."""
    return [record for record in records if isinstance(record, Record)]


def only_counted(records: Iterable[AnyRecord]) -> list[CountRecord]:
    """The records of counted networks."""
    return [record for record in records if isinstance(record, CountRecord)]


def find_record(folder: Path) -> Record | None:
    """The record in a run's folder; None if the run has not ended. Raises UserError for a damaged record."""
    record = find_any_record(folder)
    if isinstance(record, CountRecord):
        raise UserError(f"{folder} holds a counted network, not a run: use another RUNS_DIR, or delete {folder}")
    return record


def read_record(folder: Path) -> Record:
    """The record in a run's folder. Raises UserError if the run has not ended or the record is damaged."""
    record = find_record(folder)
    if record is None:
        raise UserError(f"{folder} holds no finished run: train it first")
    return record


def find_any_record(folder: Path) -> AnyRecord | None:
    """The record of a run or a counted network; None if the folder has no record. Raises UserError for a damaged record."""
    path, data = folder / RECORD, read_json(folder / RECORD)
    if data is None:
        return None
    try:
        data = {**data, "folder": folder}
        if network := _network(data):
            record = typed({**data, "network": network}, CountRecord)
        else:
            settings = data.get("settings")
            if isinstance(settings, dict):
                settings = RunSettings.from_json(settings)
            record = typed({**data, "settings": settings}, Record)
        if record.format != FORMAT:
            raise ValueError(f"format {record.format}, not {FORMAT}")
        if isinstance(record, Record) and (fault := _contradiction(record)):
            raise ValueError(fault)
    except UserError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(
            f"{path} is not a record of this version ({error}): delete {folder} to train this run again"
        ) from error
    return record


def _contradiction(record: Record) -> str | None:
    """What in a record cannot be though each entry has its type, e.g. "settings.arm.recipe.batch_size is 0"; else None."""
    recipe, settings = record.recipe, record.settings
    for name, value, least in (
        ("dataset.classes", record.dataset.classes, 2),
        ("recipe.iterations", recipe.iterations, 1),
        ("recipe.batch_size", recipe.batch_size, 1),
        ("settings.arm.recipe.iterations", settings.arm.recipe.iterations, 1),
        ("settings.arm.recipe.batch_size", settings.arm.recipe.batch_size, 1),
        ("settings.iterations", settings.iterations, 0),
        ("settings.arm.length", settings.arm.length, 0),
        ("seed", record.seed, 0),
        ("iterations", record.iterations, 0),
        ("seconds", record.seconds, 0),
        ("training_seconds", record.training_seconds, 0),
        ("images_per_second", record.images_per_second, 0),
        ("processes", record.processes, 1),
    ):
        if value < least:
            return f"{name} is {value}: expected at least {least}"
    if not math.isfinite(settings.arm.recipe.iterations * settings.arm.length):
        return f"settings.arm.length is {settings.arm.length}: expected a number of schedules"
    if record.status == "diverged" and record.diverged_at is None:
        return "status is diverged, and diverged_at is missing"
    if record.search and record.search.chosen not in record.search.candidates:
        return f"search.candidates lacks {record.search.chosen}"
    return None


def _network(data: dict[str, Any]) -> object:
    """The network of a CountRecord. The first records stored it as an arm, in the settings of a run."""
    settings = data.get("settings")
    arm = settings.get("arm") if isinstance(settings, dict) else None
    if isinstance(arm, dict) and isinstance(arm.get("counted"), dict):
        return {name: arm.get(name) for name in ("name", "model", "control")} | arm["counted"]
    return data.get("network")


def collect(runs_dir: Path, experiment: str, budget: str) -> list[AnyRecord]:
    """All records of an experiment at a budget, sorted by arm and seed.

    Raises UserError for a damaged record, and for one in the folder of another run.
    """
    folders = sorted((runs_dir / experiment / budget).glob("*/seed*"), key=lambda f: (f.parent.name, _seed(f)))
    records = [record for folder in folders if (record := find_any_record(folder)) is not None]
    for record in records:
        if (record.arm, record.seed) != (record.folder.parent.name, _seed(record.folder)):
            raise UserError(
                f"{record.folder / RECORD} belongs to {record.arm} seed {record.seed}: move it to the folder of that run, "
                f"or delete {record.folder}"
            )
    return records


def _seed(folder: Path) -> int:
    number = folder.name.removeprefix("seed")
    return int(number) if number.isdecimal() else -1
