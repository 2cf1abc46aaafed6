"""An element of a Slurm array: one run, or several that share a GPU, saved and queued again ahead of the time limit.

    python -m resnet_repro.launch.slurm_element JOBS_FILE

In a job of several tasks, started by srun, each of them is one of the processes that carry out the run together.
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


class Notice:
    """What Slurm has told this element: that its time is nearly over (USR1), or that it is to end (TERM)."""

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
    """The exit code of a run that has failed; 0 where all have their records or are queued again."""
    notice = Notice()
    stored = read_json(Path(arguments[0]))
    if stored is None:
        print(f"{arguments[0]} is not seen on this node: name a RUNS_DIR that all nodes share", flush=True)
        return 2
    try:
        group = group_of(os.environ)
    except UserError as error:
        print(error, flush=True)
        return 2
    jobs = _jobs(stored, int(os.environ["SLURM_ARRAY_TASK_ID"]))
    with contextlib.closing(service_for(len(jobs))) as mps:
        more = mps.environment | (group.environment(0) if group else {})
        jobs = [replace(job, environment={**job.environment, **more}) for job in jobs]
        # A client of MPS that dies by a fault may take others with it.
        outcomes = _carry_out(jobs, notice, max(stored["retries"], int(bool(mps.environment))))
        return _told(jobs, outcomes, notice, group is None or group.dist.is_main)


def _told(jobs: Sequence[Job], outcomes: Sequence[tuple[Outcome, int]], notice: Notice, is_main: bool) -> int:
    """Say how the runs have ended, and queue those again whose time is over; the element's exit code.

    Before the service ends, which may take longer than Slurm still gives.
    """
    ended = [(job, outcome) for job, (outcome, _) in zip(jobs, outcomes, strict=True) if outcome != "stopped"]
    stopped = [job for job, (outcome, _) in zip(jobs, outcomes, strict=True) if outcome == "stopped"]
    for job, outcome in ended:
        print(f"{job.name}: {outcome}", flush=True)
    if stopped and notice.time_is_over:
        return _queue_again(stopped) if is_main else 0
    for job in stopped:
        print(f"{job.name}: stopped", flush=True)
    return next((code or 1 for outcome, code in outcomes if outcome != "done"), 0)


def _jobs(stored: Mapping[str, Any], place: int) -> list[Job]:
    """The runs of the element at a place of the array, but for those that have their record by now."""
    each = stored.get("each", 1)
    jobs = [
        Job(one["name"], one["argv"], Path(one["log"]), Path(one["marker"]), environment=one["environment"])
        for one in stored["jobs"][place * each : (place + 1) * each]
    ]
    return jobs if each == 1 else [job for job in jobs if not job.marker.exists()]


def _carry_out(jobs: Sequence[Job], notice: Notice, retries: int) -> list[tuple[Outcome, int]]:
    """Outcome and exit code of each run's process; all are asked to save and stop once there is notice."""
    slot = Slot("cpu", "Slurm", 1)  # a job's environment says which device and how many threads
    attempts = Attempts(jobs, retries)
    outcomes: list[tuple[Outcome, int]] = [("stopped", STOPPED)] * len(jobs)
    waiting, running = list(range(len(jobs))), dict[int, subprocess.Popen]()
    asked = False
    while running or (waiting and not notice.given):
        while waiting and not notice.given:
            index = waiting.pop(0)
            running[index] = jobs[index].start(slot)
        time.sleep(POLL_SECONDS)
        if notice.given and not asked:
            asked = True
            for process in running.values():
                process.terminate()  # and not ended here: Slurm does that when the time is over
        for index, process in list(running.items()):
            if (code := process.poll()) is not None:
                close(running.pop(index))
                outcome = jobs[index].outcome(code, notice.given)
                outcomes[index] = outcome, code
                if outcome == "failed" and attempts.again(index):
                    waiting.append(index)
    return outcomes


def _queue_again(jobs: Sequence[Job]) -> int:
    """Ask Slurm for another turn of this element. Its exit code; Slurm ends this process before it can return 0."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # one that comes late must not end this process as it leaves
    for job in jobs:
        amend_progress(job.log.parent, status="waiting", queued=True)
        print(f"{job.name}: saved, queued again", flush=True)
    answer = subprocess.run(["scontrol", "requeue", os.environ.get("SLURM_JOB_ID", "")], capture_output=True, text=True)
    if answer.returncode:
        print(f"Slurm does not queue it again: {answer.stderr.strip()}", flush=True)
        for job in jobs:
            amend_progress(job.log.parent, status="stopped", queued=False)
    return answer.returncode


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("resnet_repro").setLevel(logging.INFO)
    sys.exit(main(sys.argv[1:]))
