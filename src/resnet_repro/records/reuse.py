"""Reuse of trained steps between runs: an identical run's result, or the checkpoint of a shorter prefix.

plain-20 of `degradation` and plain-20 of `shortcuts` have the same arm, seed, schedule and data. A prefix of the
published schedule is the start of every longer prefix. On one machine both would give the same bits again, so training
them twice would only cost time.

Results are copied (a few megabytes per run), not referenced. Each experiment's folder then contains everything that
its report reads, and can be copied or deleted alone.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError, os_reason
from resnet_repro.files import copy_file, read_json, write_json
from resnet_repro.records.layout import CHECKPOINT, LOCK, LOG, PROGRESS, RECEIPT, RECORD, RUN, UPLOAD_LOCK, WEIGHTS
from resnet_repro.records.lock import hold
from resnet_repro.records.progress import progress_of
from resnet_repro.records.record import Record, read_record
from resnet_repro.records.resume import damage_of

# Files that describe the training, or the upload of its recording, not its result.
NOT_COPIED = (CHECKPOINT, LOCK, LOG, PROGRESS, RECORD, RUN, RECEIPT, UPLOAD_LOCK)
# Tables of the finished network.
FINAL_TABLES = (
    "responses.csv",
    "shifts.csv",
    "features.csv",
    "filters.csv",
    "maps.csv",
    "probes.csv",
    "blocks.csv",
    "landscape.csv",
)


def take_over(folder: Path, settings: RunSettings) -> str | None:
    """Copy the result of an identical run of another experiment or budget to `folder`, which holds no result yet.

    Returns the name of that run's experiment; the new record states it, too. Returns None if there is no identical run,
    if the arm has a parent or a search, or if a process trains in `folder`. Raises UserError if the folder cannot be
    written.
    """
    identical = identical_run(folder, settings)
    if identical is None:
        return None
    with _locked(folder) as is_free:
        if is_free:
            _copy_result(identical, folder, settings)
            return identical.settings.experiment
    return None


def take_up(folder: Path, settings: RunSettings) -> int | None:
    """Copy the longest finished prefix of the run's schedule to `folder`, from where training resumes.

    Returns the steps of the prefix. Returns None if no prefix is longer than the steps that the folder holds, or if a
    process trains in it. Raises UserError if the folder cannot be written.
    """
    longest = longest_prefix(folder, settings)
    if longest is None:
        return None
    with _locked(folder) as is_free:
        if is_free:
            _copy_prefix(longest, folder, settings)
            return longest.settings.stop_at
    return None


def identical_run(folder: Path, settings: RunSettings) -> Record | None:
    """The result of an identical run of another experiment or budget, which `take_over` copies; None if there is none."""
    return next((record for record in _records_of_arm(folder, settings) if is_same_run(record, settings)), None)


def longest_prefix(folder: Path, settings: RunSettings) -> Record | None:
    """The longest finished prefix of the run's schedule with more steps than `folder` holds; None if there is none."""
    progress, starts = progress_of(folder), not (folder / CHECKPOINT).exists()
    done = 0 if starts else progress.get("step")
    if done is None or (not starts and not done and progress.get("status") == "starting"):
        return None  # a checkpoint at an unknown step
    prefixes = [record for record in _records_of_arm(folder, settings) if _is_shorter_prefix(record, settings)]
    longer = [record for record in prefixes if record.settings.stop_at > done]
    longer.sort(key=lambda record: -record.settings.stop_at)
    return next((record for record in longer if damage_of(record.folder / CHECKPOINT) is None), None)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Create a run's folder if it is missing and hold its lock. Yields False if a process trains in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / LOCK) as is_free:
            yield is_free
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({os_reason(error)}): use another RUNS_DIR") from error


def _copy_result(identical: Record, folder: Path, settings: RunSettings) -> None:
    for file in identical.folder.iterdir():
        if file.name not in NOT_COPIED and not file.name.startswith("."):
            copy_file(file, folder / file.name)
    _copy_run_json(identical, folder, settings)
    changes = {"folder": folder, "settings": settings, "experiment": settings.experiment, "budget": settings.budget}
    source = identical.taken_over_from or identical.settings.experiment
    msgspec.structs.replace(
        identical, **changes, taken_over_from=source
    ).write()  # last, because it marks the run as done


def _copy_prefix(prefix: Record, folder: Path, settings: RunSettings) -> None:
    for file in prefix.folder.glob("*.csv"):
        if file.name not in FINAL_TABLES:
            shutil.copyfile(file, folder / file.name)
    _copy_run_json(prefix, folder, settings)
    copy_file(prefix.folder / CHECKPOINT, folder / CHECKPOINT)  # last, because it marks the run as started


def _copy_run_json(source: Record, folder: Path, settings: RunSettings) -> None:
    if run := read_json(source.folder / RUN):
        # A new id gives the run a W&B recording of its own.
        write_json(folder / RUN, run | {"settings": settings.to_json(), "id": secrets.token_hex(4)})


def _records_of_arm(folder: Path, settings: RunSettings) -> Iterator[Record]:
    """Records of runs of the same arm and seed in any experiment and budget; none for arms with a parent or a search.

    Skipped runs and damaged records are left out.
    """
    if settings.arm.start or settings.arm.search:
        return
    runs_dir = folder.parents[3]
    for path in sorted(runs_dir.glob(f"*/*/{folder.parent.name}/{folder.name}/{RECORD}")):
        try:
            record = read_record(path.parent)
        except UserError:
            continue
        if record.status != "skipped" and path.parent != folder:
            yield record


def is_same_run(record: Record, settings: RunSettings) -> bool:
    """Whether the run has the same settings, apart from experiment and budget, and still has its weights."""
    has_weights = record.weights_sha256 is None or (record.folder / WEIGHTS).exists()
    return has_weights and _trained_as(record, settings) == settings


def _is_shorter_prefix(record: Record, settings: RunSettings) -> bool:
    """Whether the run is a shorter finished prefix of the same schedule."""
    prefix = record.settings.prefix
    if prefix is None or record.status != "finished" or prefix >= settings.stop_at:
        return False
    return replace(_trained_as(record, settings), prefix=settings.prefix) == settings


def continues(longer: Record, prefix: Record) -> bool:
    """Whether `longer` is a finished run of the same schedule and seed that has gone further than the finished prefix."""
    return longer.status == "finished" and longer.seed == prefix.seed and _is_shorter_prefix(prefix, longer.settings)


def _trained_as(record: Record, settings: RunSettings) -> RunSettings:
    """The record's settings with the experiment and budget of `settings`, which do not affect any number."""
    return replace(record.settings, experiment=settings.experiment, budget=settings.budget)
