"""Commands on reports and claims."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from resnet_repro.commands.shared import all_experiments, existing_runs_dir, print_lines, profile_of
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError
from resnet_repro.surroundings import check_matplotlibrc

if TYPE_CHECKING:
    from resnet_repro.report.write import Written


def write_one(
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
    print_lines(written.lines, console)
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
    experiments = list(map(load_experiment, options.experiments)) or all_experiments()
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
            written[experiment.name].append(write_one(experiment.name, budget, options, console, stem=stem))
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
        print_lines(lines, console)
        if options.checklist:
            studies = reported(experiments, budgets, runs_dir)
            write_checklists(Path(options.checklist), studies, content, runs_dir, Path(options.reports_dir))
    return 0


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
        profile = profile_of(experiment, options)
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


def show_claims(options: argparse.Namespace, console: Console) -> int:
    from datetime import UTC, datetime

    from resnet_repro.claims.history import register
    from resnet_repro.design.registry import load_experiment
    from resnet_repro.report.console import claim_lines

    experiments = list(map(load_experiment, options.experiments)) or all_experiments()
    if options.register:
        claims = {claim.name: claim.test for experiment in experiments for claim in experiment.claims}
        lines = [f"{name}: its comparisons are new or changed" for name in register(claims, datetime.now(UTC))]
    else:
        lines = [line for experiment in experiments for line in claim_lines(experiment)]
    print_lines(lines, console)
    return 0


def list_experiments(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.design.registry import registry, summary

    known = registry()
    for name in known.files:
        console.print(f"{name:<16} {summary(name)}", highlight=False, markup=False, soft_wrap=True)
    for sentence in known.unusable.values():
        print(sentence, file=sys.stderr)
    return 0
