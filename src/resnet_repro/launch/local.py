"""The slots of this machine, kept full until every job has ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence

from resnet_repro.errors import UserError
from resnet_repro.launch.job import POLL_SECONDS, Attempts, Interrupts, Job, Outcome, Patience, blocked, close, stop_all
from resnet_repro.launch.options import Wanted
from resnet_repro.launch.slots import Slot, one_of_group, parse_devices, plan_slots
from resnet_repro.results import SAID
from resnet_repro.world import World


class LocalExecutor:
    """A pool of processes on this machine; with a world, the part of it that this one of several launchers has."""

    leaves = False

    def __init__(self, wanted: Wanted, world: World | None = None) -> None:
        # torch takes seconds to import, and bad input should be answered before that.
        import torch

        from resnet_repro.training.devices import best_device, resolve_precision

        self.options, self.spread, self.world = wanted.options, wanted.spread, world
        self.devices = parse_devices(self.options.devices, best_device(), torch.cuda.device_count())
        self.kind = self.devices[0].partition(":")[0]
        self.precision = resolve_precision(wanted.precision, self.kind)
        self.slots: list[Slot] = []

    def plan(self, runs: int) -> str:
        """Slots for all runs of a study, so that a resumed one shares out the cores as it did before."""
        from resnet_repro.training.devices import cpu_cores

        if self.world:
            self.slots = [one_of_group(self.kind, self.world, cpu_cores())]
        else:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            self.slots = plan_slots(self.devices, self.options.slots, runs, cpu_cores(), visible, self.spread)
        return f"{len(self.slots)} at once on {', '.join(dict.fromkeys(slot.label for slot in self.slots))}"

    def execute(self, jobs: Sequence[Job], watch: Callable[[], None]) -> list[Outcome]:
        return run_pool(jobs, self.slots, watch, self.options.retries)

    def close(self) -> None:
        """Nothing is held."""


def run_pool(jobs: Sequence[Job], slots: Sequence[Slot], watch: Callable[[], None], retries: int = 0) -> list[Outcome]:
    """Run every job in a slot, in order, as slots become free; a job that fails stops no other but those after it.

    A job waits for the markers in its `after`, and those behind it in the list may overtake it. Where a marker is
    missing and no job is left that could make it, the job is "blocked". One that fails is tried again up to `retries`
    times.
    On SIGINT and SIGTERM the running jobs are asked to save and stop, and given some seconds; a second signal ends
    them at once. Jobs never started are "stopped".
    """
    outcomes: list[Outcome] = ["stopped"] * len(jobs)
    waiting = list(range(len(jobs)))
    running: dict[int, tuple[int, subprocess.Popen]] = {}  # slot → (job, process)
    attempts = Attempts(jobs, retries)
    patience: Patience | None = None

    def ended(job: int, outcome: Outcome) -> None:
        outcomes[job] = outcome
        if outcome == "failed" and attempts.again(job):
            waiting.insert(0, job)

    with Interrupts() as interrupts:
        try:
            while (waiting and not interrupts.count) or running:
                for slot in range(len(slots)):
                    if slot in running or interrupts.count:
                        continue
                    job = next((index for index in waiting if jobs[index].is_ready), None)
                    if job is None:
                        continue
                    waiting.remove(job)
                    try:
                        running[slot] = job, jobs[job].start(slots[slot])
                    except (OSError, UserError) as error:  # as a full disk: the others go on
                        jobs[job].note(f"{SAID * isinstance(error, UserError)}it cannot be started: {error}")
                        ended(job, "failed")
                for slot, (job, process) in list(running.items()):
                    if process.poll() is not None:
                        ended(job, jobs[job].outcome(process.returncode, bool(interrupts.count)))
                        close(running.pop(slot)[1])
                if interrupts.count:
                    processes = [process for _, process in running.values()]
                    if patience is None:
                        patience = Patience(interrupts)
                        for process in processes:
                            process.terminate()
                    elif patience.is_over:
                        for process in processes:
                            process.kill()
                else:
                    for job in blocked(jobs, waiting, [job for job, _ in running.values()]):
                        outcomes[job] = "blocked"
                        waiting.remove(job)
                watch()
                _pause([process for _, process in running.values()])
        finally:
            stop_all([process for _, process in running.values()])
    return outcomes


def _pause(processes: Sequence[subprocess.Popen]) -> None:
    """Wait a moment, and no longer than until one of the processes ends."""
    deadline = time.monotonic() + POLL_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        time.sleep(POLL_SECONDS / 20)
