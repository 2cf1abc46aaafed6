"""The runs of a study: where each lies, the job that carries it out, what it is expected to cost."""

from __future__ import annotations

import fcntl
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.errors import UserError
from resnet_repro.experiment import RunSettings, Scored
from resnet_repro.files import read_json, write_json
from resnet_repro.launch import Job, Load, Slot
from resnet_repro.launch.sharing import CONTEXT
from resnet_repro.results import (
    CHECKPOINT,
    LOG,
    PROGRESS,
    RECORD,
    RUN,
    SAID,
    progress_of,
    read_record,
    run_folder,
    source_folders,
)

if TYPE_CHECKING:
    from resnet_repro.data.catalogue import DatasetFacts

LAST_LINES = 80  # of a log, that the last attempt has written


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
            record = read_record(self.folder)
            if record is not None and record.status != "skipped":
                return
            write_json(self.folder / PROGRESS, progress_of(self.folder) | {"status": "waiting", "queued": False})
            (self.folder / RECORD).unlink(missing_ok=True)  # those after it then wait for another
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error

    def mark_failed(self) -> None:
        """Say so in the run's progress, where there is any."""
        try:
            if progress := progress_of(self.folder):
                write_json(self.folder / PROGRESS, progress | {"status": "failed"})
        except OSError:
            return  # on a full disk progress cannot be told; exit code and console name failed runs all the same


def tell_of_siblings(runs: Sequence[Run]) -> None:
    """Tell each run what is trained of its network in all: of that depends whether compiling pays."""
    families: dict[tuple, list[Run]] = {}
    for run in runs:
        families.setdefault(_net_of(run.settings), []).append(run)
    for family in families.values():
        trained = {"net_steps": sum(run.settings.scheduled for run in family), "net_runs": len(family)}
        for run in family:
            run.how = {**run.how, **trained}


def _net_of(settings: RunSettings) -> tuple:
    """What runs share whose training steps are the same program: the network, and the shape of its batches."""
    model, recipe = settings.arm.model, settings.arm.recipe
    options = json.dumps(model.options, sort_keys=True)
    return model.builder, options, recipe.batch_size, settings.dataset, settings.resolution


def expected_costs(runs: Sequence[Run], datasets: Mapping[str, DatasetFacts]) -> dict[str, float]:
    """Expected cost of each run by name: multiply-adds of all its images, a backward pass counting twice.

    datasets: the facts of each data set that the runs are trained on, by its name.
    """
    from resnet_repro.analysis.complexity import describe
    from resnet_repro.data.stream import EVALUATION_IMAGES

    per_image: dict[str, int] = {}
    costs = {}
    for run in runs:
        settings, arm = run.settings, run.settings.arm
        facts = datasets[settings.dataset]
        if arm.name not in per_image:
            channels, height, width = facts.shape
            shape = (channels, settings.resolution or height, settings.resolution or width)
            per_image[arm.name] = describe(arm.model, facts.classes, shape)["multiply_adds"]
        images = 3 * arm.recipe.batch_size * settings.stop_at
        train_images = min(facts.train_images, arm.recipe.train_images or facts.train_images)
        if settings.stretch is None:
            evaluations = settings.stop_at // settings.evaluate_every
            scored = settings.scored or Scored(
                max(EVALUATION_IMAGES, facts.test_images), train_images, facts.test_images
            )
            images += min(scored.train, train_images) + min(scored.test, facts.test_images)
            along = min(EVALUATION_IMAGES, scored.along, train_images) + min(scored.along, facts.test_images)
            images += evaluations * along
        costs[run.name] = float(per_image[settings.arm.name] * images)
    return costs


def heaviest(runs: Sequence[Run], datasets: Mapping[str, DatasetFacts]) -> Load:
    """What the largest of the runs asks of a GPU: multiply-adds of a training step, and an estimate of its memory.

    Two numbers are kept for each that a layer puts out, measured on resnet-56 and resnet-1202; a step recorded as a graph
    keeps them in memory of its own, beside that of the steps which are taken eagerly.
    """
    from resnet_repro.analysis.complexity import KIB_PER_NUMBER, build_on_meta, describe, layer_costs, totals

    operations, memory = 0.0, CONTEXT
    for settings in {_net_of(run.settings): run.settings for run in runs}.values():
        facts, model = datasets[settings.dataset], settings.arm.model
        channels, height, width = facts.shape
        shape = (channels, settings.resolution or height, settings.resolution or width)
        batch = settings.arm.recipe.batch_size
        operations = max(operations, describe(model, facts.classes, shape)["multiply_adds"] * batch)
        costs = totals(layer_costs(build_on_meta(model, facts.classes), shape))
        kept = 2 * costs["memory_kib"] / KIB_PER_NUMBER * batch * (2 if settings.precision == "bf16" else 4)
        memory = max(memory, CONTEXT + round(2 * kept))
    return Load(operations, memory)


def with_descendants(runs: Sequence[Run], costs: Mapping[str, float]) -> dict[str, float]:
    """Cost of each run together with the longest chain of runs that wait for it."""
    children: dict[Path, list[Run]] = {}
    for run in runs:
        for source in run.sources:
            children.setdefault(source, []).append(run)

    @cache
    def chain(run: Run) -> float:
        return costs[run.name] + max((chain(child) for child in children.get(run.folder, [])), default=0.0)

    return {run.name: chain(run) for run in runs}


def failure_reason(folder: Path) -> str:
    """What a failed run said of it, else the last line that it printed; torchrun's own lines come after either."""
    try:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    said = [line.removeprefix(SAID) for line in lines[-LAST_LINES:] if line.startswith(SAID)]
    reason = (said or lines or ["it printed nothing"])[-1]
    if "busy or unavailable" in reason:  # CUDA's words for a card in exclusive-process mode
        reason += " (the GPU takes one process at a time: take SLOTS=1, or have its compute mode set to DEFAULT)"
    return reason


@cache
def commit() -> str | None:
    """The commit of the repository that this package lies in, with "+" where the tree differs; None outside one."""
    root = Path(__file__).resolve().parents[2]
    try:
        out = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip() or None
