"""The slots of this machine, kept full until every job has ended."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence

from resnet_repro.distributed import DistContext
from resnet_repro.errors import UserError
from resnet_repro.launch.job import POLL_SECONDS, Attempts, Interrupts, Job, Outcome, Patience, blocked, close, stop_all
from resnet_repro.launch.options import ExecutorSpec
from resnet_repro.launch.sharing import Load, Mps, offers_mps, runs_a_gpu, service_for
from resnet_repro.launch.slots import Slot, one_of_group, parse_devices, plan_slots
from resnet_repro.parsing import plural
from resnet_repro.records.failures import SAID

log = logging.getLogger(__name__)


class LocalExecutor:
    """A pool of processes on this machine; with a `dist`, the part of it that this one of several launchers has.

    Raises UserError for devices that are not there or that this torch cannot use.
    """

    leaves = False

    def __init__(self, spec: ExecutorSpec, dist: DistContext | None = None) -> None:
        # torch takes seconds to import, and bad input should be answered before that.
        from resnet_repro.hardware import best_device, gpu_count, gpu_trouble, resolve_precision, usable_gpus

        self.options, self.spread, self.dist = spec.options, spec.spread, dist
        trouble = gpu_trouble()
        self.devices = parse_devices(self.options.devices, best_device(), gpu_count(), usable_gpus(), trouble)
        self.kind = self.devices[0].partition(":")[0]
        if trouble and self.options.devices in ("auto", "cuda"):
            log.info(f"{trouble}; until then runs are on {', '.join(self.devices)}")
        self.precision = resolve_precision(spec.precision, self.kind, self._gpus())
        self.slots: list[Slot] = []
        self.mps = Mps(start=False)

    def _gpus(self) -> list[int]:
        """The numbers of the GPUs that compute; slices of one are all described by the first."""
        import torch

        seen = max(1, torch.cuda.device_count())
        return [min(int(device.partition(":")[2]), seen - 1) for device in self.devices if device.startswith("cuda:")]

    def plan(self, runs: int, load: Load | None = None) -> str:
        """Slots for all runs of a study, so that a resumed one shares out the cores as it did before."""
        from resnet_repro.hardware import cpu_cores

        cores, visible = cpu_cores(), os.environ.get("CUDA_VISIBLE_DEVICES")
        if self.dist:
            self.slots = [one_of_group(self.kind, self.dist, cores)]
            return f"{len(self.slots)} at once on {self.slots[0].label}"
        count = self.options.slots
        if self.kind == "cuda" and not self.spread:
            count = self._sharing(runs, load or Load(), cores)
        self.slots = plan_slots(self.devices, count, runs, cores, visible, self.spread, self.mps.environment)
        return f"{len(self.slots)} at once on {self._where()}"

    def _sharing(self, runs: int, load: Load, cores: int) -> int:
        """How many runs each GPU is to have at once; several share it through MPS where that can be had."""
        import torch

        memory = min(torch.cuda.get_device_properties(gpu).total_memory for gpu in self._gpus())
        each, beside = math.ceil(runs / len(self.devices)), max(1, cores // len(self.devices))

        def fitting(through_mps: bool) -> int:
            return self.options.slots or min(each, runs_a_gpu(load, memory, beside, through_mps))

        self.mps = service_for(fitting(offers_mps()))
        return fitting(bool(self.mps.environment))

    def _where(self) -> str:
        """What the runs are on, in words."""
        from resnet_repro.hardware import device_name

        slot = self.slots[0]
        threads = f"{plural(slot.threads, 'thread')} each"
        if self.kind != "cuda":
            return f"{device_name(self.kind)}, {threads}"
        names = Counter(device_name("cuda", gpu) for gpu in self._gpus())
        devices = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in names.items())
        how = "all together" if slot.processes > 1 else "sharing it through MPS" if self.mps.environment else ""
        return ", ".join(part for part in (devices, how, threads) if part)

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        # A client of MPS that dies by a fault may take others with it.
        return run_pool(jobs, self.slots, poll, max(self.options.retries, int(bool(self.mps.environment))))

    def close(self) -> None:
        """End the service that was started for the runs."""
        self.mps.close()


def run_pool(jobs: Sequence[Job], slots: Sequence[Slot], poll: Callable[[], None], retries: int = 0) -> list[Outcome]:
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
                        said = SAID if isinstance(error, UserError) else ""
                        jobs[job].note(f"{said}it cannot be started: {error}")
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
                poll()
                _pause([process for _, process in running.values()])
        finally:
            stop_all([process for _, process in running.values()])
    return outcomes


def _pause(processes: Sequence[subprocess.Popen]) -> None:
    """Wait a moment, and no longer than until one of the processes ends."""
    deadline = time.monotonic() + POLL_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        time.sleep(POLL_SECONDS / 20)
