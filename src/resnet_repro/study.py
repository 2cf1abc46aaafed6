"""An experiment carried out: its runs expanded, checked, launched, watched. The command line's `run`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from resnet_repro.budgets import budget_name, command
from resnet_repro.discovery import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.experiment import Arm, Experiment, Profile, RunSettings
from resnet_repro.launch import Outcome, execute
from resnet_repro.launch.display import Display, Watched
from resnet_repro.launch.slots import parse_devices, plan_slots
from resnet_repro.results import check_sources, parent_folder, read_record, state_of
from resnet_repro.runs import Run, expected_costs, with_descendants

NO_DATA = "none"  # the data set of arms that are counted


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
    say = _plain_line(console)
    _check_writable(request.runs_dir, "RUNS_DIR")
    _check_writable(request.reports_dir, "REPORTS_DIR")
    if request.experiment.is_counted:
        budget = _counted_budget(request)
        runs = [Run(settings, request.runs_dir, 0) for settings in _expand(request, budget)]
        _count(runs, say)
        return _result(budget, runs, {})
    return _train(request, console, say, follow)


def _train(
    request: Request,
    console: Console,
    say: Callable[[str], None],
    follow: Callable[[list[Path]], Callable[[], str | None]],
) -> Result:
    # Here and below: torch takes seconds to import, and bad input should be answered before that.
    from resnet_repro.data.sources import obtain
    from resnet_repro.training.devices import cpu_cores, resolve_precision

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
    expanded = _expand(request, budget, arrays.facts.name, arrays.digest, precision, device=kind)
    all_runs = [Run(settings, request.runs_dir, request.checkpoint_seconds) for settings in expanded]
    runs = [run for run in all_runs if not run.settings.arm.counted]
    _check_parents(request, runs)
    states = [state_of(run.folder, run.settings) for run in runs]
    _count([run for run in all_runs if run.settings.arm.counted], say)
    if done := states.count("done"):
        say(f"{done} of {len(runs)} runs are finished already and are not repeated")
    outcomes: dict[str, Outcome] = {run.name: "done" for run in runs}
    pending = [run for run, state in zip(runs, states, strict=True) if state != "done"]
    if pending:
        costs = expected_costs(runs, arrays.facts.classes, arrays.facts.shape)
        # The longest first: no slot is left with it at the end. A run counts with what waits for it.
        urgency = with_descendants(runs, costs)
        pending.sort(key=lambda run: -urgency[run.name])
        # Slots are planned for all runs, so that a resumed study shares out the cores as it did before.
        slots = plan_slots(devices, request.slots, len(runs), cpu_cores(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        say(
            f"{request.experiment.name}: {len(pending)} runs of up to {max(r.settings.stop_at for r in pending):,} steps, "
            f"{len(slots)} at once on {', '.join(dict.fromkeys(slot.label for slot in slots))}, {precision}"
        )
        for run in pending:
            run.mark_waiting()  # not what an earlier attempt left there
        message = follow([run.folder for run in pending])
        watched = [Watched(run.name, run.folder, costs[run.name]) for run in pending]
        with Display(watched, console) as display:

            def watch() -> None:
                if text := message():
                    say(text)
                display.refresh()

            ended = execute([run.job(arrays.folder) for run in pending], slots, watch)
        outcomes |= {run.name: outcome for run, outcome in zip(pending, ended, strict=True)}
        for run in runs:  # a source trained again may have ended with other weights than the finished runs know
            if record := read_record(run.folder):
                check_sources(run.folder, run.settings, record)
        for run in pending:
            if outcomes[run.name] == "failed":
                run.mark_failed()
    return _result(budget, all_runs, outcomes)


def _result(budget: str, runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> Result:
    """Those that are in no `outcomes` were counted, which is done or raises."""
    return Result(
        budget,
        [run.name for run in runs],
        [run.folder for run in runs],
        [outcomes.get(run.name, "done") for run in runs],
    )


def _count(runs: Sequence[Run], say: Callable[[str], None]) -> None:
    """Count the networks that have no record yet, here and now: it takes no training and hardly any time."""
    pending = [run for run in runs if state_of(run.folder, run.settings) != "done"]
    if pending:
        from resnet_repro.counting import count_run

        say(f"counting {len(pending)} network{'s' * (len(pending) > 1)}")
        for run in pending:
            count_run(run.folder, run.settings)


def _counted_budget(request: Request) -> str:
    if request.dataset not in (NO_DATA, "auto"):
        raise UserError(
            f"DATASET={request.dataset!r} does not go with {request.experiment.name}, which counts networks and reads no "
            f"data: leave it out"
        )
    if request.profile not in request.experiment.profiles:
        raise UserError(f"ITERATIONS does not go with {request.experiment.name}, which trains nothing: leave it out")
    return request.profile.name


def _expand(
    request: Request,
    budget: str,
    dataset: str = NO_DATA,
    digest: str = "",
    precision: str = "fp32",
    device: str = "cpu",
) -> list[RunSettings]:
    """Arms × seeds of the request, seed by seed. What is counted knows no data, precision or device."""
    profile = request.profile
    settings = []
    for index, seed in enumerate(request.seeds):
        for arm in request.arms:
            counted = arm.counted is not None
            if counted and index:
                continue
            settings.append(
                RunSettings(
                    experiment=request.experiment.name,
                    budget=budget,
                    arm=arm,
                    seed=0 if counted else seed,
                    iterations=0 if counted else profile.steps(arm),
                    evaluate_every=1 if counted else profile.evaluate_every(arm),
                    dataset=NO_DATA if counted else dataset,
                    dataset_digest="" if counted else digest,
                    precision="fp32" if counted else precision,
                    device="cpu" if counted else device,
                    stretch=profile.stretches.get(arm.name),
                )
            )
    return settings


def _check_parents(request: Request, runs: Sequence[Run]) -> None:
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


def _check_writable(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(4)}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{variable}={folder} cannot be written ({error.strerror}): name another folder") from error


def _plain_line(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


def scaled_profile(experiment: Experiment, name: str, iterations: int | None) -> Profile:
    """The profile, at its own length or at another; a length equal to the profile's own changes nothing."""
    profile = experiment.profile(name)
    if iterations is None or iterations == profile.iterations:
        return profile
    return profile.scaled(iterations)
