"""An element of a Slurm array: one run, saved and queued again ahead of the time limit.

    python -m resnet_repro.launch.element JOBS_FILE

In a job of several tasks, started by srun, each of them is one of the processes that carry out the run together.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.launch.group import group_of
from resnet_repro.launch.job import POLL_SECONDS, STOPPED, Attempts, Job, close
from resnet_repro.launch.slots import Slot
from resnet_repro.results import PROGRESS


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
    """The run's exit code; 0 where it has its record or is queued again."""
    notice = Notice()
    stored = read_json(Path(arguments[0]))
    if stored is None:
        print(f"{arguments[0]} is not seen on this node: name a RUNS_DIR that all nodes share", flush=True)
        return 2
    one = stored["jobs"][int(os.environ["SLURM_ARRAY_TASK_ID"])]
    job = Job(one["name"], one["argv"], Path(one["log"]), Path(one["marker"]), environment=one["environment"])
    try:
        group = group_of(os.environ)
    except UserError as error:
        print(error, flush=True)
        return 2
    if group:
        job = replace(job, environment={**job.environment, **group.environment(0)})
    is_main = group is None or group.world.is_main
    attempts = Attempts([job], stored["retries"])
    while True:
        code = _carry_out(job, notice)
        outcome = job.outcome(code, notice.given)
        if outcome == "failed" and attempts.again(0):
            continue
        if outcome == "stopped" and notice.time_is_over:
            return _queue_again(job) if is_main else 0
        print(f"{job.name}: {outcome}", flush=True)
        return 0 if outcome == "done" else code or 1


def _carry_out(job: Job, notice: Notice) -> int:
    """The exit code of the run's process, which is asked to save and stop once there is notice."""
    if notice.given:  # before it has begun
        return STOPPED
    slot = Slot("cpu", "Slurm", 1)  # the job's environment says which device and how many threads
    process = job.start(slot)
    asked = False
    while True:
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if notice.given and not asked:
                asked = True
                process.terminate()  # and not ended here: Slurm does that when the time is over
        finally:
            if process.poll() is not None:
                close(process)


def _queue_again(job: Job) -> int:
    """Ask Slurm for another turn of this element. Its exit code; Slurm ends this process before it can return 0."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # one that comes late must not end this process as it leaves
    progress = job.log.parent / PROGRESS
    if state := read_json(progress):
        write_json(progress, state | {"status": "waiting", "queued": True})
    element = os.environ.get("SLURM_JOB_ID", "")
    print(f"{job.name}: saved, queued again", flush=True)
    answer = subprocess.run(["scontrol", "requeue", element], capture_output=True, text=True)
    if answer.returncode:
        print(f"Slurm does not queue it again: {answer.stderr.strip()}", flush=True)
        if state:
            write_json(progress, state | {"status": "stopped"})
    return answer.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
