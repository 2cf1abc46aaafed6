"""The commands of the command line: each takes the parsed options and returns an exit code.

Modules that take long to import are imported where a command needs them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.errors import UserError
from resnet_repro.interrupts import INTERRUPTED, raise_again
from resnet_repro.launch.options import launch_options
from resnet_repro.parsing import plural
from resnet_repro.surroundings import check_matplotlibrc

if TYPE_CHECKING:
    from resnet_repro.data.sources import DataSources
    from resnet_repro.report.write import Written
    from resnet_repro.study.request import Request

DEFAULT_DATA_DIR = "data"


def _profile(experiment: Experiment, options: argparse.Namespace) -> Profile:
    """The profile selected by the options, before the resolution applies. Raises UserError for conflicting options."""
    from resnet_repro.study.request import scaled_profile

    iterations, prefix = options.iterations, options.prefix
    if prefix is None:
        return scaled_profile(experiment, options.profile or experiment.profiles[0].name, iterations)
    if iterations:
        raise UserError(
            f"PREFIX={prefix} cannot be combined with ITERATIONS={iterations}: PREFIX trains the start of the published "
            "schedule, ITERATIONS a scaled version of the whole schedule"
        )
    if options.profile not in (None, experiment.published_profile.name):
        raise UserError(
            f"PREFIX={prefix} cannot be combined with PROFILE={options.profile}: a prefix is part of the published budget"
        )
    return experiment.prefix(prefix)


def _request(options: argparse.Namespace) -> Request:
    """The request of the options. Raises UserError for invalid ones."""
    from resnet_repro.design.registry import load_experiment, registry
    from resnet_repro.parsing import parse_seeds
    from resnet_repro.study.request import Request, at_resolution, check_prefix, select_arms
    from resnet_repro.tracking.mirror import parse_mode

    check_matplotlibrc()
    experiment = load_experiment(options.experiment)
    if sentence := registry().unusable.get(options.experiment):
        print(sentence, file=sys.stderr)
    profile = at_resolution(experiment, _profile(experiment, options), options.resolution)
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
        sources=_sources(options),
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


def _sources(options: argparse.Namespace) -> DataSources:
    """Where to look for data sets."""
    from resnet_repro.data.sources import DataSources

    return DataSources(
        Path(options.data_dir or DEFAULT_DATA_DIR),
        options.data_mirror or os.environ.get("DATA_MIRROR") or None,
        data_dir_named=options.data_dir is not None,
    )


def run(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.records.failures import are_bad_input, failure_lines
    from resnet_repro.tracking.mirror import Mirror

    request = _request(options)
    if options.plan:
        from resnet_repro.planning import show_plan

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
                written = _write(experiment.name, study.budget, options, console, failed)
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
    found = findings(options.devices, Path(options.runs_dir), _sources(options), mode)
    show_table(console, ("check", "result", ""), [(f.subject, f.result, f.text) for f in found])
    return int(any(finding.result == "failed" for finding in found))


def _write(
    name: str,
    budget: str,
    options: argparse.Namespace,
    console: Console,
    failed: Sequence[str] = (),
    stem: str | None = None,
) -> Written:
    """Write one report, and print its lines."""
    from resnet_repro.design.registry import load_experiment
    from resnet_repro.report.write import write_report

    folders = Path(options.runs_dir), Path(options.reports_dir)
    written = write_report(load_experiment(name), budget, *folders, failed, stem)
    _print(written.lines, console)
    return written


def report(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.design.registry import load_experiment
    from resnet_repro.report.checklists import reported, write_checklists
    from resnet_repro.report.csv_tables import without_runs, write_all
    from resnet_repro.report.pages import facts_of, renew_pages
    from resnet_repro.report.summary import summary_content, write_summary

    check_matplotlibrc()
    if options.checklist and options.experiments:
        raise UserError(
            f"CHECKLIST={options.checklist} cannot be combined with {', '.join(options.experiments)}: "
            "expected no names of experiments, because the page is about all of them"
        )
    runs_dir = existing_runs_dir(options)
    pages = [Path(page) for page in options.pages]
    if pages and (options.experiments or not options.every_budget):
        raise UserError(
            f"--pages {pages[0]} needs the verdicts of all experiments and budgets: expected --every-budget and no names"
        )
    experiments = list(map(load_experiment, options.experiments)) or _all_experiments()
    budgets = {e.name: _budgets_to_report(e, options, runs_dir) for e in experiments}
    if not any(budgets.values()):
        names = f" of {', '.join(options.experiments)}" if options.experiments else ""
        budget = " with this PROFILE, ITERATIONS, PREFIX, RESOLUTION or DATASET" if _selects_budget(options) else ""
        example = options.experiments[0] if options.experiments else "degradation"
        raise UserError(
            f"RUNS_DIR={runs_dir} contains no finished runs{names}{budget}; run an experiment first, e.g. make {example}"
        )
    written: dict[str, list[Written]] = {experiment.name: [] for experiment in experiments}
    for experiment in experiments:
        for rank, budget in enumerate(budgets[experiment.name]):
            stem = f"{experiment.name}-{budget}" if rank else None
            written[experiment.name].append(_write(experiment.name, budget, options, console, stem=stem))
        if options.experiments and not budgets[experiment.name]:
            raise UserError(
                f"RUNS_DIR={runs_dir} contains no finished runs of {experiment.name}; run make {experiment.name} first"
            )
    if not options.experiments:
        tables = [
            of_budget
            for experiment in experiments
            for of_budget in [one.tables for one in written[experiment.name]] or [without_runs(experiment)]
        ]
        content, reports_dir = summary_content(experiments, budgets, runs_dir), Path(options.reports_dir)
        lines = [*write_summary(content, reports_dir), *write_all(tables, reports_dir)]
        if pages:
            lines += renew_pages(pages, facts_of(content, experiments, budgets, runs_dir))
        _print(lines, console)
        if options.checklist:
            studies = reported(experiments, budgets, runs_dir)
            write_checklists(Path(options.checklist), studies, content, runs_dir, Path(options.reports_dir))
    return 0


def _all_experiments() -> list[Experiment]:
    """All experiments that can be loaded. Prints a sentence on standard error for each file that cannot."""
    from resnet_repro.design.registry import load_experiment, registry

    known, experiments = registry(), []
    for sentence in known.unusable.values():
        print(sentence, file=sys.stderr)
    for name in known.files:
        try:
            experiments.append(load_experiment(name))
        except UserError as error:
            print(error, file=sys.stderr)
    return experiments


def _selects_budget(options: argparse.Namespace) -> bool:
    return any((options.profile, options.iterations, options.prefix, options.resolution, options.dataset))


def _budgets_to_report(experiment: Experiment, options: argparse.Namespace, runs_dir: Path) -> list[str]:
    """The budgets that have records and match the options; only the first one without `--every-budget`.

    Budgets on the experiment's own data set come first, and of these the longest.
    """
    from resnet_repro.data.folders import earlier_name, names_folders, names_in_budgets, title_of
    from resnet_repro.design.budgets import Budget
    from resnet_repro.records.record import collect, only_trained
    from resnet_repro.report.write import budgets_with_records

    budgets = budgets_with_records(runs_dir, experiment.name)
    resolution = options.resolution
    if options.profile or options.iterations or options.prefix:
        profile = _profile(experiment, options)
        if resolution and resolution != profile.resolution:
            profile = profile.at(resolution)
        budgets = [budget for budget in budgets if Budget.parse(budget).profile_name == profile.name]
    elif resolution:
        profiles = {budget: Budget.parse(budget).profile_of(experiment) for budget in budgets}
        budgets = [budget for budget, profile in profiles.items() if profile and profile.resolution == resolution]
    if options.dataset:
        root = Path(options.dataset) if names_folders(options.dataset) else None
        names = names_in_budgets(root) if root else [options.dataset]
        earlier = earlier_name(root) if root else None

        def is_asked_for(budget: str) -> bool:
            name = Budget.parse(budget).dataset or experiment.dataset
            return name in names or (name == earlier and root is not None and has_title(budget, title_of(root)))

        def has_title(budget: str, title: str) -> bool:
            records = only_trained(collect(runs_dir, experiment.name, budget))
            return any(record.dataset.title == title for record in records)

        budgets = [budget for budget in budgets if is_asked_for(budget)]
    return budgets if options.every_budget else budgets[:1]


def _print(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def existing_runs_dir(options: argparse.Namespace) -> Path:
    runs_dir = Path(options.runs_dir)
    if not runs_dir.is_dir():
        problem = "is not a folder" if runs_dir.exists() else "does not exist"
        raise UserError(f"RUNS_DIR={runs_dir} {problem}; run an experiment first")
    return runs_dir


def show_status(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.study.status import status_lines

    _print(status_lines(options.experiments, existing_runs_dir(options)), console)
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


def show_complexity(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.diagnostics.complexity import build_on_meta, format_shape, layer_costs, layer_lines
    from resnet_repro.models.catalogue import catalogued, parse_shape

    net = catalogued(options.net)
    shape = net.shape if options.input is None else parse_shape(options.input)
    try:
        rows = layer_costs(build_on_meta(net.model, net.classes), shape)
    except RuntimeError as error:  # torch's answer to a size that a layer cannot process
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{options.net} cannot process images of {format_shape(shape)} ({reason}): expected {format_shape(net.shape)}"
        ) from error
    _print([f"{options.net}, one image of {format_shape(shape)}", "", *layer_lines(rows)], console)
    return 0


def evaluate(options: argparse.Namespace, console: Console) -> int:
    import torch

    from resnet_repro.hardware import best_device, gpu_count, gpu_trouble, usable_gpus
    from resnet_repro.launch.slots import parse_devices
    from resnet_repro.trained.measure import measure, measured_lines, open_images
    from resnet_repro.trained.network import find_trained

    trained = find_trained(options.net, options.weights, options.dataset)
    device, *_ = parse_devices(options.devices or "auto", best_device(), gpu_count(), usable_gpus(), gpu_trouble())
    data = open_images(
        trained,
        _sources(options),
        options.scaling,
        torch.device(device),
        options.workers,
        options.broken == "skip",
    )
    precision = options.precision or trained.precision or "fp32"
    scores = [measure(trained, data, precision, split) for split in ("test", *(["train"] if options.train else []))]
    scaling = options.scaling or trained.recipe.scaling
    _print(measured_lines(trained, data, scaling, precision, scores), console)
    return 0


def export(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.trained.hub import export as write
    from resnet_repro.trained.network import find_trained

    trained = find_trained(options.net, dataset=options.dataset)
    _print(write(trained, Path(options.folder), _sources(options)), console)
    return 0


def pick_weights(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.design.registry import load_experiment
    from resnet_repro.trained.pick import pick_weights as pick
    from resnet_repro.trained.shared import Repository

    _print(pick(load_experiment(options.experiment), existing_runs_dir(options), Repository()), console)
    return 0


def show_claims(options: argparse.Namespace, console: Console) -> int:
    from datetime import UTC, datetime

    from resnet_repro.claims.history import register
    from resnet_repro.design.registry import load_experiment
    from resnet_repro.report.console import claim_lines

    experiments = list(map(load_experiment, options.experiments)) or _all_experiments()
    if options.register:
        claims = {claim.name: claim.test for experiment in experiments for claim in experiment.claims}
        lines = [f"{name}: its comparisons are new or changed" for name in register(claims, datetime.now(UTC))]
    else:
        lines = [line for experiment in experiments for line in claim_lines(experiment)]
    _print(lines, console)
    return 0


def upload(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.tracking.sync import sync

    return sync(existing_runs_dir(options))


def list_experiments(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.design.registry import registry, summary

    known = registry()
    for name in known.files:
        console.print(f"{name:<16} {summary(name)}", highlight=False, markup=False, soft_wrap=True)
    for sentence in known.unusable.values():
        print(sentence, file=sys.stderr)
    return 0
