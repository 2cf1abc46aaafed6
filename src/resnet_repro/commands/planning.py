"""Print what a request would do: its runs, what they cost, and which claims they can decide. Implements `run --plan`."""

from __future__ import annotations

from rich.console import Console

from resnet_repro.design.registry import REFERENCE
from resnet_repro.report import seeds_needed
from resnet_repro.study import plan_lines
from resnet_repro.study.plan import plan_of
from resnet_repro.study.request import Request
from resnet_repro.terminal import show_table


def show_plan(request: Request, console: Console) -> None:
    """Print the plan of a request. Starts nothing. Raises UserError for the same input as a run."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    plan = plan_of(request)
    experiment = request.experiment
    say(plan_lines.heading(experiment.name, plan))
    if plan.runs:
        show_table(console, plan_lines.HEADER, plan_lines.run_rows(plan))
    for line in plan_lines.cost_lines(plan, request.runs_dir):
        say(line)
    arms = [arm.name for arm in (*request.arms, *request.networks)]
    folders = [folder for folder in (request.runs_dir, REFERENCE) if folder.is_dir()]
    rows = seeds_needed.seed_rows(experiment, request.profile, plan.budget, len(request.seeds), arms, folders)
    if rows:
        say(seeds_needed.explanation(experiment))
        show_table(console, seeds_needed.HEADER, rows)
