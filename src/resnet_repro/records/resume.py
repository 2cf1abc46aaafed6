"""Whether a run's folder holds these settings, and can be continued."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from resnet_repro.config.arm import CountedArm
from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.layout import CHECKPOINT, RUN, candidate_folders, parent_folder
from resnet_repro.records.record import Record, find_any_record, find_record


def state_of(folder: Path, settings: RunSettings) -> str:
    """ "done", "started" or "new": what a run's folder holds for these settings.

    A run that was skipped is "new": what it lacked may be there by now.
    Raises UserError, naming the difference and the remedy, where it holds a run of other settings, or a record or
    checkpoint that is cut short: a run is never continued as a mixture.
    """
    record = find_record(folder)
    stored = record.settings if record else _prepared(folder)
    if stored is None:
        if (folder / CHECKPOINT).exists():
            raise UserError(f"{folder} holds a checkpoint without its {RUN}: delete the folder to train this run again")
        return "new"
    if record:  # finished: on which device does not matter any more
        stored = replace(stored, device=settings.device)
    _check_same(folder, settings, stored)
    if record:
        check_sources(folder, settings, record)
        return "new" if record.status == "skipped" else "done"
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        return "new"
    if damage := damage_of(checkpoint):
        raise UserError(f"{checkpoint} is cut short or damaged ({damage}): delete {folder} to train this run again")
    return "started"


def is_counted(folder: Path, network: CountedArm) -> bool:
    """Whether a folder has the record of this network. Raises UserError where it has that of another one, or of a run."""
    record = find_any_record(folder)
    if isinstance(record, Record):
        raise UserError(f"{folder} holds a run that was trained: name another RUNS_DIR, or delete {folder}")
    if record:
        _check_same(folder, network, record.network)
    return record is not None


def _check_same(folder: Path, asked: RunSettings | CountedArm, stored: RunSettings | CountedArm) -> None:
    # As JSON: tuples and lists are the same there.
    now, then = (msgspec.json.decode(msgspec.json.encode(value)) for value in (asked, stored))
    if now != then:
        raise UserError(
            f"{folder} holds a run made with {_difference(now, then)}: name another RUNS_DIR, or delete {folder} to train "
            "this run again"
        )


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
    parent = find_record(source) if source else None
    if parent and record.parent and record.parent.weights_sha256 != parent.weights_sha256:
        raise UserError(f"{folder} holds a run that started from other weights than {source} now holds: {remedy}")
    for arm, candidate in (record.search.candidates if record.search else {}).items():
        source = candidate_folders(folder, settings)[arm]
        trained = find_record(source)
        if trained and trained.weights_sha256 != candidate.weights_sha256:
            raise UserError(
                f"{folder} holds a run whose learning rate was found among other runs than {source} now holds: {remedy}"
            )


def _prepared(folder: Path) -> RunSettings | None:
    """The settings of a run that has not ended, None where it has not been started."""
    run = read_json(folder / RUN)
    if run is None:
        return None
    try:
        return RunSettings.from_json(run.get("settings"))
    except UserError as error:
        raise UserError(f"{folder / RUN} cannot be read: {error}") from error


def _difference(asked: Any, stored: Any) -> str:
    """ "precision bf16, not fp32": of objects the first entry in which they differ."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        key = next(key for key in sorted(asked.keys() | stored.keys()) if asked.get(key) != stored.get(key))
        return f"{key} {_difference(asked.get(key), stored.get(key))}"
    return f"{stored}, not {asked}"
