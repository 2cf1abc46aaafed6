"""The runs of a study: where each lies, and the job that carries it out."""

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
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.launch import Job, Slot
from resnet_repro.records.layout import CHECKPOINT, LOG, RECORD, RUN, run_folder, source_folders
from resnet_repro.records.lock import hold
from resnet_repro.records.progress import amend_progress, progress_of, write_progress
from resnet_repro.records.provenance import commit
from resnet_repro.records.record import find_record
from resnet_repro.records.resume import state_of
from resnet_repro.records.reuse import take_over, take_up

log = logging.getLogger(__name__)


class Run:
    """A run of a study: its name and folder, and the job that carries it out.

    Of one that is trained: execution, but for threads, commit and share of memory, which follow from the slot; workers, 0
    where they do too; facts of its data set; data_sources, where a machine looks that does not have it.
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
        """environment: see `Job`. prepares: whether this process writes the run's folder, or another one does."""
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
        """The run's process; where a slot has several devices, torchrun starts one for each."""
        module = ["-m", "resnet_repro.training.train_run", str(self.folder)]
        if slot.processes == 1:
            return [sys.executable, *module]
        together = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={slot.processes}"]
        return [sys.executable, *together, *module]

    def _prepare(self, slot: Slot) -> None:
        """Write run.json: what the run is, and on which threads; a resumed run keeps its threads and its identity.

        Where the run's data are not on this machine yet they are fetched.
        """
        assert self.execution is not None and self.facts is not None
        self._have_data(Path(self.execution.data_folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        stored = read_json(self.folder / RUN) or {}
        started = (self.folder / CHECKPOINT).exists()
        execution = replace(
            self.execution,
            threads=stored.get("execution", {}).get("threads", slot.threads) if started else slot.threads,
            commit=commit(),
            memory_share=slot.share,
            workers=self.execution.workers or slot.workers,
        )
        identity = stored.get("id") or secrets.token_hex(4)
        dataset = {"title": self.facts.title, "standin": self.facts.standin}
        run = {"settings": self.settings.to_json(), "execution": asdict(execution), "id": identity, "dataset": dataset}
        write_json(self.folder / RUN, run)

    def _have_data(self, folder: Path) -> None:
        """Fetch the data where another machine has planned the run; of many runs at once on this one the first does it."""
        if folder.exists() or self.settings.dataset not in CATALOGUE:
            return
        assert self.data_sources is not None
        self.data_sources.data_dir.mkdir(parents=True, exist_ok=True)
        with hold(self.data_sources.data_dir / f".{folder.name}.lock", math.inf):
            if not folder.exists():
                obtain(self.settings.dataset, self.data_sources)

    def mark_waiting(self) -> None:
        """Say in the run's progress that it waits, and forget the record of a run that was skipped.

        A run that another process has ended since it was looked at keeps its record.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            record = find_record(self.folder)
            if record is not None and record.status != "skipped":
                return
            write_progress(self.folder, progress_of(self.folder) | {"status": "waiting", "queued": False})
            (self.folder / RECORD).unlink(missing_ok=True)  # those after it then wait for another
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error

    def mark_failed(self) -> None:
        """Say so in the run's progress, where there is any."""
        try:
            amend_progress(self.folder, status="failed")
        except OSError:
            return  # on a full disk progress cannot be told; exit code and console name failed runs all the same


def missing_runs(runs: Sequence[Run], reuse: bool, is_group: bool) -> list[Run]:
    """The runs that are to be trained, or trained on.

    reuse: whether what other studies have trained is put into the runs' folders. is_group: whether several processes carry
    out each run; whole results are then not taken over, since another process would wait in vain for a run that this one
    knows to be done.
    """
    states = [state_of(run.folder, run.settings) for run in runs]
    return [
        run
        for run, state in zip(runs, states, strict=True)
        if state != "done" and not (reuse and _is_taken_over(run, is_new=state == "new" and not is_group))
    ]


def _is_taken_over(run: Run, is_new: bool) -> bool:
    """Whether the result of a new run could be taken over from another study; else its beginning is, where there is one."""
    if is_new and (source := take_over(run.folder, run.settings)):
        log.info(f"{run.name}: {source} has trained the same run, and its result is taken over")
        return True
    if steps := take_up(run.folder, run.settings):
        log.info(f"{run.name}: its first {steps:,} steps have been trained, and it goes on from there")
    return False


def tell_of_siblings(runs: Sequence[Run]) -> None:
    """Tell each run what is trained of its network in all: of that depends whether compiling pays."""
    families: dict[tuple, list[Run]] = {}
    for run in runs:
        families.setdefault(net_of(run.settings), []).append(run)
    for family in families.values():
        steps = sum(run.settings.scheduled for run in family)
        for run in family:
            assert run.execution is not None
            run.execution = replace(run.execution, net_steps=steps, net_runs=len(family))


def net_of(settings: RunSettings) -> tuple:
    """What runs share whose training steps are the same program: the network, and the shape of its batches."""
    model, recipe = settings.arm.model, settings.arm.recipe
    options = json.dumps(model.options, sort_keys=True)
    return model.builder, options, recipe.batch_size, settings.dataset, settings.resolution
