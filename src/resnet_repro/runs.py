"""The runs of a study: where each lies, the job that carries it out, what it is expected to cost."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.experiment import RunSettings
from resnet_repro.launch import Job, Slot
from resnet_repro.results import (
    CHECKPOINT,
    LOG,
    PROGRESS,
    RECORD,
    RUN,
    read_json,
    run_folder,
    source_folders,
    write_json,
)


class Run:
    """A run of a study: its name and folder, and the job that carries it out."""

    def __init__(self, settings: RunSettings, runs_dir: Path, checkpoint_seconds: float) -> None:
        self.settings, self.checkpoint_seconds = settings, checkpoint_seconds
        self.name = f"{settings.arm.name} seed {settings.seed}"
        self.folder = run_folder(runs_dir, settings.experiment, settings.budget, settings.arm.name, settings.seed)
        self.sources = source_folders(self.folder, settings)

    def job(self, data: Path) -> Job:
        return Job(
            name=self.name,
            argv=[sys.executable, "-m", "resnet_repro.training.train_run", str(self.folder)],
            log=self.folder / LOG,
            marker=self.folder / RECORD,
            prepare=lambda slot: self._prepare(slot, data),
            after=[source / RECORD for source in self.sources],
        )

    def _prepare(self, slot: Slot, data: Path) -> None:
        """Write run.json: what the run is, and on which threads; a resumed run keeps its threads and its identity."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stored = read_json(self.folder / RUN) or {}
        started = (self.folder / CHECKPOINT).exists()
        execution = {
            "data_folder": str(data.resolve()),
            "threads": stored["execution"]["threads"] if started else slot.threads,
            "checkpoint_seconds": self.checkpoint_seconds,
            "commit": commit(),
            "memory_share": slot.share,
        }
        identity = stored.get("id") or secrets.token_hex(4)
        write_json(self.folder / RUN, {"settings": self.settings.to_json(), "execution": execution, "id": identity})

    def mark_waiting(self) -> None:
        """Say in the run's progress that it waits, and forget the record of a run that was skipped."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / PROGRESS, (read_json(self.folder / PROGRESS) or {}) | {"status": "waiting"})
            (self.folder / RECORD).unlink(missing_ok=True)  # those after it then wait for another
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error

    def mark_failed(self) -> None:
        """Say so in the run's progress, where there is any."""
        try:
            if progress := read_json(self.folder / PROGRESS):
                write_json(self.folder / PROGRESS, progress | {"status": "failed"})
        except (OSError, UserError):
            return  # on a full disk progress cannot be told; exit code and console name failed runs all the same


def expected_costs(runs: Sequence[Run], classes: int, shape: tuple[int, int, int]) -> dict[str, float]:
    """Expected cost of each run by name: multiply-adds of all its images, a backward pass counting twice."""
    from resnet_repro.analysis.complexity import describe
    from resnet_repro.data.catalogue import dataset
    from resnet_repro.data.stream import EVALUATION_IMAGES

    arms = {run.settings.arm.name: run.settings.arm for run in runs}
    per_image = {name: describe(arm.model, classes, shape)["multiply_adds"] for name, arm in arms.items()}
    costs = {}
    for run in runs:
        settings = run.settings
        images = 3 * settings.arm.recipe.batch_size * settings.stop_at
        if settings.stretch is None:
            facts = dataset(settings.dataset)
            evaluations = settings.stop_at // settings.evaluate_every
            images += facts.train_images + facts.test_images + evaluations * (EVALUATION_IMAGES + facts.test_images)
        costs[run.name] = float(per_image[settings.arm.name] * images)
    return costs


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
    """The last line that a failed run printed."""
    try:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it printed nothing"


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
