"""An experiment carried out: its runs expanded, checked, launched, watched. The command line's `run`."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from resnet_repro.config.settings import FEWEST_CAPTURED
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.design.budgets import Budget
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.launch import Executor, ExecutorSpec, Job, Outcome, executor_for
from resnet_repro.launch.display import Display, ShownRun
from resnet_repro.launch.process_group import Group, group_of
from resnet_repro.records.layout import parent_folder
from resnet_repro.records.record import read_record
from resnet_repro.records.resume import check_sources, state_of
from resnet_repro.records.reuse import take_over, take_up
from resnet_repro.study.cost import expected_costs, heaviest, with_descendants
from resnet_repro.study.expand import counted_budget, expand
from resnet_repro.study.inputs import backbone_arms, located_for, weights_for
from resnet_repro.study.request import Request
from resnet_repro.study.run import Run, tell_of_siblings

if TYPE_CHECKING:
    from resnet_repro.data.catalogue import DatasetFacts


@dataclass(frozen=True)
class Result:
    """How a study ended: name, folder and outcome of each run, in the order in which they were asked for.

    budget: the name of the runs' folder below the experiment's. is_main: whether this process speaks for
    all that were started together.
    """

    budget: str
    names: list[str]
    folders: list[Path]
    outcomes: list[Outcome]
    is_main: bool = True

    def named(self, outcome: Outcome) -> list[str]:
        return [name for name, found in zip(self.names, self.outcomes, strict=True) if found == outcome]


def carry_out(request: Request, console: Console, follow: Callable[[list[Path]], Callable[[], str | None]]) -> Result:
    """Run what is missing of a study. Runs that have their record are not repeated, others go on where they stopped.

    follow: given the folders of the runs to come, returns a function that gives a message to print, or None.
    Raises UserError before anything is started, for bad input and for folders that hold other runs.
    """
    say = _plain_line(console)
    group = _group(request)
    if group and not group.dist.is_main:
        say = _nothing
    _check_writable(request.runs_dir, "RUNS_DIR")
    _check_writable(request.reports_dir, "REPORTS_DIR")
    if request.experiment.is_counted:
        budget = counted_budget(request)
        runs = [Run(settings, request.runs_dir) for settings in expand(request, budget)]
        _count(runs, say)
        return _result(budget, runs, {})
    if not request.launch.is_local:
        request = _absolute(request)
    with contextlib.closing(_executor(request, group, say)) as executor:
        return _train(request, executor, console, say, follow, group)


def _absolute(request: Request) -> Request:
    """The request with whole paths: other machines know no working directory of ours."""
    mirror = request.data_mirror
    return replace(
        request,
        runs_dir=request.runs_dir.resolve(),
        data_dir=request.data_dir.resolve(),
        data_mirror=str(Path(mirror).resolve()) if mirror and Path(mirror).is_dir() else mirror,
    )


@dataclass(frozen=True)
class _Plan:
    """What a study comes to: its runs, and the data sets that they are trained on by name."""

    budget: str
    runs: Sequence[Run]
    datasets: Mapping[str, DatasetFacts]

    @property
    def trained(self) -> list[Run]:
        return [run for run in self.runs if not run.settings.arm.counted]


def _plan(request: Request, executor: Executor, say: Callable[[str], None]) -> _Plan:
    """Find the data and the weights, and expand the request into runs. Raises UserError where any is not to be had."""
    # Here and below: torch takes seconds to import, and bad input should be answered before that.
    from resnet_repro.study.inputs import locate

    experiment = request.experiment
    sources = (request.data_dir, request.data_mirror, say, request.data_dir_named)
    located = locate(request.dataset, experiment, *sources)
    if located.facts.standin:
        say(f"STAND-IN DATA: {located.facts.title}; no claim about {experiment.dataset} is judged on it")
    budget = Budget.of(experiment, request.profile, located.facts.name).folder
    weights = weights_for(request, say)
    arms = [arm for arm in request.arms if not (weights and arm.name in backbone_arms(request.arms))]
    data = {arm.name: located_for(arm, located, sources) for arm in arms}
    how = {
        "checkpoint_seconds": request.checkpoint_seconds,
        "workers": request.workers,
        "skip_broken": request.skip_broken,
        "weights": str(weights.path.resolve()) if weights else None,
    }
    runs = []
    for settings in expand(replace(request, arms=arms), budget, data, executor.precision, executor.kind, weights):
        found = data[settings.arm.name]
        where = {"data_folder": str(found.folder.resolve())}
        runs.append(Run(settings, request.runs_dir, {**how, **where}, found.facts, request.data_mirror))
    return _Plan(budget, runs, {found.facts.name: found.facts for found in data.values()})


def _train(
    request: Request,
    executor: Executor,
    console: Console,
    say: Callable[[str], None],
    follow: Callable[[list[Path]], Callable[[], str | None]],
    group: Group | None,
) -> Result:
    plan = _plan(request, executor, say)
    runs = plan.trained
    _check_parents(request, runs)
    states = [state_of(run.folder, run.settings) for run in runs]
    is_main = group is None or group.dist.is_main
    if is_main and not request.launch.dry_run:
        # Only of one process: another would wait in vain for a run that this one knows to be done.
        both = zip(runs, states, strict=True)
        states = [_from_earlier_runs(run, state, say, whole=group is None) for run, state in both]
    if is_main:
        _count([run for run in plan.runs if run.settings.arm.counted], say)
    if done := states.count("done"):
        say(f"{done} of {len(runs)} runs are finished already and are not repeated")
    outcomes: dict[str, Outcome] = {run.name: "done" for run in runs}
    pending = [run for run, state in zip(runs, states, strict=True) if state != "done"]
    if pending:
        costs = expected_costs(runs, plan.datasets)
        # The longest first: no slot is left with it at the end. A run counts with what waits for it.
        urgency = with_descendants(runs, costs)
        pending.sort(key=lambda run: -urgency[run.name])
        tell_of_siblings(pending)
        if group:
            jobs = [run.job(group.environment(runs.index(run)), group.dist.is_main) for run in pending]
        else:
            jobs = [run.job() for run in pending]
        where = executor.plan(len(runs), heaviest(runs, plan.datasets) if executor.kind == "cuda" else None)
        longest = max(run.settings.stop_at for run in pending)
        say(
            f"{request.experiment.name}: {len(pending)} runs of up to {longest:,} steps, {where}, {executor.precision}, "
            f"{_how_steps_are_taken(request, executor, longest)}"
        )
        if not is_main or executor.leaves:  # the main process of a group shows and follows what all of them do
            ended = executor.execute(jobs, lambda: None)
            return _result(plan.budget, plan.runs, outcomes | _by_name(pending, ended), is_main)
        outcomes |= _by_name(pending, _launch(pending, jobs, executor, costs, console, say, follow))
        _look_over(runs, outcomes)
    return _result(plan.budget, plan.runs, outcomes, is_main)


def _how_steps_are_taken(request: Request, executor: Executor, longest: int) -> str:
    if executor.kind == "cuda" and longest >= FEWEST_CAPTURED and not request.experiment.spread:
        return "each step one CUDA graph"
    return "steps taken eagerly, compiled where that pays" if executor.kind == "cpu" else "steps taken eagerly"


def _from_earlier_runs(run: Run, state: str, say: Callable[[str], None], whole: bool) -> str:
    """The state of a run after a look at what others have trained: "done" where it is the same run, whose result could be
    taken over, "started" where it is the beginning, or more of it than the run's own folder holds.

    whole: whether results are taken over too.
    """
    if whole and state == "new" and (source := take_over(run.folder, run.settings)):
        say(f"{run.name}: {source} has trained the same run, and its result is taken over")
        return "done"
    if state != "done" and (steps := take_up(run.folder, run.settings)):
        say(f"{run.name}: its first {steps:,} steps have been trained, and it goes on from there")
        return "started"
    return state


def _by_name(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    return {run.name: outcome for run, outcome in zip(runs, outcomes, strict=True)}


def _launch(
    pending: Sequence[Run],
    jobs: Sequence[Job],
    executor: Executor,
    costs: Mapping[str, float],
    console: Console,
    say: Callable[[str], None],
    follow: Callable[[list[Path]], Callable[[], str | None]],
) -> list[Outcome]:
    """Carry out the jobs, shown on the console and followed by whoever wants to."""
    for job in jobs:
        job.announce()  # here already: the display shows no state of an earlier attempt
    message = follow([run.folder for run in pending])
    shown = [ShownRun(run.name, run.folder, costs[run.name]) for run in pending]
    with Display(shown, console) as display:

        def poll() -> None:
            if text := message():
                say(text)
            display.refresh()

        return executor.execute(jobs, poll)


def _look_over(runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> None:
    """Mark the runs that failed. Raises UserError where a source trained again left its children with other weights."""
    for run in runs:
        if record := read_record(run.folder):
            check_sources(run.folder, run.settings, record)
    for run in runs:
        if outcomes[run.name] == "failed":
            run.mark_failed()


def _group(request: Request) -> Group | None:
    """The processes that torchrun or srun has started for this study; None where this is the only one."""
    group = group_of(os.environ)
    if group and not (request.experiment.spread and request.launch.is_local):
        name = request.experiment.name
        why = f"{name}, whose runs take one device each" if request.launch.is_local else "one executor"
        raise UserError(f"{group.dist.size} processes were started for {why}: start one process")
    return group


def _executor(request: Request, group: Group | None, say: Callable[[str], None]) -> Executor:
    """The executor that the user asks for; a process of a group carries out its part of the runs itself."""
    name = f"{request.experiment.name}-{request.profile.name}"
    dist = group.dist if group else None
    decodes = request.dataset not in CATALOGUE and request.dataset != "auto"
    wanted = ExecutorSpec(
        request.launch, request.precision, request.runs_dir, name, request.experiment.spread, say, decodes
    )
    return executor_for(wanted, dist)


def _result(budget: str, runs: Sequence[Run], outcomes: Mapping[str, Outcome], is_main: bool = True) -> Result:
    """Those that are in no `outcomes` were counted, which is done or raises."""
    return Result(
        budget,
        [run.name for run in runs],
        [run.folder for run in runs],
        [outcomes.get(run.name, "done") for run in runs],
        is_main,
    )


def _count(runs: Sequence[Run], say: Callable[[str], None]) -> None:
    """Count the networks that have no record yet, here and now: it takes no training and hardly any time."""
    pending = [run for run in runs if state_of(run.folder, run.settings) != "done"]
    if pending:
        from resnet_repro.training.count_run import count_run

        say(f"counting {len(pending)} network{'s' * (len(pending) > 1)}")
        for run in pending:
            count_run(run.folder, run.settings)


def _check_parents(request: Request, runs: Sequence[Run]) -> None:
    """Raise UserError, naming the command that helps, where runs of another experiment are to be read and are not there."""
    missing: dict[str, list[str]] = {}
    for run in runs:
        start = run.settings.arm.start
        if start is not None and start.experiment is not None and run.settings.weights is None:
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
            f"run {Budget.parse(runs[0].settings.budget).command(load_experiment(experiment))} SEEDS={seeds}{where} first"
        )


def _check_writable(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(4)}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{variable}={folder} cannot be written ({error.strerror}): name another folder") from error


def _nothing(text: str) -> None:
    """What a process says that does not speak for its group."""


def _plain_line(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)
