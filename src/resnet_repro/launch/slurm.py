"""Slurm: the runs go out as an array job, an element for each, and this process is done.

An element is `python -m resnet_repro.launch.slurm_element`; it carries out one run, or several that share its GPU. Runs that
wait for others go out as further arrays, after theirs.

submitit (1.5.4) submits arrays, starts tasks with srun and requeues ahead of the limit too. Left to its caller are runs that
share a GPU, order among arrays, runs that are queued already, and printing a script. It takes the limit in minutes alone,
stores calls as pickles, and asks sacct, which needs Slurm's accounting. It would replace `script` and `_ask`.
"""

from __future__ import annotations

import logging
import math
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.launch.job import Job, Outcome
from resnet_repro.launch.options import ExecutorSpec
from resnet_repro.launch.sharing import UNKNOWN_MEMORY, Load, runs_a_gpu
from resnet_repro.launch.slots import Slot, environment_of
from resnet_repro.parsing import plural
from resnet_repro.records.progress import amend_progress, progress_of

log = logging.getLogger(__name__)
SIGNAL_SECONDS = 120  # from the signal to the end of the time limit, for a checkpoint
LARGEST_ARRAY = 1_000  # elements of one array; Slurm's own default limit is 1,001
CORES_BESIDE_A_GPU = 8  # that most clusters have
THREADS_WITH_A_GPU, THREADS_THAT_DECODE = 4, 8  # of a run that has its GPU alone
JOBS = "jobs.json"


class SlurmExecutor:
    """Writes a script for each array and gives it to sbatch; with dry_run it prints them.

    Raises UserError where a run cannot be had as asked for, and without sbatch.
    """

    leaves = True

    def __init__(self, spec: ExecutorSpec) -> None:
        options = spec.options
        if options.devices not in ("auto", "cpu", "cuda"):
            raise UserError(
                f"DEVICES={options.devices!r} does not go with EXECUTOR=slurm, which chooses: take auto, cuda or cpu"
            )
        self.options, self.runs_dir, self.name = options, spec.runs_dir, spec.name
        self.kind = "cpu" if options.devices == "cpu" or options.gpus == 0 else "cuda"
        self.gpus = (options.gpus or 1) if self.kind == "cuda" else 0
        self.nodes = options.nodes or 1
        if options.devices == "cpu" and options.gpus:
            raise UserError(f"GPUS={options.gpus} does not go with DEVICES=cpu: leave one of them out")
        if not spec.spread and (self.gpus > 1 or self.nodes > 1):
            raise UserError(
                f"GPUS={self.gpus} NODES={self.nodes} does not go with runs that take one device each: leave them out"
            )
        alone = THREADS_THAT_DECODE if spec.decodes else THREADS_WITH_A_GPU
        self.threads = options.threads or (alone if self.kind == "cuda" else 1)
        self.may_share = self.kind == "cuda" and not spec.spread and not spec.decodes
        self.each = options.slots or 1
        self.precision = spec.precision
        if self.precision == "auto":
            from resnet_repro.hardware import resolve_precision

            self.precision = "bf16" if self.kind == "cuda" else resolve_precision("auto", "cpu")
            other = "fp32" if self.precision == "bf16" else "bf16"
            log.info(
                f"the nodes' arithmetic cannot be asked from here: {self.precision}; PRECISION={other} for the other"
            )
        if not options.dry_run:
            for command in ("sbatch", "squeue", "scancel"):
                if shutil.which(command) is None:
                    raise UserError(
                        f"EXECUTOR=slurm needs {command}, which is not to be found: start this where Slurm's commands are, or "
                        "print the script with DRY_RUN=1"
                    )

    def plan(self, runs: int, load: Load | None = None) -> str:
        """What an element asks for. Small runs share a GPU by the rule of `sharing`, as far as it goes without a look at it."""
        threads = self.options.threads or 1
        if self.may_share and self.options.slots is None:
            cores = max(1, CORES_BESIDE_A_GPU // threads)
            self.each = min(runs, runs_a_gpu(load or Load(), UNKNOWN_MEMORY, cores, through_mps=True))
        if self.each > 1:
            self.threads = threads
        what = f"{plural(self.gpus, 'GPU')}, " if self.gpus else ""
        where = f"{self.nodes} nodes, each {what}" if self.nodes > 1 else what
        together = f"{self.each} runs together, " if self.each > 1 else ""
        return f"as elements of an array, each {together}{where}{plural(self.cores, 'thread')}"

    @property
    def cores(self) -> int:
        """Of a task."""
        least = THREADS_WITH_A_GPU if self.each > 1 and self.kind == "cuda" else 1
        return max(least, self.each * self.threads)

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        """Submit all jobs but those that are queued already, of an earlier call.

        Raises UserError where Slurm refuses one of the arrays; those before it are then taken back.
        """
        queued = {} if self.options.dry_run else self._queued()
        new = [job for job in jobs if str(job.marker) not in queued]
        if len(new) < len(jobs):
            numbers = ", ".join(sorted({queued[str(job.marker)] for job in jobs if str(job.marker) in queued}))
            log.info(f"{len(jobs) - len(new)} runs are queued already (job {numbers}) and are not submitted again")
        stem = f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        submitted: list[str] = []
        for number, (after, part) in enumerate(_arrays(new, LARGEST_ARRAY * self.each)):
            before = {submitted[place] for place in after}
            before |= {queued[str(marker)] for job in part for marker in job.after if str(marker) in queued}
            folder = self.runs_dir / "slurm" / f"{stem}.{number}"
            if self.options.dry_run:
                wait = [f"JOB_OF_SCRIPT_{place + 1}" for place in after]
                log.info(self.script(folder, len(part), wait))
                continue
            try:
                submitted.append(self._submit(folder, part, sorted(before)))
            except UserError:
                if submitted:
                    _ask(["scancel", *submitted])
                raise
        if submitted:
            log.info(
                f"submitted {len(new)} runs as job {', '.join(submitted)}: make status tells how they stand, make report what "
                "they came to; the same command submits again what is missing"
            )
        return ["submitted"] * len(jobs)

    def _submit(self, folder: Path, jobs: Sequence[Job], before: Sequence[str]) -> str:
        """Hand over an array; its number."""
        environment = environment_of(self.kind, self.threads)
        slot = Slot(self.kind, "Slurm", self.threads, environment, 1 / self.each, workers=self.threads)
        folder.mkdir(parents=True)
        for job in jobs:
            job.prepare(slot)
        elements = [
            {
                "name": job.name,
                "argv": list(job.command(slot)),
                "log": str(job.log),
                "marker": str(job.marker),
                "environment": {**slot.environment, **job.environment},
            }
            for job in jobs
        ]
        jobs_file = {"retries": self.options.retries, "each": self.each, "jobs": elements}
        write_json(folder / JOBS, jobs_file)
        path = folder / "job.sh"
        path.write_text(self.script(folder, len(jobs), before))
        try:
            number = _ask(["sbatch", "--parsable", str(path)]).strip().partition(";")[0]
        except UserError:
            shutil.rmtree(folder)
            raise
        write_json(folder / JOBS, {**jobs_file, "number": number})
        for job in jobs:
            job.announce()
            _mark_queued(job)
        return number

    def _queued(self) -> dict[str, str]:
        """{marker: number of the array} of the runs that Slurm still has, from earlier calls."""
        elements = _ask(["squeue", "--noheader", "--array", "--me", f"--name={self.name}", "--format=%F %K"])
        there = {tuple(line.split()) for line in elements.splitlines()}
        found = {}
        for path in (self.runs_dir / "slurm").glob(f"{self.name}-*/{JOBS}"):
            stored = read_json(path) or {}
            number = stored.get("number")
            for place, job in enumerate(stored.get("jobs", [])):
                if (number, str(place // stored.get("each", 1))) in there:
                    found[job["marker"]] = number
        return found

    def script(self, folder: Path, runs: int, before: Sequence[str] = ()) -> str:
        """The batch script of the array that carries out so many runs, its files in `folder`; after the arrays `before`."""
        options, tasks = self.options, self.nodes * max(1, self.gpus)
        lead = options.signal_seconds or SIGNAL_SECONDS
        together = tasks > 1
        headers = {
            "job-name": self.name,
            "array": f"0-{math.ceil(runs / self.each) - 1}",
            "output": f"{folder}/%a.txt",
            "open-mode": "append",
            "partition": options.partition,
            "account": options.account,
            "time": options.time,
            "nodes": self.nodes,
            "ntasks-per-node": tasks // self.nodes,
            "cpus-per-task": self.cores,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            # To the shell that becomes the element, or to all tasks that srun has started.
            "signal": f"{'' if together else 'B:'}USR1@{lead}",
            "dependency": f"afterany:{':'.join(before)}" if before else None,
        }
        lines = ["#!/bin/bash"]
        lines += [f"#SBATCH --{name}={value}" for name, value in headers.items() if value is not None]
        lines += ["#SBATCH --requeue"]
        lines += [f"#SBATCH {options.sbatch}"] if options.sbatch else []
        element = (
            f"{shlex.quote(sys.executable)} -m resnet_repro.launch.slurm_element {shlex.quote(str(folder / JOBS))}"
        )
        lines += ["", "trap '' USR1  # until the element listens"]
        lines += [options.setup] if options.setup else []
        lines += [f"srun --input=none --kill-on-bad-exit=0 {element}" if together else f"exec {element}", ""]
        return "\n".join(lines)

    def close(self) -> None:
        """What was submitted is Slurm's."""


def _mark_queued(job: Job) -> None:
    """Say of a run that waits that Slurm has it: no launcher of ours does, and none need be there."""
    folder = job.log.parent
    if progress_of(folder).get("status") == "waiting":
        amend_progress(folder, queued=True)


def _arrays(jobs: Sequence[Job], most: int) -> list[tuple[list[int], list[Job]]]:
    """The jobs in groups of at most so many: (places of the groups that end before it, jobs) of each.

    The jobs of a group wait for none but jobs of groups before it.
    """
    left = list(jobs)
    arrays: list[tuple[list[int], list[Job]]] = []
    while left:
        coming = {job.marker for job in left}
        wave = [job for job in left if coming.isdisjoint(job.after)]
        assert wave, "runs wait for one another in a circle"
        before = list(range(len(arrays)))
        arrays += [(before, wave[i : i + most]) for i in range(0, len(wave), most)]
        chosen = {job.marker for job in wave}
        left = [job for job in left if job.marker not in chosen]
    return arrays


def _ask(command: Sequence[str]) -> str:
    """What one of Slurm's commands prints. Raises UserError with Slurm's own words where it refuses."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"Slurm does not answer ({command[0]}): see sinfo") from error
    if answer.returncode:
        said = [line.partition("error: ")[2] or line for line in answer.stderr.strip().splitlines()] or [
            "no reason given"
        ]
        raise UserError(f"Slurm refuses the runs ({command[0]}: {'; '.join(said)}): change what it names")
    return answer.stdout
