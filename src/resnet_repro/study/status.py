"""Status of all runs, read from their folders alone. Implements `resnet-repro status`.

Needs neither a launcher nor torch, so it answers at once, during an experiment as well as after a crash.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from statistics import mean

from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.parsing import seed_list
from resnet_repro.records.state import RunState, State, run_state

ONE_LINE_EACH: tuple[State, ...] = ("running", "silent", "interrupted", "failed", "diverged", "skipped")
TOGETHER: tuple[State, ...] = ("waiting", "missing")


@dataclass(frozen=True)
class Survey:
    """The runs of an experiment at one budget."""

    budget: str
    """Name of the budget's folder."""
    runs: list[RunState] = field(default_factory=list)
    """Existing and missing runs of the profile, in the order of the arms."""
    damaged: list[str] = field(default_factory=list)
    """Folders that are not runs, each with the reason in brackets."""


def status_lines(names: Sequence[str], runs_dir: Path) -> list[str]:
    """The status of the named experiments, or of all if `names` is empty, as lines of text.

    Raises UserError for an unknown name.
    """
    lines, never_run, damaged = [], [], []
    for name in dict.fromkeys(names or experiment_names()):
        surveys = []
        if names or (runs_dir / name).is_dir():
            try:
                surveys = survey(load_experiment(name), runs_dir, time.time())
            except UserError as error:
                if names:
                    raise
                damaged.append(f"{runs_dir / name} ({error})")
                continue
        for summary in surveys:
            lines += _text(name, summary)
        if not any(summary.runs for summary in surveys):
            never_run.append(f"{name}: no runs yet (start with make {name})")
    if not names:
        unknown = [f for f in _folders(runs_dir, damaged) if f.name not in experiment_names()]
        damaged += [f"{f} (unknown experiment)" for f in unknown if any(f.glob("*/*/seed*"))]
    return [*lines, *never_run, *_damaged(damaged)]


def survey(experiment: Experiment, runs_dir: Path, now: float) -> list[Survey]:
    """Survey the budgets of an experiment that have a folder, its profiles first. `now`: seconds since the epoch."""
    root, damaged = runs_dir / experiment.name, []
    budgets = (
        [(Budget.parse(f.name).profile_of(experiment), f) for f in _folders(root, damaged)] if root.is_dir() else []
    )
    names = [profile.name for profile in experiment.profiles]
    ranked = []
    for profile, folder in budgets:
        if profile is None:
            damaged.append(f"{folder} ({experiment.name} has no such profile)")
            continue
        rank = names.index(profile.name) if profile.name in names else len(names)
        ranked.append(((rank, profile.iterations or 0, folder.name), _survey(experiment, profile, folder, now)))
    surveys = [summary for _, summary in sorted(ranked, key=lambda entry: entry[0])]
    return [*surveys, Survey("", damaged=damaged)] if damaged else surveys


def _survey(experiment: Experiment, profile: Profile, folder: Path, now: float) -> Survey:
    damaged: list[str] = []
    known = experiment.names
    states: dict[tuple[str, int], RunState] = {}
    for arm in _folders(folder, damaged):
        if arm.name not in known:
            damaged.append(f"{arm} ({experiment.name} has no such arm)")
            continue
        for run in _folders(arm, damaged):
            if match := re.fullmatch(r"seed(0|[1-9][0-9]*)", run.name):
                seed = int(match[1])
                states[arm.name, seed] = run_state(run, arm.name, seed, now)
            else:
                damaged.append(f"{run} (not a seed's folder)")
    if not states:
        return Survey(folder.name, damaged=damaged)
    seeds = profile.seeds or {seed for _, seed in states}
    expected = set(experiment.runs_of(profile, sorted(seeds)))
    keys = sorted(expected | states.keys(), key=lambda key: (known.index(key[0]), key[1]))
    runs = [states.get(key) or RunState(*key, "missing") for key in keys]
    if not any(run.state == "running" for run in runs):
        runs = [_no_longer_waiting(run) for run in runs]
    return Survey(folder.name, runs, damaged)


def _no_longer_waiting(run: RunState) -> RunState:
    """The state of a waiting run if no run is running: its launcher is gone, unless the run is queued in Slurm."""
    if run.state != "waiting" or run.queued:
        return run
    if run.detail:
        return replace(run, state="interrupted", detail=f"{run.detail}: the same command resumes it")
    return replace(run, state="missing")


def _folders(folder: Path, damaged: list[str]) -> list[Path]:
    """The visible folders inside `folder`, sorted by name. If `folder` is unreadable, it is added to `damaged`."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        damaged.append(f"{folder} ({os_reason(error)})")
        return []


def _text(name: str, summary: Survey) -> list[str]:
    """The status of a budget: a line of counts, a line for each run that needs attention, shared lines for the others."""
    lines = []
    if summary.runs:
        states = [run.state for run in summary.runs]
        order: tuple[State, ...] = (*ONE_LINE_EACH, "damaged", *TOGETHER)
        counts = [f"{states.count(state)} {state}" for state in order if state in states]
        head = f"{name} {summary.budget}: {states.count('finished')} of {len(states)} runs finished"
        lines.append(", ".join([head, *counts]))
    for state in ONE_LINE_EACH:
        lines += [_line(state, f"{r.arm} seed {r.seed}", r.detail) for r in summary.runs if r.state == state]
    for state in TOGETHER:
        lines += [_line(state, ", ".join(arms), seeds) for seeds, arms in _by_seeds(summary.runs, state)]
    for arm, runs in groupby((run for run in summary.runs if run.state == "finished"), key=lambda run: run.arm):
        lines.append(_finished(arm, list(runs)))
    return lines + _damaged([run.detail for run in summary.runs if run.state == "damaged"] + summary.damaged)


def _line(state: str, subject: str, detail: str) -> str:
    return f"  {state:<11}  {subject}  {detail}".rstrip()


def _damaged(findings: Iterable[str]) -> list[str]:
    return [f"  damaged: {finding}" for finding in findings]


def _by_seeds(runs: Sequence[RunState], state: State) -> list[tuple[str, list[str]]]:
    """Group the runs in a state as (seeds, arms): arms with the same seeds share an entry."""
    seeds_of: dict[str, list[int]] = {}
    for run in runs:
        if run.state == state:
            seeds_of.setdefault(run.arm, []).append(run.seed)
    arms_by_seeds: dict[str, list[str]] = {}
    for arm, seeds in seeds_of.items():
        arms_by_seeds.setdefault(_seeds(seeds), []).append(arm)
    return list(arms_by_seeds.items())


def _finished(arm: str, runs: Sequence[RunState]) -> str:
    errors = [run.test_error for run in runs if run.test_error is not None]
    text = f"test error {mean(errors):.2f} %" if errors else ""
    if len(errors) > 1:
        text += f" ({min(errors):.2f}-{max(errors):.2f})"
    relative = [run.relative_error for run in runs if run.relative_error is not None]
    if relative:
        text = f"relative test error {mean(relative):.2g}"
        text += f" ({min(relative):.2g}-{max(relative):.2g})" if len(relative) > 1 else ""
    return _line("finished", f"{arm} {_seeds([run.seed for run in runs])}", text)


def _seeds(seeds: Sequence[int]) -> str:
    """Format seeds, given in ascending order, for SEEDS: "seed 3" or "seeds 0-4,7"."""
    return f"seed{'s' * (len(seeds) > 1)} {seed_list(seeds)}"
