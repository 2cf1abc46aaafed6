"""What a request would run, how long it would take, and what it needs. Nothing is started."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.data.sources import Foreseen
from resnet_repro.design.registry import REFERENCE
from resnet_repro.launch import Executor, Placement
from resnet_repro.records.layout import CHECKPOINT, LOCK, run_folder
from resnet_repro.records.lock import is_held
from resnet_repro.records.progress import progress_of
from resnet_repro.records.resume import is_counted, state_of
from resnet_repro.records.reuse import identical_run, longest_prefix
from resnet_repro.study.cost import described, expected_costs, heaviest, shape_of, with_descendants
from resnet_repro.study.estimate import Clock, Range, Rate, Setup, makespan, rates_of
from resnet_repro.study.expand import counted_budget
from resnet_repro.study.foresight import foreseen_data
from resnet_repro.study.prepare import check_request, executor_of, expanded, for_all_machines, group_for
from resnet_repro.study.request import Request
from resnet_repro.study.room import existing_parent, needed, room_for
from resnet_repro.study.run import Run

AIMED_SECONDS = 0.4  # of a timed step; fewer images are taken for larger networks

State = Literal["finished", "running", "resumable", "shared", "missing"]


@dataclass(frozen=True)
class PlannedRun:
    """A run and what the request finds of it."""

    run: Run
    state: State
    detail: str = ""
    """For readers: where it resumes, or whose result it takes over."""
    steps: int = 0
    """Steps that are still to be taken."""

    @property
    def share_left(self) -> float:
        """The share of the run that is left; of a run that is scored without training, all."""
        return self.steps / self.run.settings.stop_at if self.run.settings.stop_at else 1.0


@dataclass(frozen=True)
class Plan:
    """What a request would do."""

    budget: str
    """Name of the budget's folder."""
    runs: Sequence[PlannedRun]
    networks: tuple[int, int] = (0, 0)
    """Networks that are counted without training: (already counted, to count)."""
    placement: str = ""
    """How many run at once, and where."""
    at_once: int | None = None
    """Runs at the same time. None: a queue decides."""
    times: Mapping[str, Range] = field(default_factory=dict)
    """{run: time in seconds} of the runs to train, as far as it is known."""
    seconds: tuple[float, float] | None = None
    """Shortest and longest time until all runs have ended. None: unknown, or a queue decides."""
    energy: Range | None = None
    """In kWh. None: a time is unknown."""
    kept: int = 0
    """Bytes of the results."""
    most: int = 0
    """Most bytes at any time."""
    free: int = 0
    """Free bytes on the disk of the runs' folder."""
    data: Sequence[Foreseen] = ()
    """Data sets that are to be obtained."""

    @property
    def pending(self) -> list[PlannedRun]:
        """The runs that take steps."""
        return [planned for planned in self.runs if planned.state in ("missing", "resumable", "running")]


def plan_of(request: Request) -> Plan:
    """Plan a request. Starts nothing; on a device of this machine, steps are timed if no record tells their time.

    Raises UserError for the same input as a run, before anything is timed.
    """
    request = replace(request, launch=replace(request.launch, dry_run=True))
    group = group_for(request)
    check_request(request)
    if request.experiment.is_counted:
        budget = counted_budget(request)
        return Plan(budget, [], _counted(request, budget), free=_free(request.runs_dir))
    request = for_all_machines(request)
    with contextlib.closing(executor_of(request, group)) as executor:
        inputs, budget, runs = expanded(request, executor)
        datasets = {located.facts.name: located.facts for located in inputs.by_arm.values()}
        planned = [_planned(run) for run in runs]
        placement = executor.plan(len(runs), heaviest(runs, datasets) if executor.kind == "cuda" else None)
        plan = Plan(
            budget,
            planned,
            _counted(request, budget),
            placement,
            executor.placement.at_once,
            free=_free(request.runs_dir),
            data=foreseen_data(request, [name for name, facts in datasets.items() if facts.digests or facts.standin]),
        )
        return _with_costs(plan, request, executor, datasets)


def _planned(run: Run) -> PlannedRun:
    folder, settings = run.folder, run.settings
    state = state_of(folder, settings)
    if state == "done":
        return PlannedRun(run, "finished")
    done = int(progress_of(folder).get("step") or 0) if (folder / CHECKPOINT).exists() else 0
    left = max(0, settings.stop_at - done)
    if is_held(folder / LOCK):
        return PlannedRun(run, "running", f"in another process, at step {done:,}", left)
    if state == "new" and (identical := identical_run(folder, settings)):
        return PlannedRun(run, "shared", f"with {identical.settings.experiment}")
    if prefix := longest_prefix(folder, settings):
        steps = prefix.settings.stop_at
        return PlannedRun(run, "resumable", f"after {steps:,} steps of a prefix", settings.stop_at - steps)
    if state == "started":
        return PlannedRun(run, "resumable", f"at about step {done:,}", left)
    return PlannedRun(run, "missing", "", settings.stop_at)


def _counted(request: Request, budget: str) -> tuple[int, int]:
    experiment = request.experiment
    done = [
        is_counted(
            run_folder(request.runs_dir, experiment.name, budget, network.name, 0),
            network,
            experiment.compared_metrics(network.name),
        )
        for network in request.networks
    ]
    return sum(done), len(done) - sum(done)


def _with_costs(plan: Plan, request: Request, executor: Executor, datasets: dict[str, DatasetFacts]) -> Plan:
    """The plan with times, energy and disk space of its runs."""
    pending = plan.pending
    if not pending:
        return plan
    place = executor.placement
    runs = [planned.run for planned in pending]
    setup = Setup(executor.kind, _hardware(executor, request), place.threads // place.devices, place.devices)
    costs = expected_costs(runs, datasets)
    clock = _clock_for(executor, place, request) if place.devices == 1 else None
    rates = rates_of(runs, datasets, setup, [request.runs_dir, REFERENCE], clock)
    left = {p.run.name: costs[p.run.name] * p.share_left for p in pending}
    times = {name: Range(rate.low * left[name], rate.high * left[name], rate.source) for name, rate in rates.items()}
    rooms = [room_for(run.settings, datasets[run.settings.dataset]) for run in runs]
    kept, most = needed(rooms, plan.at_once)
    plan = replace(plan, times=times, kept=kept, most=most)
    if len(times) < len(pending):
        return plan
    if plan.at_once is not None:
        urgency = with_descendants(runs, costs)
        ordered = sorted(runs, key=lambda run: -urgency[run.name])
        shortest = makespan({name: time.low for name, time in times.items()}, ordered, plan.at_once)
        longest = makespan({name: time.high for name, time in times.items()}, ordered, plan.at_once)
        plan = replace(plan, seconds=(shortest, longest))
    return replace(plan, energy=_energy(times, rates, executor.kind, setup.hardware, place))


def _hardware(executor: Executor, request: Request) -> str | None:
    """The name of the hardware that the runs will use, as in records; None if another machine has it."""
    from resnet_repro.hardware import device_name, usable_gpus

    if request.launch.executor == "slurm" or (executor.kind == "cuda" and not usable_gpus()):
        return None
    return device_name(executor.kind)


def _clock_for(executor: Executor, place: Placement, request: Request) -> Clock | None:
    """The function that times steps on a device of this machine; None if the runs use another machine's."""
    import torch

    from resnet_repro.hardware import usable_gpus
    from resnet_repro.training.calibration import seconds_per_image
    from resnet_repro.training.compilation import CPU_MULTIPLY_ADDS

    if request.launch.executor == "slurm" or (executor.kind == "cuda" and not usable_gpus()):
        return None
    device = torch.device(executor.kind)

    def clock(settings: RunSettings, facts: DatasetFacts, seconds: float) -> list[float]:
        shape = shape_of(settings, facts)
        per_image = described(settings, facts)["multiply_adds"]
        passes = 1 if settings.arm.features == "once" else 3
        images = settings.arm.recipe.batch_size
        if device.type == "cpu":
            speed = CPU_MULTIPLY_ADDS[settings.precision] * place.threads
            images = min(images, max(4, round(AIMED_SECONDS * speed / (passes * max(1, per_image)))))
        steps = seconds_per_image(settings, facts.classes, shape, device, place.threads, images, seconds)
        return [step / (passes * max(1, per_image)) for step in steps]

    return clock


def _energy(
    times: Mapping[str, Range], rates: Mapping[str, Rate], kind: str, hardware: str | None, place: Placement
) -> Range:
    """Measured energy per second of earlier runs if all have it, else the power that makers state for the devices."""
    from resnet_repro.hardware import JOULES_PER_KWH, stated_watts

    measured = {name: rate.energy for name, rate in rates.items() if rate.energy is not None}
    if len(measured) == len(times):
        low = sum(time.low * measured[name] for name, time in times.items())
        high = sum(time.high * measured[name] for name, time in times.items())
        return Range(low, high, "as measured in records of such runs")
    watts = stated_watts(kind, hardware or "", place.threads)
    per_run = watts if kind == "cpu" else watts * place.share * place.devices
    low, high = (
        sum(ends) * per_run / JOULES_PER_KWH for ends in zip(*((t.low, t.high) for t in times.values()), strict=True)
    )
    stated = f"{stated_watts(kind):g} W per core" if kind == "cpu" else f"{watts:g} W per device"
    return Range(low, high, f"estimated; stated: {stated}")


def _free(folder: Path) -> int:
    return shutil.disk_usage(existing_parent(folder)).free
