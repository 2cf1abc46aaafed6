"""What has run, runs, is missing or failed, read from the runs' folders alone. The command line's `status`.

It needs no launcher and no torch, so it answers at once, beside a running experiment and after a crash.
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
from resnet_repro.parsing import seed_list
from resnet_repro.records.state import RunState, State, run_state

ONE_LINE_EACH: tuple[State, ...] = ("running", "silent", "interrupted", "failed", "diverged", "skipped")
TOGETHER: tuple[State, ...] = ("waiting", "missing")


@dataclass(frozen=True)
class Survey:
    """The runs of an experiment at a budget: those that have a folder and those that ought to, in the arms' order.

    damaged: folders that are no runs, each with the reason.
    """

    budget: str
    runs: list[RunState] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def status_lines(names: Sequence[str], runs_dir: Path) -> list[str]:
    """The status of the named experiments, of all for none, as lines of text. Raises UserError for an unknown name."""
    lines, never_run, damaged = [], [], []
    for name in dict.fromkeys(names or experiment_names()):
        surveys = []
        if names or (runs_dir / name).is_dir():
            surveys = survey(load_experiment(name), runs_dir, time.time())
        for one in surveys:
            lines += _text(name, one)
        if not any(one.runs for one in surveys):
            never_run.append(f"{name} never run: make {name}")
    if not names:
        strangers = [f for f in _folders(runs_dir, damaged) if f.name not in experiment_names()]
        damaged += [f"{f} (no experiment of that name)" for f in strangers if any(f.glob("*/*/seed*"))]
    return [*lines, *never_run, *_damaged(damaged)]


def survey(experiment: Experiment, runs_dir: Path, now: float) -> list[Survey]:
    """An experiment's budgets that have a folder, its profiles first. `now` in seconds since the epoch."""
    root, damaged = runs_dir / experiment.name, []
    budgets = (
        [(Budget.parse(f.name).profile_of(experiment), f) for f in _folders(root, damaged)] if root.is_dir() else []
    )
    names = [profile.name for profile in experiment.profiles]
    found = []
    for profile, folder in budgets:
        if profile is None:
            damaged.append(f"{folder} ({experiment.name} has no such profile)")
            continue
        rank = names.index(profile.name) if profile.name in names else len(names)
        found.append(((rank, profile.iterations or 0, folder.name), _survey(experiment, profile, folder, now)))
    surveys = [one for _, one in sorted(found, key=lambda entry: entry[0])]
    return [*surveys, Survey("", damaged=damaged)] if damaged else surveys


def _survey(experiment: Experiment, profile: Profile, folder: Path, now: float) -> Survey:
    damaged: list[str] = []
    known = experiment.names
    found: dict[tuple[str, int], RunState] = {}
    for arm in _folders(folder, damaged):
        if arm.name not in known:
            damaged.append(f"{arm} ({experiment.name} has no such arm)")
            continue
        for run in _folders(arm, damaged):
            if match := re.fullmatch(r"seed(0|[1-9][0-9]*)", run.name):
                seed = int(match[1])
                found[arm.name, seed] = run_state(run, arm.name, seed, now)
            else:
                damaged.append(f"{run} (no folder of a seed)")
    if not found:
        return Survey(folder.name, damaged=damaged)
    seeds = profile.seeds or {seed for _, seed in found}
    due = set(experiment.runs_of(profile, sorted(seeds)))
    places = sorted(due | found.keys(), key=lambda place: (known.index(place[0]), place[1]))
    runs = [found.get(place) or RunState(*place, "missing") for place in places]
    if not any(run.state == "running" for run in runs):
        runs = [_no_longer_waiting(run) for run in runs]
    return Survey(folder.name, runs, damaged)


def _no_longer_waiting(run: RunState) -> RunState:
    """Runs wait for a slot that another one has; where none runs, their launcher is gone, unless Slurm has them."""
    if run.state != "waiting" or run.queued:
        return run
    if run.detail:
        return replace(run, state="interrupted", detail=f"{run.detail}: the same command goes on")
    return replace(run, state="missing")


def _folders(folder: Path, damaged: list[str]) -> list[Path]:
    """The folders in a folder by name, hidden ones left out; one that cannot be read is added to `damaged`."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        damaged.append(f"{folder} ({error.strerror})")
        return []


def _text(name: str, one: Survey) -> list[str]:
    """A line of counts, then one for each run that needs a look; the others share lines."""
    lines = []
    if one.runs:
        states = [run.state for run in one.runs]
        order: tuple[State, ...] = (*ONE_LINE_EACH, "damaged", *TOGETHER)
        counts = [f"{states.count(state)} {state}" for state in order if state in states]
        head = f"{name} {one.budget}: {states.count('finished')} of {len(states)} runs finished"
        lines.append(", ".join([head, *counts]))
    for state in ONE_LINE_EACH:
        lines += [_line(state, f"{r.arm} seed {r.seed}", r.detail) for r in one.runs if r.state == state]
    for state in TOGETHER:
        lines += [_line(state, ", ".join(arms), seeds) for seeds, arms in _by_seeds(one.runs, state)]
    for arm, runs in groupby((run for run in one.runs if run.state == "finished"), key=lambda run: run.arm):
        lines.append(_finished(arm, list(runs)))
    return lines + _damaged([run.detail for run in one.runs if run.state == "damaged"] + one.damaged)


def _line(state: str, what: str, detail: str) -> str:
    return f"  {state:<11}  {what}  {detail}".rstrip()


def _damaged(findings: Iterable[str]) -> list[str]:
    return [f"  damaged: {finding}" for finding in findings]


def _by_seeds(runs: Sequence[RunState], state: State) -> list[tuple[str, list[str]]]:
    """(seeds, arms): the arms of which the same seeds are in a state stand together."""
    arms: dict[str, list[int]] = {}
    for run in runs:
        if run.state == state:
            arms.setdefault(run.arm, []).append(run.seed)
    together: dict[str, list[str]] = {}
    for arm, seeds in arms.items():
        together.setdefault(_seeds(seeds), []).append(arm)
    return list(together.items())


def _finished(arm: str, runs: Sequence[RunState]) -> str:
    errors = [run.test_error for run in runs if run.test_error is not None]
    text = f"test error {mean(errors):.2f} %" if errors else ""
    if len(errors) > 1:
        text += f" ({min(errors):.2f}-{max(errors):.2f})"
    return _line("finished", f"{arm} {_seeds([run.seed for run in runs])}", text)


def _seeds(seeds: Sequence[int]) -> str:
    """ "seed 3" or "seeds 0-4,7", as SEEDS takes them; `seeds` in ascending order."""
    return f"seed{'s' * (len(seeds) > 1)} {seed_list(seeds)}"
