"""progress.json: status and step of a run, for displays while it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.records.layout import PROGRESS, RECORD

ENDED = ("finished", "diverged", "skipped")
STOPPED = 143  # exit code of a run that was asked to stop and has saved a checkpoint


def progress_of(folder: Path) -> dict[str, Any]:
    """The progress that a run wrote last. Empty if the file is missing or damaged: it only serves displays."""
    try:
        return read_json(folder / PROGRESS) or {}
    except UserError:
        return {}


def write_progress(folder: Path, state: Mapping[str, Any]) -> None:
    """Overwrite a run's progress. The file may be lost if the machine crashes. Raises OSError."""
    write_json(folder / PROGRESS, state, durable=False)


def amend_progress(folder: Path, **changes: Any) -> None:
    """Change entries of a run's progress, if there is any. Raises OSError."""
    if state := progress_of(folder):
        write_progress(folder, state | changes)


def mark_failed(folder: Path) -> None:
    """Set a run's progress to "failed", if it has any."""
    with contextlib.suppress(OSError):  # e.g. a full disk; exit code and console still report the failure
        amend_progress(folder, status="failed")


def shown_progress(folder: Path) -> dict[str, Any]:
    """A run's progress for displays. A run without progress is "waiting"; a run with a record has ended."""
    state = {"status": "waiting"} | progress_of(folder)
    if (folder / RECORD).exists() and state["status"] not in ENDED:
        state["status"] = "finished"
    return state


def share_done(state: Mapping[str, Any]) -> float:
    """The share of its steps that a run has taken, in [0, 1], from its progress."""
    if state["status"] in ENDED:
        return 1.0
    return state.get("step", 0) / max(state.get("steps", 1), 1)


def seconds_left(state: Mapping[str, Any]) -> float | None:
    """Seconds until a running run ends, estimated from its mean speed; None if unknown."""
    step = state.get("step", 0)
    if state["status"] not in ("running", "evaluating") or not step:
        return None
    return state["seconds"] / step * (state["steps"] - step)


def clock(seconds: float | None) -> str:
    """h:mm:ss or m:ss; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
