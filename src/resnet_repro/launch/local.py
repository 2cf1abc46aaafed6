"""The local executor: a pool of processes that fills the slots of this machine until every job has ended."""

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
from resnet_repro.launch.job import (
    POLL_SECONDS,
    Attempts,
    Interrupts,
    Job,
    Outcome,
    Patience,
    blocked,
    close,
    say_commands,
    stop_all,
)
from resnet_repro.launch.options import ExecutorSpec
from resnet_repro.launch.sharing import Load, Mps, offers_mps, runs_a_gpu, service_for
from resnet_repro.launch.slots import Placement, Slot, one_of_group, parse_devices, plan_slots
from resnet_repro.parsing import plural

log = logging.getLogger(__name__)


class LocalExecutor:
    """Executes runs on this machine. With `dist`, one of several launchers, which executes its process of each run.

    Raises UserError for devices that do not exist or that this torch cannot use.
    """

    leaves = False

    def __init__(self, spec: ExecutorSpec, dist: DistContext | None = None) -> None:
        # torch takes seconds to import; input errors are reported before that.
        from resnet_repro.hardware import best_device, gpu_count, gpu_trouble, resolve_precision, usable_gpus

        self.options, self.spread, self.dist = spec.options, spec.spread, dist
        trouble = gpu_trouble()
        self.devices = parse_devices(self.options.devices, best_device(), gpu_count(), usable_gpus(), trouble)
        self.kind = self.devices[0].partition(":")[0]
        if trouble and self.options.devices in ("auto", "cuda"):
            log.info(f"{trouble}; until then, runs use {', '.join(self.devices)}")
        self.precision = resolve_precision(spec.precision, self.kind, self._gpus())
        self.slots: list[Slot] = []
        self.mps = Mps(start=False)

    def _gpus(self) -> list[int]:
        """CUDA indices of the GPUs in use. CUDA shows a process only one MIG slice, so all slices get its index."""
        import torch

        visible = max(1, torch.cuda.device_count())
        return [
            min(int(device.partition(":")[2]), visible - 1) for device in self.devices if device.startswith("cuda:")
        ]

    def plan(self, runs: int, load: Load | None = None) -> str:
        """Make the slots. `runs` counts all runs of the study, so that a resumed study gets the same threads per run."""
        from resnet_repro.hardware import cpu_cores

        cores, visible = cpu_cores(), os.environ.get("CUDA_VISIBLE_DEVICES")
        if self.dist:
            self.slots = [one_of_group(self.kind, self.dist, cores)]
            return f"{len(self.slots)} at once on {self.slots[0].label}"
        count = self.options.slots
        if self.kind == "cuda" and not self.spread:
            count = self._runs_per_gpu(runs, load or Load(), cores)
        self.slots = plan_slots(self.devices, count, runs, cores, visible, self.spread, self.mps.environment)
        return f"{len(self.slots)} at once on {self._description()}"

    def _runs_per_gpu(self, runs: int, load: Load, cores: int) -> int:
        """Concurrent runs per GPU. Starts MPS if several runs share a GPU and MPS is available."""
        import torch

        memory = min(torch.cuda.get_device_properties(gpu).total_memory for gpu in self._gpus())
        most, cores_per_gpu = math.ceil(runs / len(self.devices)), max(1, cores // len(self.devices))

        def count(through_mps: bool) -> int:
            return self.options.slots or min(most, runs_a_gpu(load, memory, cores_per_gpu, through_mps))

        if self.options.dry_run:
            return count(offers_mps())
        self.mps = service_for(count(offers_mps()))
        return count(bool(self.mps.environment))

    def _description(self) -> str:
        """Devices and threads of the runs, for readers."""
        from resnet_repro.hardware import device_name

        slot = self.slots[0]
        threads = f"{plural(slot.threads, 'thread')} each"
        if self.kind != "cuda":
            return f"{device_name(self.kind)}, {threads}"
        names = Counter(device_name("cuda", gpu) for gpu in self._gpus())
        devices = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in names.items())
        sharing = "all GPUs per run" if slot.processes > 1 else "shared through MPS" if self.mps.environment else ""
        return ", ".join(part for part in (devices, sharing, threads) if part)

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        if self.options.dry_run:
            return say_commands(jobs, self.slots[0])
        # A faulting MPS client may end other clients, so their runs get at least one retry.
        return run_pool(jobs, self.slots, poll, max(self.options.retries, int(bool(self.mps.environment))))

    @property
    def placement(self) -> Placement:
        slot = self.slots[0]
        return Placement(len(self.slots), slot.threads * slot.processes, slot.share, slot.processes)

    def close(self) -> None:
        """End the MPS service, if `plan` started one."""
        self.mps.close()


def run_pool(jobs: Sequence[Job], slots: Sequence[Slot], poll: Callable[[], None], retries: int = 0) -> list[Outcome]:
    """Run all jobs in the slots, in order, as slots become free. Returns the outcomes in the order of `jobs`.

    A job waits for the markers in its `after`; later jobs may overtake it. It is "blocked" if no remaining job can make
    a missing marker. A failed job is retried up to `retries` times and does not affect jobs that do not depend on it.
    On SIGINT or SIGTERM, running jobs get `GRACE_SECONDS` to save and stop; a second signal kills them. Jobs that
    never started are "stopped".
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
        elif outcome == "failed":
            jobs[job].mark_failed()

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
                    except (OSError, UserError) as error:  # other jobs continue
                        jobs[job].note_start(error)
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
    """Wait for `POLL_SECONDS`, or until one of the processes ends."""
    deadline = time.monotonic() + POLL_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        time.sleep(POLL_SECONDS / 20)
