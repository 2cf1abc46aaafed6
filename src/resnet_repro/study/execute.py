"""An experiment carried out: its runs expanded, checked, launched, watched. The command line's `run`."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from resnet_repro.config.arm import COUNTED_SEED
from resnet_repro.config.settings import FEWEST_CAPTURED
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.design.budgets import Budget
from resnet_repro.errors import UserError
from resnet_repro.launch import Executor, ExecutorSpec, Job, Outcome, executor_for
from resnet_repro.launch.display import Display, ShownRun
from resnet_repro.launch.process_group import Group, group_of
from resnet_repro.parsing import plural
from resnet_repro.records.failures import EndedRun
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import find_record
from resnet_repro.records.resume import check_sources, is_counted
from resnet_repro.study.cost import expected_costs, heaviest, with_descendants
from resnet_repro.study.expand import counted_budget, runs_of
from resnet_repro.study.inputs import check_parents, find_inputs
from resnet_repro.study.request import Request
from resnet_repro.study.run import Run, missing_runs, tell_of_siblings
from resnet_repro.tracking.mirror import Mirror
from resnet_repro.training.count_network import count_network

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """How a study ended: its runs in the order in which they were asked for.

    budget: the name of the runs' folder below the experiment's. is_main: whether this process speaks for all that were
    started together.
    """

    budget: str
    runs: Sequence[EndedRun]
    is_main: bool = True

    def named(self, outcome: Outcome) -> list[str]:
        return [run.name for run in self.runs if run.outcome == outcome]


def carry_out(request: Request, mirror: Mirror, console: Console) -> Study:
    """Run what is missing of a study. Runs that have their record are not repeated, others go on where they stopped.

    mirror: follows the runs. Raises UserError before anything is started, for bad input and for folders that hold other
    runs.
    """
    group = _group(request)
    is_main = group is None or group.dist.is_main
    if not is_main:
        logging.getLogger("resnet_repro").setLevel(logging.WARNING)
    _check_writable(request.runs_dir, "RUNS_DIR")
    _check_writable(request.reports_dir, "REPORTS_DIR")
    if request.experiment.is_counted:
        budget = counted_budget(request)
        return Study(budget, _count(request, budget))
    if not request.launch.is_local:
        request = _absolute(request)
    with contextlib.closing(_executor(request, group)) as executor:
        inputs = find_inputs(request)
        budget = Budget.of(request.experiment, request.profile, inputs.dataset.facts.name).folder
        runs = runs_of(request, budget, inputs, executor)
        check_parents(request, runs)
        pending = missing_runs(runs, reuse=is_main and not request.launch.dry_run, is_group=group is not None)
        counted = _count(request, budget) if is_main else []
        if done := len(runs) - len(pending):
            log.info(f"{done} of {len(runs)} runs are finished already and are not repeated")
        outcomes: dict[str, Outcome] = {}
        if pending:
            datasets = {located.facts.name: located.facts for located in inputs.by_arm.values()}
            costs = expected_costs(runs, datasets)
            # The longest first: no slot is left with it at the end. A run counts with what waits for it.
            urgency = with_descendants(runs, costs)
            pending.sort(key=lambda run: -urgency[run.name])
            tell_of_siblings(pending)
            where = executor.plan(len(runs), heaviest(runs, datasets) if executor.kind == "cuda" else None)
            log.info(_plan_line(request, executor, pending, where))
            jobs = [run.job(group.environment(runs.index(run)) if group else {}, is_main) for run in pending]
            is_watched = is_main and not executor.leaves  # the main process of a group shows what all of them do
            if is_watched:
                shown = [ShownRun(run.name, run.folder, costs[run.name]) for run in pending]
                ended = _execute_watched(executor, jobs, shown, mirror, console)
            else:
                ended = executor.execute(jobs, lambda: None)
            outcomes = {run.name: outcome for run, outcome in zip(pending, ended, strict=True)}
            if is_watched:
                _look_over(runs, outcomes)
    # Those that are in no `outcomes` had their records before.
    ended_runs = [EndedRun(run.name, run.folder, outcomes.get(run.name, "done")) for run in runs]
    return Study(budget, [*ended_runs, *counted], is_main)


def _count(request: Request, budget: str) -> list[EndedRun]:
    """Count the networks that have no record yet, here and now: it takes no training and hardly any time."""
    name, networks = request.experiment.name, request.networks
    folders = [run_folder(request.runs_dir, name, budget, network.name, COUNTED_SEED) for network in networks]
    both = list(zip(networks, folders, strict=True))
    pending = [(network, folder) for network, folder in both if not is_counted(folder, network)]
    if pending:
        log.info(f"counting {plural(len(pending), 'network')}")
    for network, folder in pending:
        count_network(folder, name, budget, network)
    return [EndedRun(network.name, folder, "done") for network, folder in both]


def _absolute(request: Request) -> Request:
    """The request with whole paths: other machines know no working directory of ours."""
    sources, mirror = request.sources, request.sources.mirror
    mirror = str(Path(mirror).resolve()) if mirror and Path(mirror).is_dir() else mirror
    sources = replace(sources, data_dir=sources.data_dir.resolve(), mirror=mirror)
    return replace(request, runs_dir=request.runs_dir.resolve(), sources=sources)


def _plan_line(request: Request, executor: Executor, pending: Sequence[Run], where: str) -> str:
    longest = max(run.settings.stop_at for run in pending)
    steps = "steps taken eagerly"
    if executor.kind == "cuda" and longest >= FEWEST_CAPTURED and not request.experiment.spread:
        steps = "each step one CUDA graph"
    elif executor.kind == "cpu":
        steps += ", compiled where that pays"
    runs = f"{len(pending)} runs of up to {longest:,} steps"
    return f"{request.experiment.name}: {runs}, {where}, {executor.precision}, {steps}"


def _execute_watched(
    executor: Executor, jobs: Sequence[Job], shown: Sequence[ShownRun], mirror: Mirror, console: Console
) -> list[Outcome]:
    """Carry out the jobs, shown on the console and mirrored."""
    for job in jobs:
        job.announce()  # here already: the display shows no state of an earlier attempt
    mirror.start([run.folder for run in shown])
    with Display(shown, console) as display:

        def poll() -> None:
            if text := mirror.message():
                log.info(text)
            display.refresh()

        return executor.execute(jobs, poll)


def _look_over(runs: Sequence[Run], outcomes: dict[str, Outcome]) -> None:
    """Mark the runs that failed. Raises UserError where a source trained again left its children with other weights."""
    for run in runs:
        if record := find_record(run.folder):
            check_sources(run.folder, run.settings, record)
    for run in runs:
        if outcomes.get(run.name) == "failed":
            run.mark_failed()


def _group(request: Request) -> Group | None:
    """The processes that torchrun or srun has started for this study; None where this is the only one."""
    group = group_of(os.environ)
    if group and not (request.experiment.spread and request.launch.is_local):
        name = request.experiment.name
        why = f"{name}, whose runs take one device each" if request.launch.is_local else "one executor"
        raise UserError(f"{group.dist.size} processes were started for {why}: start one process")
    return group


def _executor(request: Request, group: Group | None) -> Executor:
    """The executor that the user asks for; a process of a group carries out its part of the runs itself."""
    name = f"{request.experiment.name}-{request.profile.name}"
    decodes = request.dataset not in CATALOGUE and request.dataset != "auto"
    spec = ExecutorSpec(request.launch, request.precision, request.runs_dir, name, request.experiment.spread, decodes)
    return executor_for(spec, group.dist if group else None)


def _check_writable(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(4)}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{variable}={folder} cannot be written ({error.strerror}): name another folder") from error
