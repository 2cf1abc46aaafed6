"""The runs of a study: where each lies, and the job that carries it out."""

from __future__ import annotations

import fcntl
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.launch import Job, Slot
from resnet_repro.records.layout import CHECKPOINT, LOG, RECORD, RUN, run_folder, source_folders
from resnet_repro.records.progress import amend_progress, progress_of, write_progress
from resnet_repro.records.provenance import commit
from resnet_repro.records.record import find_record

if TYPE_CHECKING:
    from resnet_repro.data.catalogue import DatasetFacts


class Run:
    """A run of a study: its name and folder, and the job that carries it out.

    facts: those of its data set. how: of the fields of `training.execution.Execution` those that the study decides.
    mirror: where another machine than the study's looks for the data.
    """

    def __init__(
        self,
        settings: RunSettings,
        runs_dir: Path,
        how: Mapping[str, Any] | None = None,
        facts: DatasetFacts | None = None,
        mirror: str | None = None,
    ) -> None:
        self.settings, self.how, self.facts, self.mirror = settings, how or {}, facts, mirror
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
        self._have_data()
        self.folder.mkdir(parents=True, exist_ok=True)
        stored = read_json(self.folder / RUN) or {}
        started = (self.folder / CHECKPOINT).exists()
        execution = {
            **self.how,
            "threads": stored.get("execution", {}).get("threads", slot.threads) if started else slot.threads,
            "commit": commit(),
            "memory_share": slot.share,
        }
        if execution.get("workers") is None:
            execution["workers"] = slot.workers
        identity = stored.get("id") or secrets.token_hex(4)
        assert self.facts is not None
        dataset = {"title": self.facts.title, "standin": self.facts.standin}
        run = {"settings": self.settings.to_json(), "execution": execution, "id": identity, "dataset": dataset}
        write_json(self.folder / RUN, run)

    def _have_data(self) -> None:
        """Fetch the data where another machine has planned the run; of many runs at once on this one the first does it."""
        folder = Path(self.how["data_folder"])
        if folder.exists() or self.settings.dataset not in CATALOGUE:
            return
        from resnet_repro.data.sources import obtain

        data_dir = folder.parents[1]
        data_dir.mkdir(parents=True, exist_ok=True)
        with (data_dir / f".{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                obtain(self.settings.dataset, data_dir, self.mirror, lambda text: None)

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


def tell_of_siblings(runs: Sequence[Run]) -> None:
    """Tell each run what is trained of its network in all: of that depends whether compiling pays."""
    families: dict[tuple, list[Run]] = {}
    for run in runs:
        families.setdefault(net_of(run.settings), []).append(run)
    for family in families.values():
        trained = {"net_steps": sum(run.settings.scheduled for run in family), "net_runs": len(family)}
        for run in family:
            run.how = {**run.how, **trained}


def net_of(settings: RunSettings) -> tuple:
    """What runs share whose training steps are the same program: the network, and the shape of its batches."""
    model, recipe = settings.arm.model, settings.arm.recipe
    options = json.dumps(model.options, sort_keys=True)
    return model.builder, options, recipe.batch_size, settings.dataset, settings.resolution
