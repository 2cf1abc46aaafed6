"""A run as an executor sees it: a process with a log, and a file that is there once it is done."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

from resnet_repro.launch.slots import Slot
from resnet_repro.records.progress import STOPPED

POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0
Outcome = Literal["done", "failed", "stopped", "blocked", "submitted"]


@dataclass(frozen=True)
class Job:
    """A command that ends by itself, its folder, and the file that is there once it is done.

    argv: the command, or what gives it for a slot. Its process reads the end of a pipe on its standard input as the end
    of the launcher.
    announce: called when the job begins to wait. prepare: called with the slot before the command starts, on the machine
    that carries it out, or on which it was handed over.
    after: markers of other jobs that must be there before it starts. environment: what its process finds there besides
    what the slot gives.
    """

    name: str
    argv: Sequence[str] | Callable[[Slot], Sequence[str]]
    log: Path
    marker: Path
    prepare: Callable[[Slot], None] = field(default=lambda slot: None)
    announce: Callable[[], None] = field(default=lambda: None)
    after: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        return all(marker.exists() for marker in self.after)

    def command(self, slot: Slot) -> Sequence[str]:
        return self.argv(slot) if callable(self.argv) else self.argv

    def start(self, slot: Slot) -> subprocess.Popen:
        """Prepare and start the process. Whoever starts it calls `close` when it has ended."""
        self.prepare(slot)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command(slot),
                stdin=subprocess.PIPE,  # never written to: its end tells the process that the launcher is gone
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | slot.environment | dict(self.environment),
                start_new_session=True,  # the terminal's Ctrl-C comes to the launcher alone
            )

    def outcome(self, code: int, interrupted: bool = False) -> Outcome:
        """What the exit code of its process means."""
        if code == 0 and self.marker.exists():
            return "done"
        if interrupted or code == STOPPED:
            return "stopped"
        if code < 0:  # a process that a signal ended could not say so itself
            self.note(f"ended by {signal.Signals(-code).name}")
        return "failed"

    def note(self, line: str) -> None:
        """Add a line to the log, where the disk takes it."""
        with contextlib.suppress(OSError), self.log.open("a") as log:
            log.write(f"{line}\n")


def close(process: subprocess.Popen) -> None:
    if process.stdin:
        process.stdin.close()


def stop(process: subprocess.Popen) -> int:
    """Ask a process to save and end, and wait for it; end it where it takes too long. Its exit code."""
    process.terminate()
    return _ended(process, GRACE_SECONDS)


def stop_all(processes: Sequence[subprocess.Popen]) -> None:
    """`stop` all of them at once, and close them."""
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
    """Waiting jobs that wait for a marker which no waiting or running job makes."""
    coming = {jobs[index].marker for index in (*waiting, *running)}
    return [
        index for index in waiting if any(not marker.exists() and marker not in coming for marker in jobs[index].after)
    ]


class Attempts:
    """How often each job has failed by itself; one that may be tried again says so in its log."""

    def __init__(self, jobs: Sequence[Job], retries: int) -> None:
        self.jobs, self.retries = jobs, retries
        self._failures = [0] * len(jobs)

    def again(self, index: int) -> bool:
        """Whether the job, which has just failed, is to be tried again."""
        self._failures[index] += 1
        more = self._failures[index] <= self.retries
        if more:
            self.jobs[index].note(f"trying again, {self._failures[index]} of {self.retries} times")
        return more


class Interrupts:
    """Counts SIGINT and SIGTERM instead of dying of them."""

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
    """How long what was asked to stop is waited for: some seconds, and no longer after a second signal."""

    def __init__(self, interrupts: Interrupts, seconds: float = GRACE_SECONDS) -> None:
        self._interrupts, self._deadline = interrupts, time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return self._interrupts.count > 1 or time.monotonic() > self._deadline
