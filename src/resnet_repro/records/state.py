"""How one run stands, from its folder alone: record, progress, log, and the lock that its process holds while it lives.

Nothing is written, and a run beside which this is read does not notice it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.failures import failure_reason
from resnet_repro.records.layout import CHECKPOINT, LOCK, LOG, PROGRESS, RUN
from resnet_repro.records.lock import is_held
from resnet_repro.records.progress import clock, seconds_left, share_done
from resnet_repro.records.record import AnyRecord, CountRecord, find_any_record

State = Literal[
    "running", "silent", "waiting", "interrupted", "failed", "diverged", "skipped", "damaged", "finished", "missing"
]  # fmt: skip
BUSY = ("starting", "running", "evaluating")
SILENT_SECONDS = 600.0  # a live run speaks every second, but for the scoring of large sets
LOADING_SECONDS = 60.0  # from the writing of run.json to the process's lock: torch is imported in between


@dataclass(frozen=True)
class RunState:
    """`detail` is for a reader: where the run is, or why it is not; test_error in percent where one was recorded.

    queued: whether Slurm was given the run, and it has not begun since.
    """

    arm: str
    seed: int
    state: State
    detail: str = ""
    test_error: float | None = None
    queued: bool = False


def run_state(folder: Path, arm: str, seed: int, now: float) -> RunState:
    """How the run in `folder` stands at `now`, in seconds since the epoch. Damage of any kind is a state, never raised."""
    try:
        locked = is_held(folder / LOCK)  # first: a run that ends while this reads then has its record
        if record := find_any_record(folder):
            return _ended(record, arm, seed)
        try:
            progress = read_json(folder / PROGRESS)
        except UserError as error:
            raise UserError(f"{folder / PROGRESS} (it cannot be read: delete this file alone)") from error
        if progress is None:
            state, detail = _before_progress(folder, locked, now)
        else:
            state, detail = _in_progress(folder, _checked(folder, progress), locked, now)
            if state == "waiting" and progress.get("queued"):
                return RunState(arm, seed, state, detail, queued=True)
    except UserError as error:
        state, detail = "damaged", str(error)
    except OSError as error:
        state, detail = "damaged", f"{folder} ({error.strerror})"
    return RunState(arm, seed, state, detail)


def _ended(record: AnyRecord, arm: str, seed: int) -> RunState:
    path = record.folder
    if (record.arm, record.seed) != (arm, seed):
        raise UserError(f"{path} (its record is that of {record.arm} seed {record.seed})")
    if isinstance(record, CountRecord):
        return RunState(arm, seed, "finished")
    if record.status == "diverged":
        return RunState(arm, seed, "diverged", f"at step {record.diverged_at}")
    if record.status == "skipped":
        return RunState(arm, seed, "skipped", str(record.skipped))
    return RunState(arm, seed, "finished", test_error=record.value("test_error"))


def _checked(folder: Path, progress: Mapping[str, Any]) -> dict[str, Any]:
    """The progress with what it need not say filled in. Raises UserError where it is none of this version."""
    known = (*BUSY, "waiting", "stopped", "finished", "diverged", "skipped", "failed")
    filled = {"step": 0, "steps": 0, "seconds": 0.0, "time": 0.0, **progress}
    numbers = all(isinstance(filled[key], int | float) for key in ("step", "steps", "seconds", "time"))
    if filled.get("status") not in known or not numbers:
        raise UserError(f"{folder / PROGRESS} (it is no progress of this version: delete this file alone)")
    return filled


def _in_progress(folder: Path, progress: Mapping[str, Any], locked: bool | None, now: float) -> tuple[State, str]:
    status, silent = progress["status"], now - progress["time"]
    where = _position(progress)
    if locked and status not in BUSY:  # what an earlier process left
        return "running", "starting"
    if status in BUSY:
        host = progress.get("host")
        elsewhere = host is not None and host != platform.node()
        on_host = f" on {host}" if elsewhere else ""
        quiet = f"silent for {_duration(silent)}{on_host}"
        if locked or ((elsewhere or locked is None) and silent <= SILENT_SECONDS):
            parts = [where if status == "running" else f"{status}, {where}"]
            if left := seconds_left(progress):
                parts.append(f"left {clock(left)}")
            parts.append(quiet if silent > SILENT_SECONDS else on_host.strip())
            return "running", ", ".join(filter(None, parts))
        if elsewhere or locked is None:
            return "silent", f"{where}, {quiet}"
        return "interrupted", f"at {where} {_way_on(folder)}"
    if status == "failed":
        return "failed", f"at {where}: {_failure(folder)}"
    if status == "stopped":
        return "interrupted", f"at {where} {_way_on(folder)}"
    if status == "waiting":
        if _age(folder / RUN, now) < min(LOADING_SECONDS, _age(folder / PROGRESS, now)):
            return "running", "starting"
        return "waiting", f"at {where}" if progress["step"] else ""
    return "damaged", f"{folder} (its progress says {status}, and there is no record: the same command makes one)"


def _before_progress(folder: Path, locked: bool | None, now: float) -> tuple[State, str]:
    """How a run stands that has said nothing yet: its process loads, broke, or was killed while it loaded."""
    prepared = _age(folder / RUN, now)
    if locked:
        return "running", "starting"
    if (folder / LOG).exists() and (folder / LOG).stat().st_size and _age(folder / LOG, now) <= prepared:
        return "failed", f"before its first step: {_failure(folder)}"
    if prepared < LOADING_SECONDS:
        return "running", "starting"
    if prepared < float("inf"):
        return "interrupted", "before its first step: the same command starts it again"
    return "missing", ""


def _position(progress: Mapping[str, Any]) -> str:
    if not progress["steps"] and progress["status"] in BUSY:
        return "not trained"
    share = f" ({100 * share_done(progress):.0f} %)" if progress["steps"] else ""
    return f"step {progress['step']:,} of {progress['steps']:,}{share}"


def _way_on(folder: Path) -> str:
    if (folder / CHECKPOINT).exists():
        return "(kept up to the last checkpoint): the same command goes on"
    return "(no checkpoint yet): the same command starts it again"


def _failure(folder: Path) -> str:
    return f"{failure_reason(folder)} (see {folder / LOG})"


def _age(path: Path, now: float) -> float:
    """Seconds since a file was written, infinite where there is none."""
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{round(minutes / 60)} h" if minutes < 48 * 60 else f"{round(minutes / 1440)} days"
