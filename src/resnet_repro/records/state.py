"""The state of a run, read from its folder: record, progress, log, and the lock of its process.

Reading the state writes no file and does not disturb a running run.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resnet_repro.errors import UserError, os_reason
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
SILENT_SECONDS = 600.0  # without progress; a live run reports every second, except while it evaluates large splits
LOADING_SECONDS = 60.0  # from run.json to the lock: the process imports torch in between


@dataclass(frozen=True)
class RunState:
    """The state of one run."""

    arm: str
    seed: int
    state: State
    detail: str = ""
    """For readers: the step of the run, or the reason for its state."""
    test_error: float | None = None
    """Final test error in percent. None: the run has not finished, or has no test error."""
    relative_error: float | None = None
    """Final relative squared error of a reconstruction on the test images. None: the run has not finished, or classifies."""
    queued: bool = False
    """Whether the run was submitted to Slurm and has not started since."""


def run_state(folder: Path, arm: str, seed: int, now: float) -> RunState:
    """The state of the run in `folder` at `now`, in seconds since the epoch. Damaged files give a state and no error."""
    try:
        locked = is_held(folder / LOCK)  # read before the record: a run that ends in between then has its record
        if record := find_any_record(folder):
            return _ended(record, arm, seed)
        try:
            progress = read_json(folder / PROGRESS)
        except UserError as error:
            raise UserError(f"{folder / PROGRESS} (cannot be read: delete only this file)") from error
        if progress is None:
            state, detail = _before_progress(folder, locked, now)
        else:
            state, detail = _in_progress(folder, _checked(folder, progress), locked, now)
            if state == "waiting" and progress.get("queued"):
                return RunState(arm, seed, state, detail, queued=True)
    except UserError as error:
        state, detail = "damaged", str(error)
    except OSError as error:
        state, detail = "damaged", f"{folder} ({os_reason(error)})"
    return RunState(arm, seed, state, detail)


def _ended(record: AnyRecord, arm: str, seed: int) -> RunState:
    path = record.folder
    if (record.arm, record.seed) != (arm, seed):
        raise UserError(f"{path} (its record belongs to {record.arm} seed {record.seed})")
    if isinstance(record, CountRecord):
        return RunState(arm, seed, "finished")
    if record.status == "diverged":
        return RunState(arm, seed, "diverged", f"at step {record.diverged_at}")
    if record.status == "skipped":
        return RunState(arm, seed, "skipped", str(record.skipped))
    if record.settings.arm.task == "reconstruct":
        return RunState(arm, seed, "finished", relative_error=record.value("test_loss"))
    return RunState(arm, seed, "finished", test_error=record.value("test_error"))


def _checked(folder: Path, progress: Mapping[str, Any]) -> dict[str, Any]:
    """The progress with defaults for missing entries. Raises UserError for progress of another version."""
    statuses = (*BUSY, "waiting", "stopped", "finished", "diverged", "skipped", "failed")
    filled = {"step": 0, "steps": 0, "seconds": 0.0, "time": 0.0, **progress}
    are_numbers = all(isinstance(filled[key], int | float) for key in ("step", "steps", "seconds", "time"))
    if filled.get("status") not in statuses or not are_numbers:
        raise UserError(f"{folder / PROGRESS} (not progress of this version: delete only this file)")
    return filled


def _in_progress(folder: Path, progress: Mapping[str, Any], locked: bool | None, now: float) -> tuple[State, str]:
    status, silent = progress["status"], now - progress["time"]
    position = _position(progress)
    if locked and status not in BUSY:  # the progress of an earlier process
        return "running", "starting"
    if status in BUSY:
        host = progress.get("host")
        elsewhere = host is not None and host != platform.node()
        on_host = f" on {host}" if elsewhere else ""
        quiet = f"silent for {_duration(silent)}{on_host}"
        if locked or ((elsewhere or locked is None) and silent <= SILENT_SECONDS):
            parts = [position if status == "running" else f"{status}, {position}"]
            if left := seconds_left(progress):
                parts.append(f"left {clock(left)}")
            parts.append(quiet if silent > SILENT_SECONDS else on_host.strip())
            return "running", ", ".join(filter(None, parts))
        if elsewhere or locked is None:
            return "silent", f"{position}, {quiet}"
        return "interrupted", f"at {position} {_remedy(folder)}"
    if status == "failed":
        return "failed", f"at {position}: {_failure(folder)}"
    if status == "stopped":
        return "interrupted", f"at {position} {_remedy(folder)}"
    if status == "waiting":
        if _age(folder / RUN, now) < min(LOADING_SECONDS, _age(folder / PROGRESS, now)):
            return "running", "starting"
        return "waiting", f"at {position}" if progress["step"] else ""
    return "damaged", f"{folder} (its progress is {status}, but its record is missing: run the same command again)"


def _before_progress(folder: Path, locked: bool | None, now: float) -> tuple[State, str]:
    """The state of a run without progress: its process is starting, failed, or was killed while it started."""
    prepared = _age(folder / RUN, now)
    if locked:
        return "running", "starting"
    if (folder / LOG).exists() and (folder / LOG).stat().st_size and _age(folder / LOG, now) <= prepared:
        return "failed", f"before its first step: {_failure(folder)}"
    if prepared < LOADING_SECONDS:
        return "running", "starting"
    if prepared < float("inf"):
        return "interrupted", "before its first step: the same command restarts it"
    return "missing", ""


def _position(progress: Mapping[str, Any]) -> str:
    if not progress["steps"] and progress["status"] in BUSY:
        return "not trained"
    share = f" ({100 * share_done(progress):.0f} %)" if progress["steps"] else ""
    return f"step {progress['step']:,} of {progress['steps']:,}{share}"


def _remedy(folder: Path) -> str:
    if (folder / CHECKPOINT).exists():
        return "(saved up to the last checkpoint): the same command resumes it"
    return "(no checkpoint yet): the same command restarts it"


def _failure(folder: Path) -> str:
    return f"{failure_reason(folder)} (see {folder / LOG})"


def _age(path: Path, now: float) -> float:
    """Seconds since a file was written; infinite if it does not exist."""
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{round(minutes / 60)} h" if minutes < 48 * 60 else f"{round(minutes / 1440)} days"
