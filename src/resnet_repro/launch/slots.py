"""Slots: the devices, threads and environment variables of concurrent runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resnet_repro.distributed import DistContext
from resnet_repro.errors import UserError
from resnet_repro.parsing import plural

# Training allocates and frees the same large blocks in each step. With these settings glibc keeps them, which reduces the
# page faults per step from thousands to hundreds. Other allocators ignore the variables.
GLIBC_KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
}


MOST_DIGITS = 9  # of a GPU's number; int() refuses thousands of digits


@dataclass(frozen=True)
class Slot:
    """The resources of one run."""

    device: str
    """Kind of device: "cuda", "mps" or "cpu"."""
    label: str
    """Name of the slot for readers."""
    threads: int
    """CPU threads of each process."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of the run's process."""
    share: float = 1.0
    """The run's share of the device's memory, in (0, 1]."""
    processes: int = 1
    """Processes that train the run together, each on a different device."""
    workers: int = 1
    """Image-decoding processes for each training process."""


@dataclass(frozen=True)
class Placement:
    """How an executor places runs, for estimates."""

    at_once: int | None
    """Runs at the same time. None: a queue decides."""
    threads: int
    """CPU threads of each run, over all of its processes."""
    share: float = 1.0
    """Each run's share of a device."""
    devices: int = 1
    """Devices of each run."""


def parse_devices(
    devices: str, best: str, cuda_count: int, usable: Sequence[int] | None = None, trouble: str | None = None
) -> list[str]:
    """The list of devices for "auto", "cpu", "mps", "cuda" (all GPUs), "cuda:0,cuda:2" or "0,2".

    best: the device for "auto". cuda_count: number of GPUs. usable: indices of the GPUs that torch can use; None: all.
    trouble: why torch cannot use the other GPUs.
    Raises UserError for devices that do not exist or that torch cannot use.
    """
    usable = range(cuda_count) if usable is None else usable
    if devices == "auto":
        devices = best
    if devices in ("cpu", "mps"):
        if devices == "mps" and best != "mps":
            raise UserError("MPS is not available; use DEVICES=cpu")
        return [devices]
    if devices == "cuda" and usable:
        return [f"cuda:{index}" for index in usable]
    if devices == "cuda":
        raise UserError(
            f"DEVICES='cuda' cannot be used: {trouble}" if trouble else "no GPU found on this machine; use DEVICES=cpu"
        )
    numbers = numbers_of_gpus(devices)
    for number in numbers:
        if number >= cuda_count:
            raise UserError(
                f"invalid DEVICES {devices!r}: GPU {number} does not exist, this machine has {plural(cuda_count, 'GPU')}"
            )
    if any(number not in usable for number in numbers):
        raise UserError(f"DEVICES={devices!r} cannot be used: {trouble}")
    return [f"cuda:{number}" for number in numbers]


def numbers_of_gpus(devices: str) -> list[int]:
    """The numbers in a list of GPUs as "cuda:0,cuda:2" or "0,2", each once. Raises UserError for another text."""
    numbers = [part.strip().removeprefix("cuda:") for part in devices.split(",")]
    if not all(number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS for number in numbers):
        raise UserError(
            f"invalid DEVICES {devices!r}: expected auto, cpu, mps, cuda or a list of GPUs, e.g. cuda:0,cuda:1"
        )
    return list(dict.fromkeys(map(int, numbers)))


def plan_slots(
    devices: Sequence[str],
    per_device: int | None,
    runs: int,
    cores: int,
    visible: str | None = None,
    spread: bool = False,
    shared: Mapping[str, str] | None = None,
) -> list[Slot]:
    """The slots of a machine for a number of runs.

    A GPU gets one slot, or `per_device`. A CPU gets one slot per run, up to the number of cores, and the slots share the
    cores evenly: on two cores, two runs of one thread are faster than one run of two threads.
    visible: the user's CUDA_VISIBLE_DEVICES; GPU indices then refer to its entries.
    spread: make one slot of all GPUs, for runs on several GPUs.
    shared: environment variables for runs on GPUs, e.g. of the MPS service.
    Raises UserError if `spread` and `per_device` exclude each other.
    """
    if spread and len(devices) > 1:
        if per_device:
            raise UserError(
                f"SLOTS={per_device} does not apply to runs that use all GPUs: leave it out, or select one GPU with DEVICES"
            )
        return [_spread(devices, cores, visible)]
    slots = []
    for device in devices:
        kind = device.partition(":")[0]
        count = per_device or (max(1, min(runs, cores)) if kind == "cpu" else 1)
        threads = cores if kind == "mps" else max(1, cores // (len(devices) * count))
        environment = {} if kind == "mps" else environment_of(kind, threads)
        if kind == "cuda":
            environment |= {"CUDA_VISIBLE_DEVICES": _visible([device], visible), **(shared or {})}
        slots += [Slot(kind, device, threads, environment, 1 / count, workers=threads) for _ in range(count)]
    return slots


def one_of_group(kind: str, dist: DistContext, cores: int) -> Slot:
    """The slot of one process of a group that torchrun or srun started. Each process uses one device of `kind`."""
    threads = max(1, cores // dist.local_size)
    environment = environment_of(kind, threads)
    label = f"{dist.size} processes together ({kind})"
    return Slot(kind, label, threads, environment, 1 / (dist.local_size if kind == "cpu" else 1), workers=threads)


def _spread(devices: Sequence[str], cores: int, visible: str | None) -> Slot:
    """One slot for all GPUs, with one process per GPU and the cores shared evenly."""
    threads = max(1, cores // len(devices))
    environment = {"CUDA_VISIBLE_DEVICES": _visible(devices, visible)} | thread_environment(threads)
    label = f"{len(devices)} GPUs together ({', '.join(devices)})"
    return Slot("cuda", label, threads, environment, processes=len(devices), workers=threads)


def _visible(devices: Sequence[str], visible: str | None) -> str:
    """The value of CUDA_VISIBLE_DEVICES for these devices, given the user's value `visible`."""
    entries = [entry.strip() for entry in visible.split(",")] if visible else None
    indices = [device.partition(":")[2] for device in devices]
    return ",".join(entries[int(index)] if entries else index for index in indices)


def environment_of(kind: str, threads: int) -> dict[str, str]:
    """Environment variables of a training process on a kind of device."""
    return cpu_environment(threads) if kind == "cpu" else thread_environment(threads)


def thread_environment(threads: int) -> dict[str, str]:
    """Environment variables that limit a process to a number of threads."""
    return {"OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_COMPILE_THREADS": str(threads)}


def cpu_environment(threads: int) -> dict[str, str]:
    """Environment variables of a training process on the CPU, which hide all GPUs from it."""
    return GLIBC_KEEPS_MEMORY | thread_environment(threads) | {"CUDA_VISIBLE_DEVICES": ""}
