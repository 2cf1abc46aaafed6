"""Whether a run's folder holds a run of given settings, and whether that run can be resumed."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_repro.config.arm import CountedArm
from resnet_repro.config.settings import RunSettings, as_json
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.layout import CHECKPOINT, RECORD, RUN, candidate_folders, parent_folder
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import Record, find_any_record, find_record


def state_of(folder: Path, settings: RunSettings) -> str:
    """State of a run with these settings: "done", "started" (it has a checkpoint) or "new".

    A skipped run is "new", because the reason for skipping it may no longer hold.
    Raises UserError if the folder holds a run with other settings, or a damaged record or checkpoint.
    """
    record = find_record(folder)
    stored = record.settings if record else prepared_settings(folder)
    if stored is None:
        if (folder / CHECKPOINT).exists():
            raise UserError(f"{folder} holds a checkpoint but no {RUN}: delete {folder} to train this run again")
        return "new"
    if record:  # a finished run counts on any device
        stored = replace(stored, device=settings.device)
    _check_same(folder, settings, stored)
    if record:
        check_sources(folder, settings, record)
        return "new" if record.status == "skipped" else "done"
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        return "new"
    if damage := damage_of(checkpoint):
        raise UserError(f"{checkpoint} is truncated or damaged ({damage}): delete {folder} to train this run again")
    return "started"


def is_counted(folder: Path, network: CountedArm, metrics: Iterable[str] = ()) -> bool:
    """Whether a folder has a record of this network with these metrics, which older versions may not have counted.

    Raises UserError if it has that of another network or of a run.
    """
    record = find_any_record(folder)
    if isinstance(record, Record):
        raise UserError(f"{folder} holds a run, not a counted network: use another RUNS_DIR, or delete {folder}")
    if record:
        _check_same(folder, network, record.network)
    return record is not None and set(metrics) <= set(metrics_of(record))


def _check_same(folder: Path, asked: RunSettings | CountedArm, stored: RunSettings | CountedArm) -> None:
    # Compared as JSON, where tuples and lists are equal.
    now, then = as_json(asked), as_json(stored)
    if now != then:
        raise UserError(
            f"{folder} holds a run with other settings ({_difference(now, then)}): use another RUNS_DIR, or delete {folder} "
            "to train this run again"
        )


def damage_of(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint file; None if it is intact."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)


def check_sources(folder: Path, settings: RunSettings, record: Record) -> None:
    """Raise UserError if the parent or a candidate of a finished run has been trained again with other weights since."""
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
                f"{folder} holds a run whose learning-rate search used another run than {source} now holds: {remedy}"
            )


def digests_in(budget: Path) -> set[str]:
    """The digests of the data sets of all runs at a budget. Unreadable folders and damaged files are left out."""
    folders, digests = [], set()
    with contextlib.suppress(OSError):  # e.g. a name that is too long
        folders = list(budget.glob("*/seed*"))
    for folder in folders:
        for name in (RECORD, RUN):
            with contextlib.suppress(UserError):
                settings = (read_json(folder / name) or {}).get("settings")
                if isinstance(settings, dict):
                    digests.add(str(settings.get("dataset_digest")))
    return digests


def prepared_settings(folder: Path) -> RunSettings | None:
    """The settings of a run that has not ended; None if it was not started. Raises UserError for a damaged run.json."""
    run = read_json(folder / RUN)
    if run is None:
        return None
    try:
        return RunSettings.from_json(run.get("settings"))
    except UserError as error:
        raise UserError(f"{folder / RUN} cannot be read: {error}") from error


def _difference(asked: Any, stored: Any) -> str:
    """The first difference of two settings, e.g. "precision bf16, not fp32"."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        key = next(key for key in sorted(asked.keys() | stored.keys()) if asked.get(key) != stored.get(key))
        return f"{key} {_difference(asked.get(key), stored.get(key))}"
    return f"{stored}, not {asked}"
