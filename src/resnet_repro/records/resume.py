"""Whether a run's folder holds these settings, and can be continued."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.layout import CHECKPOINT, RUN, candidate_folders, parent_folder
from resnet_repro.records.record import Record, read_record


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
