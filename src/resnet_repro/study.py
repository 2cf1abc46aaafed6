"""An experiment carried out: its runs expanded, checked, launched, watched. The command line's `run`."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from resnet_repro.errors import UserError
from resnet_repro.experiment import Arm, Experiment, Profile, RunSettings
from resnet_repro.launch import Job, Outcome, Slot, execute
from resnet_repro.launch.display import Display, Watched
from resnet_repro.results import LOG, PROGRESS, RECORD, RUN, read_json, run_folder, state_of, write_json


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
    """How a study ended: each run's name, folder and outcome, and the W&B mirror's last word is the caller's to ask."""

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
    import os

    from resnet_repro.data.sources import obtain
    from resnet_repro.training.devices import best_device, cpu_cores, resolve_precision

    say = _plain_line(console)
    _check_writable(request.runs_dir, "RUNS_DIR")
    _check_writable(request.reports_dir, "REPORTS_DIR")
    devices = _devices(request.devices)
    kind = devices[0].partition(":")[0]
    precision = resolve_precision(request.precision, kind if request.devices != "auto" else best_device())
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
    todo = [
        RunSettings(
            experiment=request.experiment.name,
            budget=request.profile.name,
            arm=arm,
            seed=seed,
            iterations=request.profile.iterations,
            evaluate_every=request.profile.evaluate_every,
            dataset=arrays.facts.name,
            dataset_digest=arrays.digest,
            precision=precision,
            device=kind,
        )
        for seed in request.seeds
        for arm in request.arms
    ]
    folders = [run_folder(request.runs_dir, s.experiment, s.budget, s.arm.name, s.seed) for s in todo]
    states = [state_of(folder, settings) for folder, settings in zip(folders, todo, strict=True)]
    names = [f"{s.arm.name} seed {s.seed}" for s in todo]
    if done := states.count("done"):
        say(f"{done} of {len(todo)} runs are finished already and are not repeated")
    pending = [i for i, state in enumerate(states) if state != "done"]
    outcomes: list[Outcome] = ["done"] * len(todo)
    if pending:
        costs = _costs(todo, arrays.facts.classes, arrays.facts.shape)
        pending.sort(key=lambda i: -costs[i])  # the longest first, so that no slot is left with it at the end
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        slots = plan(devices, request.slots, len(todo), cpu_cores(), visible)
        say(
            f"{request.experiment.name}: {len(pending)} runs of up to {request.profile.iterations:,} steps, "
            f"{len(slots)} at once on {', '.join(dict.fromkeys(slot.label for slot in slots))}, {precision}"
        )
        jobs = [_job(names[i], folders[i], todo[i], request, arrays.folder, states[i] == "started") for i in pending]
        watched = [Watched(names[i], folders[i], costs[i]) for i in pending]
        message = follow([folders[i] for i in pending])
        with Display(watched, console) as display:

            def watch() -> None:
                if text := message():
                    say(text)
                display.refresh()

            ended = execute(jobs, slots, watch)
        for i, outcome in zip(pending, ended, strict=True):
            outcomes[i] = outcome
            if outcome == "failed":
                _mark_failed(folders[i])
    return Result(names, folders, outcomes)


def plan(devices: Sequence[str], per_device: int | None, runs: int, cores: int, visible: str | None) -> list[Slot]:
    from resnet_repro.launch.slots import plan_slots

    return plan_slots(devices, per_device, runs, cores, visible)


def _devices(wanted: str) -> list[str]:
    import torch

    from resnet_repro.launch.slots import parse_devices
    from resnet_repro.training.devices import best_device

    return parse_devices(wanted, best_device(), torch.cuda.device_count())


def _costs(settings: Sequence[RunSettings], classes: int, shape: tuple[int, int, int]) -> list[float]:
    """Expected cost of each run: multiply-adds of all its images."""
    from resnet_repro.analysis.complexity import describe

    per_image = {s.arm.name: describe(s.arm.model, classes, shape)["multiply_adds"] for s in settings}
    return [float(per_image[s.arm.name] * s.arm.recipe.batch_size * s.stop_at) for s in settings]


def _job(name: str, folder: Path, settings: RunSettings, request: Request, data: Path, started: bool) -> Job:
    def prepare(slot: Slot) -> None:
        """Write run.json: what the run is, and on which threads; a resumed run keeps its threads and its identity."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = read_json(folder / RUN) or {}
        execution = {
            "data_folder": str(data.resolve()),
            "threads": stored["execution"]["threads"] if started else slot.threads,
            "checkpoint_seconds": request.checkpoint_seconds,
            "commit": _commit(),
        }
        identity = stored.get("id") or secrets.token_hex(4)
        write_json(folder / RUN, {"settings": settings.to_json(), "execution": execution, "id": identity})

    return Job(
        name=name,
        argv=[sys.executable, "-m", "resnet_repro.training.train_run", str(folder)],
        log=folder / LOG,
        marker=folder / RECORD,
        prepare=prepare,
    )


def _mark_failed(folder: Path) -> None:
    try:
        progress = read_json(folder / PROGRESS) or {}
        write_json(folder / PROGRESS, progress | {"status": "failed"})
    except (OSError, UserError):
        return  # a full disk may be what failed it; the launcher's exit code and lines name the run all the same


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
    return replace(profile.scaled(iterations))
