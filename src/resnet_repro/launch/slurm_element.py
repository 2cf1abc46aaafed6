"""An element of a Slurm array: one run, or several runs that share a GPU. It saves and requeues them before the time limit.

    python -m resnet_repro.launch.slurm_element JOBS_FILE

In a job of several tasks, srun starts this program once per task, and the tasks train the run together.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.launch.job import POLL_SECONDS, Attempts, Job, Outcome, close
from resnet_repro.launch.process_group import group_of
from resnet_repro.launch.sharing import service_for
from resnet_repro.launch.slots import Slot
from resnet_repro.records.progress import STOPPED, amend_progress

TIME_TO_STOP = 0.75  # of the time between Slurm's notice and its limit


class Notice:
    """The signals that Slurm sent to this element: USR1 before the time limit, TERM to end it."""

    def __init__(self) -> None:
        self.time_is_over = self.ends = False
        signal.signal(signal.SIGUSR1, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.time_is_over |= number == signal.SIGUSR1
        self.ends |= number == signal.SIGTERM

    @property
    def given(self) -> bool:
        return self.time_is_over or self.ends


def main(arguments: Sequence[str]) -> int:
    """Execute the element. Returns the exit code of a failed run, or 0 if all runs are done or requeued."""
    notice = Notice()
    stored = read_json(Path(arguments[0]))
    if stored is None:
        print(f"{arguments[0]} is not seen by this node: use a RUNS_DIR that all nodes share", flush=True)
        return 2
    try:
        group = group_of(os.environ)
    except UserError as error:
        print(error, flush=True)
        return 2
    jobs = _jobs(stored, int(os.environ["SLURM_ARRAY_TASK_ID"]))
    with contextlib.closing(service_for(len(jobs))) as mps:
        variables = mps.environment | (group.environment(0) if group else {})
        jobs = [replace(job, environment={**job.environment, **variables}) for job in jobs]
        # A faulting MPS client may end other clients, so their runs get at least one retry.
        retries = max(stored["retries"], int(bool(mps.environment)))
        outcomes = _execute(jobs, notice, retries, TIME_TO_STOP * stored["signal_seconds"])
        # Before MPS ends, which may take longer than the time that is left.
        return _report(jobs, outcomes, notice, group is None or group.dist.is_main)


def _report(jobs: Sequence[Job], outcomes: Sequence[tuple[Outcome, int]], notice: Notice, is_main: bool) -> int:
    """Print the outcomes and requeue the runs that the time limit has stopped. Returns the element's exit code."""
    ended = [(job, outcome) for job, (outcome, _) in zip(jobs, outcomes, strict=True) if outcome != "stopped"]
    stopped = [job for job, (outcome, _) in zip(jobs, outcomes, strict=True) if outcome == "stopped"]
    for job, outcome in ended:
        print("\n".join([f"{job.name}: {outcome}", *job.lost]), flush=True)
    if stopped and notice.time_is_over:
        return _requeue(stopped) if is_main else 0
    for job in stopped:
        print(f"{job.name}: stopped", flush=True)
    return next((code or 1 for outcome, code in outcomes if outcome != "done"), 0)


def _jobs(stored: Mapping[str, Any], element: int) -> list[Job]:
    """The runs of array element number `element`. Elements with several runs leave out the runs that are done."""
    each = stored.get("each", 1)
    jobs = [
        Job(job["name"], job["argv"], Path(job["log"]), Path(job["marker"]), environment=job["environment"])
        for job in stored["jobs"][element * each : (element + 1) * each]
    ]
    return jobs if each == 1 else [job for job in jobs if not job.marker.exists()]


def _execute(jobs: Sequence[Job], notice: Notice, retries: int, seconds_to_stop: float) -> list[tuple[Outcome, int]]:
    """(outcome, exit code) of each run. After a signal from Slurm, all processes are asked to save and stop, and killed if
    they have not done so after `seconds_to_stop`.
    """
    slot = Slot("cpu", "Slurm", 1)  # a placeholder: each job's environment sets its device and threads
    attempts = Attempts(jobs, retries)
    outcomes: list[tuple[Outcome, int]] = [("stopped", STOPPED)] * len(jobs)
    waiting, running = list(range(len(jobs))), dict[int, subprocess.Popen]()
    kill_at: float | None = None
    while running or (waiting and not notice.given):
        while waiting and not notice.given:
            index = waiting.pop(0)
            try:
                running[index] = jobs[index].start(slot)
            except OSError as error:  # other runs of the element continue
                jobs[index].note_start(error)
                outcomes[index] = "failed", 1
        time.sleep(POLL_SECONDS)
        if notice.given and kill_at is None:
            kill_at = time.monotonic() + seconds_to_stop
            for process in running.values():
                process.terminate()
        elif kill_at is not None and time.monotonic() > kill_at:
            # A run that scores its finished network does not stop. Its checkpoint is saved; Slurm would kill this process, too.
            for process in running.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        for index, process in list(running.items()):
            if (code := process.poll()) is not None:
                close(running.pop(index))
                outcome = jobs[index].outcome(code, notice.given)
                outcomes[index] = outcome, code
                if outcome == "failed" and attempts.again(index):
                    waiting.append(index)
                elif outcome == "failed":
                    jobs[index].mark_failed()
    return outcomes


def _requeue(jobs: Sequence[Job]) -> int:
    """Requeue this element. Returns scontrol's exit code; on success Slurm usually ends this process before that."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a late signal must not end this process
    for job in jobs:
        with contextlib.suppress(OSError):  # e.g. a full disk, which must not keep the element from being queued
            amend_progress(job.log.parent, status="waiting", queued=True)
        print(f"{job.name}: saved, queued again", flush=True)
    answer = subprocess.run(
        ["scontrol", "requeue", os.environ.get("SLURM_JOB_ID", "")],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if answer.returncode:
        print(f"Slurm cannot requeue this element: {answer.stderr.strip()}", flush=True)
        for job in jobs:
            with contextlib.suppress(OSError):
                amend_progress(job.log.parent, status="stopped", queued=False)
    return answer.returncode


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("resnet_repro").setLevel(logging.INFO)
    sys.exit(main(sys.argv[1:]))
