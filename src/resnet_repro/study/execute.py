"""Execute a request: expand it into runs, check them, launch them, show their progress. Implements `resnet-repro run`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from resnet_repro.config.arm import COUNTED_SEED
from resnet_repro.config.settings import FEWEST_CAPTURED
from resnet_repro.launch import Executor, Job, Outcome
from resnet_repro.launch.display import Display, ShownRun
from resnet_repro.parsing import plural
from resnet_repro.records.failures import EndedRun
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import find_record
from resnet_repro.records.resume import check_sources, is_counted
from resnet_repro.study.cost import expected_costs, heaviest, with_descendants
from resnet_repro.study.expand import counted_budget
from resnet_repro.study.prepare import check_request, executor_of, expanded, for_all_machines, group_for
from resnet_repro.study.request import Request
from resnet_repro.study.run import Run, missing_runs, tell_of_siblings
from resnet_repro.tracking.mirror import Mirror
from resnet_repro.training.count_network import count_network

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """The result of a request."""

    budget: str
    """Name of the budget's folder, below the folder of the experiment."""
    runs: Sequence[EndedRun]
    """The runs in the order of the request, counted networks last."""
    is_main: bool = True
    """Whether this process reports for all processes that were started together."""

    def named(self, outcome: Outcome) -> list[str]:
        """The names of the runs with this outcome."""
        return [run.name for run in self.runs if run.outcome == outcome]


def carry_out(request: Request, mirror: Mirror, console: Console) -> Study:
    """Train the missing runs of a request. Finished runs are not repeated; interrupted runs resume.

    A dry run says what it would start, and starts and writes nothing.
    mirror: uploads the progress of the runs to W&B.
    Raises UserError before any run starts for invalid input and for folders that contain other runs, and at the end if a
    finished run started from weights that its retrained source no longer has.
    """
    is_dry = request.launch.dry_run
    group = group_for(request)
    is_main = group is None or group.dist.is_main
    if not is_main:
        logging.getLogger("resnet_repro").setLevel(logging.WARNING)
    check_request(request)
    if request.experiment.is_counted:
        budget = counted_budget(request)
        return Study(budget, _count(request, budget))
    request = for_all_machines(request)
    with contextlib.closing(executor_of(request, group)) as executor:
        inputs, budget, runs = expanded(request, executor)
        pending = missing_runs(runs, reuse=is_main and not is_dry, is_group=group is not None)
        counted = _count(request, budget) if is_main else []
        if done := len(runs) - len(pending):
            verb = "is" if done == 1 else "are"
            log.info(f"{done} of {plural(len(runs), 'run')} {verb} finished already and {verb} not repeated")
        outcomes: dict[str, Outcome] = {}
        lost: dict[str, list[str]] = {}
        if pending:
            datasets = {located.facts.name: located.facts for located in inputs.by_arm.values()}
            costs = expected_costs(runs, datasets)
            # Longest first, so that no slot is left with a long run at the end. A run counts with the runs that wait for it.
            urgency = with_descendants(runs, costs)
            pending.sort(key=lambda run: -urgency[run.name])
            tell_of_siblings(pending)
            placement = executor.plan(len(runs), heaviest(runs, datasets) if executor.kind == "cuda" else None)
            log.info(_plan_line(request, executor, pending, placement))
            jobs = [run.job(group.environment(runs.index(run)) if group else {}, is_main) for run in pending]
            # In a group, the main process shows the progress of all.
            is_watched = is_main and not executor.leaves and not is_dry
            if is_watched:
                shown = [ShownRun(run.name, run.folder, costs[run.name]) for run in pending]
                ended = _execute_watched(executor, jobs, shown, mirror, console)
            else:
                ended = executor.execute(jobs, lambda: None)
            outcomes = {run.name: outcome for run, outcome in zip(pending, ended, strict=True)}
            lost = {run.name: job.lost for run, job in zip(pending, jobs, strict=True)}
            if is_watched:
                _look_over(runs, outcomes)
    # Runs without an outcome were finished before.
    ended_runs = [
        EndedRun(run.name, run.folder, outcomes.get(run.name, "done"), lost.get(run.name, ())) for run in runs
    ]
    return Study(budget, [*ended_runs, *counted], is_main)


def _count(request: Request, budget: str) -> list[EndedRun]:
    """Count the networks that have no record yet, or one without a metric of the experiment's claims.

    Runs in this process, since counting takes little time. A dry run counts nothing.
    """
    name, networks = request.experiment.name, request.networks
    folders = [run_folder(request.runs_dir, name, budget, network.name, COUNTED_SEED) for network in networks]
    pairs = list(zip(networks, folders, strict=True))
    metrics = {network.name: request.experiment.compared_metrics(network.name) for network in networks}
    pending = [(network, folder) for network, folder in pairs if not is_counted(folder, network, metrics[network.name])]
    if pending:
        log.info(f"counting {plural(len(pending), 'network')}")
    if request.launch.dry_run:
        counted = {folder for _, folder in pairs} - {folder for _, folder in pending}
        return [EndedRun(n.name, folder, "done" if folder in counted else "submitted") for n, folder in pairs]
    for network, folder in pending:
        count_network(folder, name, budget, network)
    return [EndedRun(network.name, folder, "done") for network, folder in pairs]


def _plan_line(request: Request, executor: Executor, pending: Sequence[Run], placement: str) -> str:
    longest = max(run.settings.stop_at for run in pending)
    steps = "eager steps"
    if executor.kind == "cuda" and longest >= FEWEST_CAPTURED and not request.experiment.spread:
        steps = "each step one CUDA graph"
    elif executor.kind == "cpu":
        steps += ", compiled if that saves time"
    runs = f"{plural(len(pending), 'run')} of up to {plural(longest, 'step')}"
    precisions = " and ".join(sorted({run.settings.precision for run in pending}))
    return f"{request.experiment.name}: {runs}, {placement}, {precisions}, {steps}"


def _execute_watched(
    executor: Executor, jobs: Sequence[Job], shown: Sequence[ShownRun], mirror: Mirror, console: Console
) -> list[Outcome]:
    """Execute the jobs, with their progress on the console and in the W&B mirror."""
    for job in jobs:
        job.announce()  # before the display starts, so that it does not show the state of an earlier attempt
    mirror.start([run.folder for run in shown])
    with Display(shown, console) as display:

        def poll() -> None:
            if text := mirror.message():
                log.info(text)
            display.refresh()

        return executor.execute(jobs, poll)


def _look_over(runs: Sequence[Run], outcomes: dict[str, Outcome]) -> None:
    """Mark failed runs, and count stopped runs that have a record as done.

    Raises UserError if a run started from weights that its retrained source no longer has.
    """
    for run in runs:
        if outcomes.get(run.name) == "failed":
            run.mark_failed()
    for run in runs:
        if record := find_record(run.folder):
            check_sources(run.folder, run.settings, record)
            if outcomes.get(run.name) == "stopped":  # its end has overtaken the signal
                outcomes[run.name] = "done"
