"""A run as executors see it: a process with a log and a marker, the file that exists once the run is done."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

from resnet_repro.errors import UserError
from resnet_repro.launch.slots import Slot
from resnet_repro.processes import child_environment
from resnet_repro.records.failures import NEXT_ATTEMPT, NO_SPACE, SAID, no_space
from resnet_repro.records.progress import STOPPED, mark_failed
from resnet_repro.surroundings import ENVIRONMENT

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0
UNWRITTEN_OUTPUT = 120  # exit code of Python if it cannot write its last output, here to the log
Outcome = Literal["done", "failed", "stopped", "blocked", "submitted"]


@dataclass(frozen=True)
class Job:
    """A command that terminates by itself.

    The standard input of its process is a pipe that closes when the launcher ends, so that the process can end, too.
    """

    name: str
    argv: Sequence[str] | Callable[[Slot], Sequence[str]]
    """The command, or a function that returns the command for a slot."""
    log: Path
    """File to which output and errors of the process are appended."""
    marker: Path
    """File that exists once the job is done."""
    prepare: Callable[[Slot], None] = field(default=lambda slot: None)
    """Called before the command starts, on the machine that starts it; for Slurm, on the machine that submits it."""
    announce: Callable[[], None] = field(default=lambda: None)
    """Called when the job starts to wait."""
    after: Sequence[Path] = ()
    """Markers of other jobs that must exist before this job starts."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the process, in addition to those of the slot."""
    lost: list[str] = field(default_factory=list)
    """Lines on the last attempt that could not be added to the log, e.g. because the disk is full."""

    @property
    def is_ready(self) -> bool:
        return all(marker.exists() for marker in self.after)

    def command(self, slot: Slot) -> Sequence[str]:
        return self.argv(slot) if callable(self.argv) else self.argv

    def start(self, slot: Slot) -> subprocess.Popen:
        """Prepare the job and start its process. The caller must call `close` when the process has ended."""
        self.lost.clear()
        self.prepare(slot)
        with self.log.open("ab") as log:
            if log.tell():
                with contextlib.suppress(OSError):  # a full disk: the process will tell
                    log.write(f"\n{NEXT_ATTEMPT}\n".encode())
                    log.flush()
            return subprocess.Popen(
                self.command(slot),
                stdin=subprocess.PIPE,  # never written to; the process reads its end when the launcher is gone
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment() | ENVIRONMENT | slot.environment | dict(self.environment),
                start_new_session=True,  # Ctrl-C in the terminal reaches only the launcher
            )

    def mark_failed(self) -> None:
        """Set the run's progress to "failed", if it has any, for displays."""
        mark_failed(self.log.parent)

    def note_start(self, error: OSError | UserError) -> None:
        """Write into the log why `start` failed, e.g. because of a full disk or missing data."""
        prefix = SAID if isinstance(error, UserError) else ""
        self.note(f"{prefix}the run cannot be started: {error}")

    def outcome(self, code: int, interrupted: bool = False) -> Outcome:
        """The outcome of the job, given the exit code of its process.

        A signal may end a process that has done its job and is about to exit.
        """
        if self.marker.exists() and (code <= 0 or interrupted or code in (STOPPED, UNWRITTEN_OUTPUT)):
            return "done"
        if interrupted or code == STOPPED:
            return "stopped"
        if code in (NO_SPACE, UNWRITTEN_OUTPUT):
            self.lost.append(no_space(self.log.parent))
        if code < 0:  # a signal ended the process, which could not log it
            self.note(f"ended by {signal.Signals(-code).name}")
        return "failed"

    def note(self, line: str) -> None:
        """Add a line to the log, or to `lost` if the log cannot be written."""
        try:
            with self.log.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{line}\n")
        except OSError:
            self.lost.append(line)


def say_commands(jobs: Sequence[Job], slot: Slot) -> list[Outcome]:
    """Log the command of each job in a slot, as a line for a shell, and start nothing."""
    for job in jobs:
        log.info(f"{job.name}: {shlex.join(job.command(slot))}")
    return ["submitted"] * len(jobs)


def close(process: subprocess.Popen) -> None:
    """Close the launcher's end of the process's standard input."""
    if process.stdin:
        process.stdin.close()


def stop(process: subprocess.Popen) -> int:
    """Ask a process to save and stop, and kill it after `GRACE_SECONDS`. Returns its exit code."""
    process.terminate()
    return _ended(process, GRACE_SECONDS)


def stop_all(processes: Sequence[subprocess.Popen]) -> None:
    """`stop` several processes at the same time, and `close` them."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        _ended(process, max(0.0, deadline - time.monotonic()))
        close(process)


def _ended(process: subprocess.Popen, seconds: float) -> int:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def blocked(jobs: Sequence[Job], waiting: Sequence[int], running: Sequence[int]) -> list[int]:
    """Indices of waiting jobs that need a missing marker which no waiting or running job will make."""
    expected = {jobs[index].marker for index in (*waiting, *running)}
    return [
        index
        for index in waiting
        if any(not marker.exists() and marker not in expected for marker in jobs[index].after)
    ]


class Attempts:
    """Counts the failures of each job, up to a number of retries."""

    def __init__(self, jobs: Sequence[Job], retries: int) -> None:
        self.jobs, self.retries = jobs, retries
        self._failures = [0] * len(jobs)

    def again(self, index: int) -> bool:
        """Count a failure of the job and return whether to try the job again; if so, its log says so."""
        self._failures[index] += 1
        is_retried = self._failures[index] <= self.retries
        if is_retried:
            self.jobs[index].note(f"trying again (retry {self._failures[index]} of {self.retries})")
        return is_retried


class Interrupts:
    """Counts SIGINT and SIGTERM instead of ending the process. Use as a context manager."""

    def __init__(self) -> None:
        self.count = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class Patience:
    """How long to wait for processes that were asked to stop: `seconds`, or until a second signal."""

    def __init__(self, interrupts: Interrupts, seconds: float = GRACE_SECONDS) -> None:
        self._interrupts, self._deadline = interrupts, time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return self._interrupts.count > 1 or time.monotonic() > self._deadline
