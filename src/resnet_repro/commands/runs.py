"""Commands that train runs, or look at them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from resnet_repro.commands.reports import write_one
from resnet_repro.commands.shared import existing_runs_dir, print_lines, profile_of, sources_of
from resnet_repro.errors import UserError
from resnet_repro.interrupts import INTERRUPTED, raise_again
from resnet_repro.launch.options import launch_options
from resnet_repro.parsing import plural
from resnet_repro.surroundings import check_matplotlibrc

if TYPE_CHECKING:
    from resnet_repro.study.request import Request


def request_of(options: argparse.Namespace) -> Request:
    """The request of the options. Raises UserError for invalid ones."""
    from resnet_repro.design.registry import load_experiment, registry
    from resnet_repro.parsing import parse_seeds
    from resnet_repro.study.request import Request, at_resolution, check_prefix, select_arms
    from resnet_repro.tracking.mirror import parse_mode

    check_matplotlibrc()
    experiment = load_experiment(options.experiment)
    if sentence := registry().unusable.get(options.experiment):
        print(sentence, file=sys.stderr)
    profile = at_resolution(experiment, profile_of(experiment, options), options.resolution)
    if options.prefix:
        check_prefix(experiment, options.prefix)
    arms, networks = select_arms(experiment, profile, options.arms)
    return Request(
        experiment=experiment,
        profile=profile,
        arms=arms,
        networks=networks,
        seeds=parse_seeds(options.seeds) if options.seeds is not None else profile.seeds,
        dataset=profile.dataset if options.dataset is None else options.dataset,
        sources=sources_of(options),
        runs_dir=Path(options.runs_dir),
        reports_dir=Path(options.reports_dir),
        launch=launch_options(options),
        precision=options.precision,
        checkpoint_seconds=options.checkpoint_seconds,
        wandb_mode=parse_mode(options.wandb_mode or os.environ.get("WANDB_MODE", "auto")),
        workers=options.workers,
        skip_broken=options.broken == "skip",
        weights=options.weights,
    )


def run(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.records.failures import are_bad_input, failure_lines
    from resnet_repro.tracking.mirror import Mirror

    request = request_of(options)
    if options.plan:
        from resnet_repro.commands.planning import show_plan

        raise_again()
        show_plan(request, console)
        return 0
    experiment = request.experiment
    # Importing torch takes seconds, so invalid flags are reported before.
    from resnet_repro.study.execute import carry_out

    raise_again()
    with Mirror(request.wandb_mode, request.runs_dir) as mirror:
        study = carry_out(request, mirror, console)
        outcomes = {run.outcome for run in study.runs}
        stopped, failed = study.named("stopped"), study.named("failed") + study.named("blocked")
        if study.is_main:
            for line in failure_lines(study.runs):
                print(line, file=sys.stderr)
            if stopped:
                unfinished = f"{plural(len(stopped), 'run')} {'is' if len(stopped) == 1 else 'are'} unfinished"
                print(f"stopped: {unfinished}, run the same command to resume", file=sys.stderr)
            elif {"done"} <= outcomes <= {"done", "failed", "blocked"} and not (options.no_report or options.dry_run):
                written = write_one(experiment.name, study.budget, options, console, failed)
                images = {caption: str(path) for caption, path in written.images.items()}
                mirror.report = {"group": experiment.name, "budget": study.budget, "images": images}
    if stopped:
        return INTERRUPTED
    if failed:
        return 2 if are_bad_input(study.runs) else 1
    return 0


def check(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.study.check import findings
    from resnet_repro.terminal import show_table
    from resnet_repro.tracking.mirror import parse_mode

    mode = parse_mode(options.wandb_mode or os.environ.get("WANDB_MODE", "auto"))
    found = findings(options.devices, Path(options.runs_dir), sources_of(options), mode)
    show_table(console, ("check", "result", ""), [(f.subject, f.result, f.text) for f in found])
    return int(any(finding.result == "failed" for finding in found))


def show_status(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.study.status import status_lines

    print_lines(status_lines(options.experiments, existing_runs_dir(options)), console)
    return 0


def show_runs(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.study.prune import delete, item_lines, prunable
    from resnet_repro.study.storage import storage_lines

    runs_dir, problems = existing_runs_dir(options), []
    if options.yes and not options.prune:
        raise UserError("YES=1 deletes only with PRUNE=1: expected both, e.g. make runs PRUNE=1 YES=1")
    if options.prune:
        items, notes = prunable(options.experiments, runs_dir)
        lines = item_lines(items, notes, options.yes)
        if options.yes and items:
            gone, problems = delete(items)
            lines.append(gone)
    else:
        lines = storage_lines(options.experiments, runs_dir)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def keep(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.study.keep import keep, kept_lines

    kept = keep(options.folders, options.reference)
    print_lines(kept_lines(kept), console)
    return int(any(run.refused for run in kept))


def upload(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.tracking.sync import sync

    return sync(existing_runs_dir(options))
