"""progress.json, and all that writes or reads it: how far a run is, for readers while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.records.layout import PROGRESS, RECORD

ENDED = ("finished", "diverged")
STOPPED = 143  # exit code of a run that was asked to end, by whomever, and has saved


def progress_of(folder: Path) -> dict[str, Any]:
    """What a run has last said of itself; nothing where that is not there or damaged, as it is only for show."""
    try:
        return read_json(folder / PROGRESS) or {}
    except UserError:
        return {}


def write_progress(folder: Path, state: Mapping[str, Any]) -> None:
    """Say anew how a run stands. It need not outlive a crash of the machine. Raises OSError."""
    write_json(folder / PROGRESS, state, durable=False)


def amend_progress(folder: Path, **changes: Any) -> None:
    """Change what a run has said, where it has said anything. Raises OSError."""
    if state := progress_of(folder):
        write_progress(folder, state | changes)


def shown_progress(folder: Path) -> dict[str, Any]:
    """A run's progress as displays show it: one that has said nothing waits, one with a record has ended."""
    state = {"status": "waiting"} | progress_of(folder)
    if (folder / RECORD).exists() and state["status"] not in ENDED:
        state["status"] = "finished"
    return state


def share_done(state: Mapping[str, Any]) -> float:
    """How much of its steps a run has behind it, in [0, 1], from its progress."""
    if state["status"] in ENDED:
        return 1.0
    return state.get("step", 0) / max(state.get("steps", 1), 1)


def seconds_left(state: Mapping[str, Any]) -> float | None:
    """Seconds that a running run still takes at its speed so far; None where that is not known."""
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
