"""The Slurm executor: submit the runs as array jobs and return.

Each array element is a process `python -m resnet_repro.launch.slurm_element`, which executes one run or several runs that
share its GPU. Runs that depend on others are submitted as further arrays with a dependency.

Why not submitit (1.5.4): it submits arrays, starts tasks with srun and requeues before the time limit, too. It would replace
`script` and `_ask`, but not GPU sharing, dependencies between arrays, the check for queued runs, or printing the script. It
also takes the time limit only in minutes, stores calls as pickles, and needs Slurm's accounting for sacct.
"""

from __future__ import annotations

import logging
import math
import re
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
from resnet_repro.launch.slots import Placement, Slot, environment_of
from resnet_repro.parsing import plural
from resnet_repro.records.progress import amend_progress, progress_of

log = logging.getLogger(__name__)
LARGEST_ARRAY = 1_000  # elements per array; Slurm's default limit is 1,001
CORES_PER_GPU = 8  # cores per GPU on most clusters
THREADS_WITH_A_GPU, THREADS_THAT_DECODE = 4, 8  # for a run that does not share its GPU
JOBS = "jobs.json"


class SlurmExecutor:
    """Submits a batch script per array with sbatch; with dry_run, prints the scripts instead.

    Raises UserError if Slurm's commands are missing.
    """

    leaves = True

    def __init__(self, spec: ExecutorSpec) -> None:
        options = spec.options
        self.options, self.runs_dir, self.name = options, spec.runs_dir, spec.name
        self.kind = "cpu" if options.devices == "cpu" or options.gpus == 0 else "cuda"
        self.gpus = (options.gpus or 1) if self.kind == "cuda" else 0
        self.nodes = options.nodes or 1
        alone = THREADS_THAT_DECODE if spec.decodes else THREADS_WITH_A_GPU
        self.threads = options.threads or (alone if self.kind == "cuda" else 1)
        self.may_share = self.kind == "cuda" and not spec.spread and not spec.decodes
        self.each = options.slots or 1
        self.precision = spec.precision
        if self.precision == "auto":
            from resnet_repro.hardware import resolve_precision

            self.precision = "bf16" if self.kind == "cuda" else resolve_precision("auto", "cpu")
            other = "fp32" if self.precision == "bf16" else "bf16"
            log.info(f"Slurm does not report bf16 support: using {self.precision}; set PRECISION={other} to change it")
        if not options.dry_run:
            for command in ("sbatch", "squeue", "scancel"):
                if shutil.which(command) is None:
                    raise UserError(
                        f"EXECUTOR=slurm needs {command}, which was not found: run this command where Slurm is installed, or "
                        "print the script with DRY_RUN=1"
                    )

    def plan(self, runs: int, load: Load | None = None) -> str:
        """Describe the resources per array element. Small runs share a GPU by the rule of `sharing`, with assumed memory."""
        threads = self.options.threads or 1
        if self.may_share and self.options.slots is None:
            cores = max(1, CORES_PER_GPU // threads)
            self.each = min(runs, runs_a_gpu(load or Load(), UNKNOWN_MEMORY, cores, through_mps=True))
        if self.each > 1:
            self.threads = threads
        gpus = f"{plural(self.gpus, 'GPU')}, " if self.gpus else ""
        nodes = f"{self.nodes} nodes with " if self.nodes > 1 else ""
        runs_per_element = f"{self.each} runs on " if self.each > 1 else ""
        return f"as a Slurm array, each element {runs_per_element}{nodes}{gpus}{plural(self.cores, 'thread')}"

    @property
    def placement(self) -> Placement:
        tasks = self.nodes * max(1, self.gpus)
        return Placement(None, self.threads * tasks, 1 / self.each, tasks)

    @property
    def cores(self) -> int:
        """CPU cores per task."""
        least = THREADS_WITH_A_GPU if self.each > 1 and self.kind == "cuda" else 1
        return max(least, self.each * self.threads)

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        """Submit all jobs that are not queued yet from an earlier call.

        Raises UserError if Slurm rejects an array; the arrays submitted before it are then cancelled.
        """
        queued = {} if self.options.dry_run else self._queued()
        new = [job for job in jobs if str(job.marker) not in queued]
        if len(new) < len(jobs):
            numbers = ", ".join(sorted({queued[str(job.marker)] for job in jobs if str(job.marker) in queued}))
            old = len(jobs) - len(new)
            verb = "is" if old == 1 else "are"
            log.info(f"{plural(old, 'run')} {verb} queued already (job {numbers}) and {verb} not submitted again")
        stem = f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        submitted: list[str] = []
        for number, (predecessors, array) in enumerate(_arrays(new, LARGEST_ARRAY * self.each)):
            before = {submitted[index] for index in predecessors}
            before |= {queued[str(marker)] for job in array for marker in job.after if str(marker) in queued}
            folder = self.runs_dir / "slurm" / f"{stem}.{number}"
            if self.options.dry_run:
                placeholders = [f"JOB_OF_SCRIPT_{index + 1}" for index in predecessors]
                log.info(self.script(folder, len(array), placeholders))
                continue
            try:
                submitted.append(self._submit(folder, array, sorted(before)))
            except UserError:
                if submitted:
                    _ask(["scancel", *submitted])
                raise
        if submitted:
            log.info(
                f"submitted {plural(len(new), 'run')} as job {', '.join(submitted)}: see make status and make report; run the "
                "same command again to submit missing runs"
            )
        return ["submitted"] * len(jobs)

    def _submit(self, folder: Path, jobs: Sequence[Job], before: Sequence[str]) -> str:
        """Submit an array that starts after the arrays `before`. Returns its job number."""
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
        options = self.options
        jobs_file = {
            "retries": options.retries,
            "each": self.each,
            "signal_seconds": options.notice_seconds,
            "jobs": elements,
        }
        write_json(folder / JOBS, jobs_file)
        path = folder / "job.sh"
        path.write_text(self.script(folder, len(jobs), before), encoding="utf-8", errors="surrogateescape")
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
        """{marker: job number} of runs from earlier calls that are still in Slurm's queue."""
        elements = _ask(["squeue", "--noheader", "--array", "--me", f"--name={self.name}", "--format=%F %K"])
        in_queue = {tuple(line.split()) for line in elements.splitlines()}
        queued = {}
        for path in (self.runs_dir / "slurm").glob(f"{self.name}-*/{JOBS}"):
            stored = read_json(path) or {}
            number = stored.get("number")
            for index, job in enumerate(stored.get("jobs", [])):
                if (number, str(index // stored.get("each", 1))) in in_queue:
                    queued[job["marker"]] = number
        return queued

    def script(self, folder: Path, runs: int, before: Sequence[str] = ()) -> str:
        """The batch script of an array with files in `folder`, which starts after the arrays `before` have ended.

        Raises UserError for a folder with a line break, whose rest would become a line of the script.
        """
        options, tasks = self.options, self.nodes * max(1, self.gpus)
        is_group = tasks > 1
        headers = {
            "job-name": self.name,
            "array": f"0-{math.ceil(runs / self.each) - 1}",
            "output": f"{str(folder).replace('%', '%%')}/%a.txt",
            "open-mode": "append",
            "partition": options.partition,
            "account": options.account,
            "time": options.time,
            "nodes": self.nodes,
            "ntasks-per-node": tasks // self.nodes,
            "cpus-per-task": self.cores,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            # B: signals the batch shell, which becomes the element; without it, all tasks of srun get the signal.
            "signal": f"{'' if is_group else 'B:'}USR1@{options.notice_seconds}",
            "dependency": f"afterany:{':'.join(before)}" if before else None,
        }
        if len(str(folder).splitlines()) > 1:
            raise UserError(f"RUNS_DIR={str(self.runs_dir)!r} has a line break: expected a name that Slurm can read")
        lines = ["#!/bin/bash"]
        lines += [f"#SBATCH --{name}={_escaped(str(value))}" for name, value in headers.items() if value is not None]
        lines += ["#SBATCH --requeue"]
        lines += [f"#SBATCH {options.sbatch}"] if options.sbatch else []
        element = (
            f"{shlex.quote(sys.executable)} -m resnet_repro.launch.slurm_element {shlex.quote(str(folder / JOBS))}"
        )
        lines += ["", "trap '' USR1  # until the element listens"]
        lines += [options.setup] if options.setup else []
        lines += ["export PYTHONSAFEPATH=1  # no modules from the working directory"]
        lines += [f"srun --input=none --kill-on-bad-exit=0 {element}" if is_group else f"exec {element}", ""]
        return "\n".join(lines)

    def close(self) -> None:
        """Nothing to release: submitted jobs stay in Slurm's queue."""


def _mark_queued(job: Job) -> None:
    """Mark a waiting run as queued in Slurm, so that its state stays "waiting" although no launcher is alive."""
    folder = job.log.parent
    if progress_of(folder).get("status") == "waiting":
        amend_progress(folder, queued=True)


def _escaped(value: str) -> str:
    """A value for a line of sbatch's options, which ends at a blank or # unless a backslash precedes it."""
    return re.sub(r"([\s\\'\"#])", r"\\\1", value)


def _arrays(jobs: Sequence[Job], most: int) -> list[tuple[list[int], list[Job]]]:
    """Split the jobs into arrays of at most `most` jobs: (indices of the arrays to wait for, jobs) of each.

    The jobs of an array only depend on jobs of earlier arrays.
    """
    left = list(jobs)
    arrays: list[tuple[list[int], list[Job]]] = []
    while left:
        missing = {job.marker for job in left}
        wave = [job for job in left if missing.isdisjoint(job.after)]
        assert wave, "runs depend on each other in a circle"
        before = list(range(len(arrays)))
        arrays += [(before, wave[i : i + most]) for i in range(0, len(wave), most)]
        chosen = {job.marker for job in wave}
        left = [job for job in left if job.marker not in chosen]
    return arrays


def _ask(command: Sequence[str]) -> str:
    """The output of a Slurm command. Raises UserError with Slurm's error message if the command fails."""
    try:
        answer = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"Slurm does not answer ({command[0]}): check sinfo") from error
    if answer.returncode:
        reasons = [line.partition("error: ")[2] or line for line in answer.stderr.strip().splitlines()] or [
            "no reason given"
        ]
        raise UserError(f"Slurm rejects the runs ({command[0]}: {'; '.join(reasons)}): change the options it names")
    return answer.stdout
