"""A plan as text and as a table of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from resnet_repro.parsing import plural, seed_list
from resnet_repro.study.plan import Plan, PlannedRun, State
from resnet_repro.terminal import amount, duration, span

STATES: tuple[State, ...] = ("finished", "running", "resumable", "shared", "missing")
HEADER = ("arm", "seeds", "state", "steps", "time of a run", "known from")


def heading(name: str, plan: Plan) -> str:
    """The first line: how many runs there are, by state, and where they run."""
    states = [planned.state for planned in plan.runs]
    counts = [f"{states.count(state)} {state}" for state in STATES if state in states]
    counted, to_count = plan.networks
    counts += [f"{plural(to_count, 'network')} to count"] if to_count else []
    counts += [f"{plural(counted, 'network')} counted"] if counted else []
    where = f"; {plan.placement}" if plan.pending else ""
    return f"{name} {plan.budget}: {', '.join(counts)}{where}"


def run_rows(plan: Plan) -> list[tuple[str, ...]]:
    """The rows of the table of runs, below `HEADER`. Seeds of an arm with equal cells share a row."""
    rows = []
    by_arm = sorted(plan.runs, key=lambda planned: _arms(plan).index(planned.run.settings.arm.name))
    for (arm, *cells), group in groupby(by_arm, key=lambda planned: _cells(planned, plan)):
        seeds = seed_list([planned.run.settings.seed for planned in group])
        rows.append((arm, seeds, *cells))
    return rows


def cost_lines(plan: Plan, runs_dir: object) -> list[str]:
    """Time, energy, disk and data of the runs that take steps, a sentence each."""
    lines = [_time(plan)] if plan.pending else []
    if plan.energy:
        low, high, source = plan.energy
        lines.append(f"energy: {span(_kwh(low), _kwh(high))} ({source})")
    elif plan.pending:
        lines.append("energy: unknown, since time or power of the devices is")
    if plan.pending:
        written = sum(data.unpacks for data in plan.data)
        short = "" if plan.most + written < plan.free else ": NOT ENOUGH, free some space or use another RUNS_DIR"
        lines.append(
            f"disk: {amount(plan.kept)} of results, up to {amount(plan.most)} during the runs; "
            f"{amount(plan.free)} are free in {runs_dir}{short}"
        )
    for data in plan.data:
        download = f"{amount(data.downloads)} to download, " if data.downloads else ""
        lines.append(f"data: {data.facts.title}, {download}{amount(data.unpacks)} to unpack, from {data.origin}")
    return lines


def _time(plan: Plan) -> str:
    times = plan.times
    unknown = [planned.run.name for planned in plan.pending if planned.run.name not in times]
    if unknown:
        return f"time: unknown for {plural(len(unknown), 'run')}: no record of such hardware, and none here to time steps on"
    low, high = sum(time.low for time in times.values()), sum(time.high for time in times.values())
    total = f"{span(duration(low), duration(high))} over all runs"
    if plan.seconds is None:
        longest = max(time.high for time in times.values())
        return f"time: {total}, the longest run up to {duration(longest)}; when they run is up to the queue"
    together = span(*map(duration, plan.seconds))
    each = f" ({total})" if len(times) > 1 else ""
    timed = any("timed here" in time.source for time in times.values())
    alone = "; steps were timed one process at a time" if timed and (plan.at_once or 1) > 1 else ""
    return f"time: {together}{each}, without the start of each process{alone}"


def _arms(plan: Plan) -> list[str]:
    return list(dict.fromkeys(planned.run.settings.arm.name for planned in plan.runs))


def _cells(planned: PlannedRun, plan: Plan) -> Sequence[str]:
    time = plan.times.get(planned.run.name)
    state = f"{planned.state} {planned.detail}".rstrip()
    steps = f"{planned.steps:,}" if planned in plan.pending else ""
    if time is None:
        return planned.run.settings.arm.name, state, steps, "", ""
    return planned.run.settings.arm.name, state, steps, span(duration(time.low), duration(time.high)), time.source


def _kwh(energy: float) -> str:
    return f"{energy:.2g} kWh" if energy < 10 else f"{energy:,.0f} kWh"
