"""Check that this machine computes rightly and has what runs need. Implements `resnet-repro check`."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resnet_repro.data.arrays import load, stored_digest
from resnet_repro.data.catalogue import CATALOGUE, DatasetFacts
from resnet_repro.data.sources import DataSources, foresee
from resnet_repro.design.registry import REPOSITORY
from resnet_repro.errors import UserError
from resnet_repro.hardware import gpu_facts
from resnet_repro.study.room import existing_parent
from resnet_repro.terminal import amount

if TYPE_CHECKING:
    from resnet_repro.training.device_check import Compared

Result = Literal["ok", "warning", "failed"]

LEAST_ROOM = 100e6  # bytes: less than the checkpoints and tables of the runs of one `quick` experiment
ENOUGH_ROOM = 2e9  # bytes: the data sets and the runs of several experiments
SHARED_MEMORY = 1e9  # bytes: decoded batches of the worker processes of one run
OPEN_FILES = 1_024  # a worker process that decodes images holds several files for each batch


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    result: Result
    text: str
    """A sentence; with the remedy, if something is wrong."""


def findings(devices: str, runs_dir: Path, sources: DataSources, wandb_mode: str) -> list[Finding]:
    """All checks, with the devices that `devices` selects, as for a run. Takes some seconds and writes no run.

    Raises UserError for devices that do not exist or that torch cannot use.
    """
    with ThreadPoolExecutor(1) as beside:  # digests are computed while a compiler runs
        data = beside.submit(lambda: list(data_at_hand(sources)))
        return [
            *versions_installed(),
            *devices_compute(devices),
            *room_on_disk(runs_dir, sources.data_dir),
            *data.result(),
            *curves_recorded(wandb_mode),
            *limits_of_processes(),
        ]


def versions_installed() -> Iterator[Finding]:
    """Python and the direct dependencies, against the versions that the project pins."""
    python = ".".join(map(str, sys.version_info[:3]))
    pins = pinned()
    installed: dict[str, str | None] = {}
    for name in pins:
        try:
            installed[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            installed[name] = None
    wrong = [
        f"{name} {found or 'missing'}, not {pins[name]}" for name, found in installed.items() if found != pins[name]
    ]
    core = ", ".join(f"{name} {installed[name]}" for name in ("torch", "torchvision") if name in installed)
    if wrong:
        remedy = "results may differ in their last digits: run make setup, or pip install -c constraints.txt -e ."
        yield Finding("versions", "warning", f"{'; '.join(wrong)}; {remedy}")
    else:
        yield Finding("versions", "ok", f"Python {python}, {core} and {max(0, len(pins) - 2)} others as pinned")


def pinned() -> dict[str, str]:
    """{package: version} of the direct dependencies, from the metadata of this package or from pyproject.toml."""
    project = REPOSITORY / "pyproject.toml"
    try:
        if project.is_file():
            import tomllib

            lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
        else:
            lines = requires("resnet-repro") or []
    except PackageNotFoundError:
        lines = []
    matches = (re.fullmatch(r"([A-Za-z0-9._-]+)==([^;\s]+)", line.strip()) for line in lines)
    return {match[1]: match[2] for match in matches if match}


def devices_compute(devices: str) -> Iterator[Finding]:
    """Driver against wheel, and a step on each device against the CPU."""
    import torch

    from resnet_repro.hardware import best_device, device_name, gpu_count, gpu_trouble, usable_gpus
    from resnet_repro.launch.slots import parse_devices
    from resnet_repro.training.compilation import has_compiler
    from resnet_repro.training.device_check import compared, compared_compiled

    trouble = gpu_trouble()
    selected = parse_devices(devices, best_device(), gpu_count(), usable_gpus(), trouble)
    drivers, build = (
        gpu_facts("driver_version"),
        f"torch {torch.__version__}, CUDA {torch.version.cuda or 'not built in'}",
    )
    if trouble:
        yield Finding("driver", "warning", f"{trouble}; until then, runs use {', '.join(selected)}")
    elif drivers and not gpu_count() and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        text = f"{build}, does not see this machine's GPU (driver {drivers[0]}): install a build of torch for CUDA"
        yield Finding("driver", "warning", text)
    elif usable_gpus():
        yield Finding("driver", "ok", f"{build}, driver {drivers[0] if drivers else 'unknown'}")
    for name in selected:
        device = torch.device(name)
        named = device_name(device.type, device.index or 0)
        capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else ()
        suffix = f", capability {'.'.join(map(str, capability))}" if capability else ""
        yield Finding("device", "ok", f"{name} is {named}{suffix}")
        for result in compared(device):
            yield Finding(result.subject, _word(result), result.text)
    first = torch.device(selected[0])
    if first.type != "mps" and not has_compiler():
        text = "no C++ compiler is found, so steps are not compiled: install g++ and Python's headers to save time"
        yield Finding("compiler", "warning", text)
    for result in compared_compiled(first):
        yield Finding(result.subject, _word(result), result.text)


def _word(result: Compared) -> Result:
    """A run that cannot take faster steps is slower, and right."""
    return "ok" if result.is_right else "warning" if result.only_slower else "failed"


def room_on_disk(runs_dir: Path, data_dir: Path) -> Iterator[Finding]:
    """Free space for runs and for data."""
    for subject, folder, variable in (("disk for runs", runs_dir, "RUNS_DIR"), ("disk for data", data_dir, "DATA_DIR")):
        parent = existing_parent(folder)
        if not os.access(parent, os.W_OK | os.X_OK):
            yield Finding(subject, "failed", f"{folder} cannot be written: use another {variable}")
            continue
        free = shutil.disk_usage(parent).free
        text = f"{amount(free)} are free in {folder}"
        if free >= ENOUGH_ROOM:
            yield Finding(subject, "ok", text)
            continue
        result: Result = "failed" if free < LEAST_ROOM else "warning"
        yield Finding(subject, result, f"{text}: expected {amount(ENOUGH_ROOM)}; free some, or use another {variable}")


def data_at_hand(sources: DataSources) -> Iterator[Finding]:
    """Which data sets are in the cache, with the digests of the catalogue, and where others would come from."""
    for facts in CATALOGUE.values():
        if facts.standin or facts.part_of:
            continue
        subject, folder = f"data, {facts.title}", sources.data_dir / "cache" / facts.name
        try:
            coming = foresee(facts.name, sources)
        except UserError as error:
            yield Finding(subject, "failed", str(error))
            continue
        if coming.origin is None:
            yield _digests(subject, facts, folder)
        elif coming.downloads:
            size = amount(coming.downloads)
            yield Finding(subject, "ok", f"not here yet: the first run downloads {size} from {coming.origin}")
        else:
            yield Finding(subject, "ok", f"found at {coming.origin}; the first run unpacks it")


def _digests(subject: str, facts: DatasetFacts, folder: Path) -> Finding:
    arrays = load(facts, folder)
    assert arrays is not None
    for name, split in (("train", arrays.train), ("test", arrays.test)):
        if stored_digest(split) != facts.digests[name]:
            text = f"the {name} images in {folder} are not those of {facts.title}: delete {folder}, the next run restores it"
            return Finding(subject, "failed", text)
    return Finding(subject, "ok", f"in {folder}, with the digests of the catalogue")


def curves_recorded(mode: str) -> Iterator[Finding]:
    """How Weights & Biases will record runs. Nothing is sent."""
    subject = "Weights & Biases"
    if mode == "disabled":
        yield Finding(subject, "ok", "disabled: curves are in each run's metrics.csv")
        return
    if find_spec("wandb") is None:
        yield Finding(subject, "warning", "not installed: curves are in each run's metrics.csv")
        return
    if mode == "offline":
        yield Finding(subject, "ok", "runs are recorded offline")
        return
    from resnet_repro.tracking.server import ServerError, server_of_this_machine

    try:
        server, reason = server_of_this_machine(is_asked=mode != "auto"), "no API key is configured; run wandb login"
    except ServerError as error:
        server, reason = None, str(error)
    if server:
        yield Finding(subject, "ok", f"an API key is configured: runs stream to {server.url}")
    elif mode == "auto":
        yield Finding(subject, "ok", f"runs are recorded offline ({reason})")
    else:
        yield Finding(subject, "warning", f"WANDB_MODE={mode}, but runs will be recorded offline: {reason}")


def limits_of_processes(shared: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Shared memory and open files, which processes that decode images need."""
    if shared.is_dir():
        total = shutil.disk_usage(shared).total
        if total < SHARED_MEMORY:
            text = (
                f"{shared} has {amount(total)}, too little for processes that decode class folders: start the container "
                "with --shm-size=8g, or set WORKERS to a smaller number"
            )
            yield Finding("shared memory", "warning", text)
        else:
            yield Finding("shared memory", "ok", f"{amount(total)} in {shared}")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        text = f"the limit is {soft}, too low for processes that decode class folders: run ulimit -n 4096 first"
        yield Finding("open files", "warning", text)
    else:
        yield Finding(
            "open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft:,} per process"
        )
