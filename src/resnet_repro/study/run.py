"""The runs of a study: the folder of each, and the job that trains it."""

from __future__ import annotations

import json
import logging
import math
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from resnet_repro.config.execution import Execution
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import CATALOGUE, DatasetFacts
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.errors import UserError, os_reason
from resnet_repro.files import read_json, write_json
from resnet_repro.launch import Job, Slot
from resnet_repro.records.layout import CHECKPOINT, LOG, RECORD, RUN, run_folder, source_folders
from resnet_repro.records.lock import hold
from resnet_repro.records.progress import mark_failed, progress_of, write_progress
from resnet_repro.records.provenance import commit, commits, utc_now
from resnet_repro.records.record import find_record
from resnet_repro.records.resume import state_of
from resnet_repro.records.reuse import take_over, take_up

log = logging.getLogger(__name__)


class Run:
    """A run of a study: its name, its folder, and the job that trains it.

    The optional arguments are required to train the run.
    execution: threads, commit and memory share are replaced when the run gets its slot, and so is `workers` if it is 0.
    facts: facts of the data set.
    data_sources: where a machine without the data set looks for it.
    """

    def __init__(
        self,
        settings: RunSettings,
        runs_dir: Path,
        execution: Execution | None = None,
        facts: DatasetFacts | None = None,
        data_sources: DataSources | None = None,
    ) -> None:
        self.settings, self.execution, self.facts, self.data_sources = settings, execution, facts, data_sources
        self.name = f"{settings.arm.name} seed {settings.seed}"
        self.folder = run_folder(runs_dir, settings.experiment, settings.budget, settings.arm.name, settings.seed)
        self.sources = source_folders(self.folder, settings)

    def job(self, environment: Mapping[str, str] | None = None, prepares: bool = True) -> Job:
        """The job that trains the run.

        environment: see `Job`.
        prepares: whether this process writes run.json. In a group of processes only the main process does.
        """
        return Job(
            name=self.name,
            argv=self._command,
            log=self.folder / LOG,
            marker=self.folder / RECORD,
            announce=self.mark_waiting,
            prepare=self._prepare if prepares else lambda slot: self.folder.mkdir(parents=True, exist_ok=True),
            after=[source / RECORD for source in self.sources],
            environment=environment or {},
        )

    def _command(self, slot: Slot) -> list[str]:
        """The command of the run's process. If the slot has several devices, torchrun starts one process for each."""
        module = ["-m", "resnet_repro.training.train_run", str(self.folder)]
        if slot.processes == 1:
            return [sys.executable, *module]
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={slot.processes}"]
        return [sys.executable, *torchrun, *module]

    def _prepare(self, slot: Slot) -> None:
        """Write run.json with settings and execution. A resumed run keeps its id, its number of threads, the time at which
        it began, and the commits of its earlier processes.

        Downloads the data set first if this machine does not have it.
        """
        assert self.execution is not None and self.facts is not None
        self._ensure_data(Path(self.execution.data_folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        stored = read_json(self.folder / RUN) or {}
        started = (self.folder / CHECKPOINT).exists()
        earlier = stored.get("execution", {}) if started else {}
        execution = replace(
            self.execution,
            threads=earlier.get("threads", slot.threads),
            commit=commits(earlier["commit"], commit()) if "commit" in earlier else commit(),
            begun_at=earlier.get("begun_at") if started else utc_now(),
            memory_share=slot.share,
            workers=self.execution.workers or slot.workers,
        )
        identity = stored.get("id") or secrets.token_hex(4)
        dataset = {"title": self.facts.title, "standin": self.facts.standin}
        run = {"settings": self.settings.to_json(), "execution": asdict(execution), "id": identity, "dataset": dataset}
        write_json(self.folder / RUN, run)

    def _ensure_data(self, folder: Path) -> None:
        """Obtain the data set if another machine planned the run. If several runs start at once, the first obtains it."""
        if folder.exists() or self.settings.dataset not in CATALOGUE:
            return
        assert self.data_sources is not None
        self.data_sources.data_dir.mkdir(parents=True, exist_ok=True)
        with hold(self.data_sources.data_dir / f".{folder.name}.lock", math.inf):
            if not folder.exists():
                obtain(self.settings.dataset, self.data_sources)

    def mark_waiting(self) -> None:
        """Set the run's progress to "waiting", and delete the record if the run was skipped.

        A record that another process has written in the meantime is kept. Raises UserError if the folder is not writable.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            record = find_record(self.folder)
            if record is not None and record.status != "skipped":
                return
            write_progress(self.folder, progress_of(self.folder) | {"status": "waiting", "queued": False})
            (self.folder / RECORD).unlink(missing_ok=True)  # runs that depend on this one then wait for the new record
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written ({os_reason(error)}); use another RUNS_DIR") from error

    def mark_failed(self) -> None:
        """Set the run's progress to "failed", if it has any."""
        mark_failed(self.folder)


def missing_runs(runs: Sequence[Run], reuse: bool, is_group: bool) -> list[Run]:
    """The runs that still need training, from the start or from a checkpoint.

    reuse: copy results and prefixes of other studies into the folders of the runs.
    is_group: several processes train each run together. Whole results are then not taken over, because the other
    processes do not know that the run is done, and would wait for this one forever.
    """
    states = [state_of(run.folder, run.settings) for run in runs]
    return [
        run
        for run, state in zip(runs, states, strict=True)
        if state != "done" and not (reuse and _is_taken_over(run, is_new=state == "new" and not is_group))
    ]


def _is_taken_over(run: Run, is_new: bool) -> bool:
    """Take over the result of a new run from another study, and return True; else copy its longest trained prefix."""
    if is_new and (source := take_over(run.folder, run.settings)):
        log.info(f"{run.name}: {source} has trained the same run, and its result is taken over")
        return True
    if steps := take_up(run.folder, run.settings):
        log.info(f"{run.name}: its first {steps:,} steps have been trained, and it resumes from there")
    return False


def tell_of_siblings(runs: Sequence[Run]) -> None:
    """Set `net_steps` and `net_runs` of each run. The decision whether to compile the network depends on them."""
    families: dict[tuple, list[Run]] = {}
    for run in runs:
        families.setdefault(net_of(run.settings), []).append(run)
    for family in families.values():
        steps = sum(run.settings.scheduled for run in family)
        for run in family:
            assert run.execution is not None
            run.execution = replace(run.execution, net_steps=steps, net_runs=len(family))


def net_of(settings: RunSettings) -> tuple:
    """Key of a training program: network and shape of its batches. Runs with equal keys share compiled kernels."""
    model, recipe = settings.arm.model, settings.arm.recipe
    options = json.dumps(model.options, sort_keys=True)
    return model.builder, options, recipe.batch_size, settings.dataset, settings.resolution
