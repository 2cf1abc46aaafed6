"""How long runs will take: from records and progress of the same networks on like hardware, else from a few timed steps."""

from __future__ import annotations

import heapq
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.hardware import JOULES_PER_KWH
from resnet_repro.records.layout import RECORD, RUN
from resnet_repro.records.progress import progress_of
from resnet_repro.records.record import Record, read_record
from resnet_repro.study.cost import cost_of
from resnet_repro.study.run import Run, net_of

MOST_SECONDS = 20.0  # of timed steps, over all networks
LEAST_STEPS = 20  # of a run whose progress counts: the first steps are slower


@dataclass(frozen=True)
class Setup:
    """What must be alike for the time of one run to tell that of another."""

    device: str
    """Kind of device."""
    hardware: str | None
    """Name of the CPU or GPU, as in records. None: not known, so any counts."""
    threads: int
    """CPU threads of a run; they count on a CPU only."""
    processes: int = 1
    """Processes of a run."""

    def fits(self, record: Record) -> bool:
        """Whether a run was trained in this setup."""
        return (
            record.device == self.device
            and self.hardware in (None, record.hardware)
            and record.processes == self.processes
            and (self.device != "cpu" or record.threads == self.threads)
        )


class Range(NamedTuple):
    """An estimate."""

    low: float
    high: float
    source: str
    """Where it is from, for readers."""


@dataclass(frozen=True)
class Rate:
    """Seconds of a network's runs per multiply-add of `cost.cost_of`."""

    low: float
    high: float
    source: str
    """Where the rate is from, for readers, e.g. "3 records"."""
    energy: float | None = None
    """Measured kWh per second, the mean over the records that have it."""


@dataclass
class _Seen:
    """Finished runs of a network and their rates."""

    rates: list[float] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)

    def rate(self) -> Rate:
        energy = sum(self.energies) / len(self.energies) if self.energies else None
        plural = "s" if len(self.rates) > 1 else ""
        return Rate(min(self.rates), max(self.rates), f"{len(self.rates)} record{plural}", energy)


Clock = Callable[[RunSettings, DatasetFacts, float], list[float]]
"""Times steps of a run for at most so many seconds. Returns seconds per multiply-add, the numbers of a range."""


def rates_of(
    runs: Sequence[Run],
    datasets: Mapping[str, DatasetFacts],
    setup: Setup,
    folders: Sequence[Path],
    clock: Clock | None,
) -> dict[str, Rate]:
    """The rate of each run, by its name; runs without any basis are left out.

    Best first: the run's own progress, records of the same network and measurements, of the same network, timed steps
    (`clock`; None: steps cannot be timed here), the rates of the other networks. folders: of all runs, best first.
    """
    wanted = {_net(run.settings) for run in runs}
    closely, loosely = _seen_in(folders, wanted, datasets, setup)
    rates: dict[str, Rate] = {}
    for run in runs:
        measured = closely.get(_program(run.settings)) or loosely.get(_net(run.settings))
        own = _own_progress(run, datasets[run.settings.dataset], setup)
        if rate := own or (measured.rate() if measured else None):
            rates[run.name] = rate
    missing = [run for run in runs if run.name not in rates]
    if clock and missing:
        rates |= _timed(missing, datasets, clock)
    left = [run for run in runs if run.name not in rates]
    if rates and left:
        low, high = min(rate.low for rate in rates.values()), max(rate.high for rate in rates.values())
        rates |= {run.name: Rate(low, high, "other networks") for run in left}
    return rates


def _program(settings: RunSettings) -> tuple:
    """Key of runs that take the same steps and measurements."""
    return (*_net(settings), settings.arm.watch)


def _net(settings: RunSettings) -> tuple:
    """Key of runs of the same network. Runs without steps only measure, which takes another time per operation."""
    return (*net_of(settings), settings.precision, settings.arm.features, settings.stop_at > 0)


def _seen_in(
    folders: Sequence[Path], wanted: set[tuple], datasets: Mapping[str, DatasetFacts], setup: Setup
) -> tuple[dict[tuple, _Seen], dict[tuple, _Seen]]:
    """Finished runs of the wanted networks: by network and measurements, and by network alone."""
    closely: dict[tuple, _Seen] = {}
    loosely: dict[tuple, _Seen] = {}
    for record in _records(folders):
        settings = record.settings
        net = _net(settings)
        whole = record.status == "finished" and record.iterations == settings.stop_at and record.seconds > 0
        if not whole or net not in wanted or not setup.fits(record):
            continue
        cost = cost_of(settings, datasets[settings.dataset])
        if not cost:
            continue
        energy = _energy_of(record)
        for seen, key in ((closely, _program(settings)), (loosely, net)):
            entry = seen.setdefault(key, _Seen())
            entry.rates.append(record.seconds / cost)
            entry.energies += [energy / record.seconds] if energy else []
    return closely, loosely


def _records(folders: Iterable[Path]) -> Iterator[Record]:
    """All records of runs, each result once. Damaged records are left out: they are told when they are used."""
    known: set[tuple] = set()
    for folder in folders:
        for path in sorted(folder.glob(f"*/*/*/seed*/{RECORD}")):
            try:
                record = read_record(path.parent)
            except UserError:
                continue
            key = (record.arm, record.seed, record.finished_at, record.weights_sha256)
            if key not in known:  # a result that was taken over stands in two folders
                known.add(key)
                yield record


def _energy_of(record: Record) -> float | None:
    """The measured energy of a run in kWh; None if it was estimated."""
    energy = record.energy
    return energy.joules / JOULES_PER_KWH if energy and energy.measured and energy.joules > 0 else None


def _own_progress(run: Run, facts: DatasetFacts, setup: Setup) -> Rate | None:
    """The rate of an unfinished run so far; None if it has not taken enough steps in this setup on this machine."""
    progress = progress_of(run.folder)
    step, steps, seconds = (progress.get(name) or 0 for name in ("step", "steps", "seconds"))
    execution = (read_json(run.folder / RUN) or {}).get("execution", {})
    alike = progress.get("host") == platform.node() and execution.get("threads") == setup.threads
    if not alike or step < LEAST_STEPS or not steps or not seconds:
        return None
    rate = seconds / (cost_of(run.settings, facts) * step / steps)
    return Rate(rate, rate, f"its first {step:,} steps")


def _timed(runs: Sequence[Run], datasets: Mapping[str, DatasetFacts], clock: Clock) -> dict[str, Rate]:
    """Rates from timed steps of each network, those of the longest runs first, until `MOST_SECONDS` are over."""
    costs: dict[tuple, float] = {}
    for run in runs:
        key = _net(run.settings)
        costs[key] = costs.get(key, 0.0) + cost_of(run.settings, datasets[run.settings.dataset])
    rates: dict[tuple, Rate] = {}
    begin = time.perf_counter()
    longest = 0.0
    for number, key in enumerate(sorted(costs, key=lambda key: -costs[key])):
        left = MOST_SECONDS - (time.perf_counter() - begin)
        if left <= longest:
            break
        run = next(run for run in runs if _net(run.settings) == key)
        start = time.perf_counter()
        steps = clock(run.settings, datasets[run.settings.dataset], min(left / (len(costs) - number), 3.0))
        longest = max(longest, time.perf_counter() - start)
        rates[key] = Rate(min(steps), max(steps), "steps timed here")
    return {run.name: rates[_net(run.settings)] for run in runs if _net(run.settings) in rates}


def makespan(seconds: Mapping[str, float], runs: Sequence[Run], at_once: int) -> float:
    """The time until all runs have ended if at most `at_once` run at the same time, in the order of `runs`.

    A run waits for the runs in its `sources` that are among these.
    """
    ended: dict[Path, float] = {}
    free = [0.0] * at_once
    waiting = list(runs)
    folders = {run.folder for run in runs}

    def ready_at(run: Run) -> float:
        return max((ended.get(source, 0.0) for source in run.sources), default=0.0)

    while waiting:
        slot = heapq.heappop(free)
        ready = [run for run in waiting if all(s in ended or s not in folders for s in run.sources)]
        assert ready, "runs wait for each other in a circle"
        run = min(ready, key=lambda run: max(slot, ready_at(run)))  # the first of those that can start soonest
        waiting.remove(run)
        ended[run.folder] = max(slot, ready_at(run)) + seconds[run.name]
        heapq.heappush(free, ended[run.folder])
    return max(ended.values(), default=0.0)
