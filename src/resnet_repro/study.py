"""An experiment carried out: its runs expanded, checked, launched, watched. The command line's `run`."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from resnet_repro.budgets import budget_name, command
from resnet_repro.discovery import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.experiment import Arm, Experiment, Profile, RunSettings
from resnet_repro.launch import Job, Outcome, Slot, execute
from resnet_repro.launch.display import Display, Watched
from resnet_repro.launch.slots import parse_devices, plan_slots
from resnet_repro.results import (
    CHECKPOINT,
    LOG,
    PROGRESS,
    RECORD,
    RUN,
    check_parent,
    parent_folder,
    read_json,
    read_record,
    run_folder,
    state_of,
    write_json,
)


@dataclass(frozen=True)
class Request:
    """What the user asked for, defaults filled in."""

    experiment: Experiment
    profile: Profile
    arms: Sequence[Arm]
    seeds: Sequence[int]
    dataset: str
    data_dir: Path
    data_dir_named: bool
    data_mirror: str | None
    runs_dir: Path
    reports_dir: Path
    devices: str
    slots: int | None
    precision: str
    checkpoint_seconds: float
    wandb_mode: str


@dataclass(frozen=True)
class Result:
    """How a study ended: name, folder and outcome of each run, in the order in which they were asked for.

    budget: the name of the runs' folder below the experiment's, `budget_name`.
    """

    budget: str
    names: list[str]
    folders: list[Path]
    outcomes: list[Outcome]

    def named(self, outcome: Outcome) -> list[str]:
        return [name for name, found in zip(self.names, self.outcomes, strict=True) if found == outcome]


def carry_out(request: Request, console: Console, follow: Callable[[list[Path]], Callable[[], str | None]]) -> Result:
    """Run what is missing of a study. Runs that have their record are not repeated, others go on where they stopped.

    follow: given the folders of the runs to come, returns a function that gives a message to print, or None.
    Raises UserError before anything is started, for bad input and for folders that hold other runs.
    """
    # Here and below: torch takes seconds to import, and bad input should be answered before that.
    from resnet_repro.data.sources import obtain
    from resnet_repro.training.devices import cpu_cores, resolve_precision

    say = _plain_line(console)
    _check_writable(request.runs_dir, "RUNS_DIR")
    _check_writable(request.reports_dir, "REPORTS_DIR")
    devices = _devices(request.devices)
    kind = devices[0].partition(":")[0]
    precision = resolve_precision(request.precision, kind)
    arrays = obtain(
        request.dataset,
        request.data_dir,
        request.data_mirror,
        say,
        request.experiment.dataset,
        request.data_dir_named,
    )
    if arrays.facts.standin:
        say(f"STAND-IN DATA: {arrays.facts.title}; no claim about {request.experiment.dataset} is judged on it")
    budget = budget_name(request.experiment, request.profile, arrays.facts.name)
    runs = [
        _Run(request, settings)
        for settings in _expand(request, budget, arrays.facts.name, arrays.digest, precision, device=kind)
    ]
    _check_sources(request, runs)
    states = [state_of(run.folder, run.settings) for run in runs]
    if done := states.count("done"):
        say(f"{done} of {len(runs)} runs are finished already and are not repeated")
    outcomes: dict[str, Outcome] = {run.name: "done" for run in runs}
    pending = [run for run, state in zip(runs, states, strict=True) if state != "done"]
    if pending:
        costs = _costs(runs, arrays.facts.classes, arrays.facts.shape)
        # The longest first: no slot is left with it at the end. A run counts with what waits for it.
        urgency = _with_descendants(runs, costs)
        pending.sort(key=lambda run: -urgency[run.name])
        # Slots are planned for all runs, so that a resumed study shares out the cores as it did before.
        slots = plan_slots(devices, request.slots, len(runs), cpu_cores(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        say(
            f"{request.experiment.name}: {len(pending)} runs of up to {max(r.settings.stop_at for r in pending):,} steps, "
            f"{len(slots)} at once on {', '.join(dict.fromkeys(slot.label for slot in slots))}, {precision}"
        )
        for run in pending:
            _mark_waiting(run.folder)  # not what an earlier attempt left there
            (run.folder / RECORD).unlink(missing_ok=True)  # of a run that was skipped: those after it wait for another
        message = follow([run.folder for run in pending])
        watched = [Watched(run.name, run.folder, costs[run.name]) for run in pending]
        with Display(watched, console) as display:

            def watch() -> None:
                if text := message():
                    say(text)
                display.refresh()

            ended = execute([run.job(arrays.folder) for run in pending], slots, watch)
        outcomes |= {run.name: outcome for run, outcome in zip(pending, ended, strict=True)}
        for run in runs:  # a parent trained again may have ended with other weights than its finished children know
            if record := read_record(run.folder):
                check_parent(run.folder, run.settings, record)
        for run in pending:
            if outcomes[run.name] == "failed":
                _mark(run.folder, "failed")
    return Result(budget, [run.name for run in runs], [run.folder for run in runs], [outcomes[r.name] for r in runs])


def _expand(request: Request, budget: str, dataset: str, digest: str, precision: str, device: str) -> list[RunSettings]:
    """Arms × seeds of the request, seed by seed."""
    profile = request.profile
    return [
        RunSettings(
            experiment=request.experiment.name,
            budget=budget,
            arm=arm,
            seed=seed,
            iterations=profile.steps(arm),
            evaluate_every=profile.evaluate_every(arm),
            dataset=dataset,
            dataset_digest=digest,
            precision=precision,
            device=device,
            stretch=profile.stretches.get(arm.name),
        )
        for seed in request.seeds
        for arm in request.arms
    ]


def _check_sources(request: Request, runs: Sequence[_Run]) -> None:
    """Raise UserError, naming the command that helps, where runs of another experiment are to be read and are not there."""
    missing: dict[str, list[str]] = {}
    for run in runs:
        start = run.settings.arm.start
        if start is not None and start.experiment is not None:
            source = parent_folder(run.folder, run.settings)
            assert source is not None
            if read_record(source) is None:
                missing.setdefault(start.experiment, []).append(f"{start.arm} seed {run.settings.seed}")
    seeds = ",".join(map(str, request.seeds))
    where = "" if request.runs_dir == Path("runs") else f" RUNS_DIR={request.runs_dir}"
    for experiment, names in missing.items():
        names = list(dict.fromkeys(names))
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        raise UserError(
            f"{request.experiment.name} reads finished runs of {experiment}, and {request.runs_dir} lacks {shown}: "
            f"run {command(load_experiment(experiment), runs[0].settings.budget)} SEEDS={seeds}{where} first"
        )


def _devices(wanted: str) -> list[str]:
    import torch

    from resnet_repro.training.devices import best_device

    return parse_devices(wanted, best_device(), torch.cuda.device_count())


class _Run:
    """A run of a study: its name and folder, and the job that carries it out."""

    def __init__(self, request: Request, settings: RunSettings) -> None:
        self.settings, self.checkpoint_seconds = settings, request.checkpoint_seconds
        self.name = f"{settings.arm.name} seed {settings.seed}"
        self.folder = run_folder(
            request.runs_dir, settings.experiment, settings.budget, settings.arm.name, settings.seed
        )

    def job(self, data: Path) -> Job:
        return Job(
            name=self.name,
            argv=[sys.executable, "-m", "resnet_repro.training.train_run", str(self.folder)],
            log=self.folder / LOG,
            marker=self.folder / RECORD,
            prepare=lambda slot: self._prepare(slot, data),
            after=[source / RECORD] if (source := parent_folder(self.folder, self.settings)) else [],
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
            "commit": _commit(),
            "memory_share": slot.share,
        }
        identity = stored.get("id") or secrets.token_hex(4)
        write_json(self.folder / RUN, {"settings": self.settings.to_json(), "execution": execution, "id": identity})


def _costs(runs: Sequence[_Run], classes: int, shape: tuple[int, int, int]) -> dict[str, float]:
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


def _with_descendants(runs: Sequence[_Run], costs: dict[str, float]) -> dict[str, float]:
    """Cost of each run together with the longest chain of runs that wait for it."""
    children: dict[Path, list[_Run]] = {}
    for run in runs:
        if source := parent_folder(run.folder, run.settings):
            children.setdefault(source, []).append(run)

    def chain(run: _Run) -> float:
        return costs[run.name] + max((chain(child) for child in children.get(run.folder, [])), default=0.0)

    return {run.name: chain(run) for run in runs}


def _mark_waiting(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / PROGRESS, (read_json(folder / PROGRESS) or {}) | {"status": "waiting"})
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error


def _mark(folder: Path, status: str) -> None:
    """Change the status in a run's progress, where there is any."""
    try:
        if progress := read_json(folder / PROGRESS):
            write_json(folder / PROGRESS, progress | {"status": status})
    except (OSError, UserError):
        return  # on a full disk progress cannot be told; exit code and console name failed runs all the same


def failure_reason(folder: Path) -> str:
    """The last line that a failed run printed."""
    try:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it printed nothing"


def _check_writable(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(4)}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{variable}={folder} cannot be written ({error.strerror}): name another folder") from error


def _commit() -> str | None:
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


def _plain_line(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


def scaled_profile(experiment: Experiment, name: str, iterations: int | None) -> Profile:
    """The profile, at its own length or at another; a length equal to the profile's own changes nothing."""
    profile = experiment.profile(name)
    if iterations is None or iterations == profile.iterations:
        return profile
    return profile.scaled(iterations)
