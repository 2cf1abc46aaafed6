"""The slots of this machine, kept full until every job has ended."""

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

POLL_SECONDS = 0.25
GRACE_SECONDS = 20.0

Outcome = Literal["done", "failed", "stopped", "blocked"]


@dataclass(frozen=True)
class Job:
    """A command that ends by itself, its folder, and the file that is there once it is done.

    argv: the command, or what gives it for a slot. Its process reads the end of its standard input as the end of the
    launcher.
    after: markers of other jobs that must be there before it starts. environment: what its process finds there besides
    what the slot gives.
    """

    name: str
    argv: Sequence[str] | Callable[[Slot], Sequence[str]]
    log: Path
    marker: Path
    prepare: Callable[[Slot], None] = field(default=lambda slot: None)
    after: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def run_pool(jobs: Sequence[Job], slots: Sequence[Slot], watch: Callable[[], None]) -> list[Outcome]:
    """Run every job in a slot, in order, as slots become free; a job that fails stops no other but those after it.

    A job waits for the markers in its `after`, and those behind it in the list may overtake it. Where a marker is
    missing and no job is left that could make it, the job is "blocked".
    On SIGINT and SIGTERM the running jobs are asked to save and stop, and given some seconds; a second signal ends
    them at once. Jobs never started are "stopped".
    """
    outcomes: list[Outcome] = ["stopped"] * len(jobs)
    waiting = list(range(len(jobs)))
    running: dict[int, tuple[int, subprocess.Popen]] = {}  # slot → (job, process)
    interrupts = _Interrupts()
    with interrupts:
        try:
            while (waiting and not interrupts.count) or running:
                for slot in range(len(slots)):
                    if slot in running or interrupts.count:
                        continue
                    job = next((index for index in waiting if _ready(jobs[index])), None)
                    if job is not None:
                        waiting.remove(job)
                        running[slot] = job, _start(jobs[job], slots[slot])
                for slot, (job, process) in list(running.items()):
                    if process.poll() is not None:
                        outcomes[job] = _outcome(jobs[job], process.returncode, bool(interrupts.count))
                        _close(running.pop(slot)[1])
                if interrupts.count:
                    interrupts.forward([process for _, process in running.values()])
                else:
                    for job in _blocked(jobs, waiting, [job for job, _ in running.values()]):
                        outcomes[job] = "blocked"
                        waiting.remove(job)
                watch()
                time.sleep(POLL_SECONDS)
        finally:
            for _, process in running.values():
                process.kill()
                process.wait()
                _close(process)
    return outcomes


def _ready(job: Job) -> bool:
    return all(marker.exists() for marker in job.after)


def _blocked(jobs: Sequence[Job], waiting: Sequence[int], running: Sequence[int]) -> list[int]:
    """Waiting jobs that wait for a marker which no waiting or running job makes."""
    coming = {jobs[index].marker for index in (*waiting, *running)}
    return [
        index for index in waiting if any(not marker.exists() and marker not in coming for marker in jobs[index].after)
    ]


def _start(job: Job, slot: Slot) -> subprocess.Popen:
    job.prepare(slot)
    with job.log.open("ab") as log:
        return subprocess.Popen(
            job.argv(slot) if callable(job.argv) else job.argv,
            stdin=subprocess.PIPE,  # never written to: its end tells the process that the launcher is gone
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | slot.environment | dict(job.environment),
            start_new_session=True,  # the terminal's Ctrl-C comes to the launcher alone
        )


def _close(process: subprocess.Popen) -> None:
    if process.stdin:
        process.stdin.close()


def _outcome(job: Job, code: int, interrupted: bool) -> Outcome:
    if code == 0 and job.marker.exists():
        return "done"
    if interrupted:
        return "stopped"
    if code < 0:  # a process that a signal ended could not say so itself
        with contextlib.suppress(OSError), job.log.open("a") as log:
            log.write(f"ended by {signal.Signals(-code).name}\n")
    return "failed"


class _Interrupts:
    """Counts SIGINT and SIGTERM instead of dying of them, and passes them on."""

    def __init__(self) -> None:
        self.count = 0
        self._asked = False
        self._deadline = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    def forward(self, processes: Sequence[subprocess.Popen]) -> None:
        if not self._asked:
            self._asked, self._deadline = True, time.monotonic() + GRACE_SECONDS
            for process in processes:
                process.terminate()
        elif self.count > 1 or time.monotonic() > self._deadline:
            for process in processes:
                process.kill()
