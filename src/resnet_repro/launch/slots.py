"""Which runs go where: devices, slots on them, threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resnet_repro.distributed import DistContext
from resnet_repro.errors import UserError

# Training allocates and frees the same large blocks each step. Told to keep them, glibc neither maps them anew nor
# trims: page faults per step fall from thousands to hundreds. Harmless where the allocator is another one.
GLIBC_KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
}


@dataclass(frozen=True)
class Slot:
    """Room for one run: the kind of device ("cuda", "mps", "cpu"), what its process finds in its environment, threads.

    share: the part of the device's memory that is meant for it, in (0, 1]. processes: how many carry out the run together,
    each on a device of its own. workers: processes that decode images, for each of them.
    """

    device: str
    label: str
    threads: int
    environment: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    processes: int = 1
    workers: int = 1


def parse_devices(
    wanted: str, best: str, cuda_count: int, usable: Sequence[int] | None = None, trouble: str | None = None
) -> list[str]:
    """Devices by name: "auto", "cpu", "mps", "cuda" (all GPUs), "cuda:0,cuda:2" or "0,2".

    best: what "auto" means here; cuda_count: how many GPUs there are; usable: those of them that can compute, all by
    default; trouble: what keeps the others from it. Raises UserError for what is not there, or cannot compute.
    """
    usable = range(cuda_count) if usable is None else usable
    if wanted == "auto":
        wanted = best
    if wanted in ("cpu", "mps"):
        if wanted == "mps" and best != "mps":
            raise UserError("DEVICES='mps' is not on this machine: take cpu")
        return [wanted]
    if wanted == "cuda" and usable:
        return [f"cuda:{index}" for index in usable]
    if wanted == "cuda" and trouble:
        raise UserError(f"DEVICES='cuda' cannot be used: {trouble}")
    numbers = [part.strip().removeprefix("cuda:") for part in wanted.split(",")]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        if wanted == "cuda":
            raise UserError("DEVICES='cuda' finds no GPU on this machine: take cpu")
        raise UserError(f"DEVICES={wanted!r} names no device: take auto, cpu, mps, cuda or a list as cuda:0,cuda:1")
    for number in numbers:
        if int(number) >= cuda_count:
            raise UserError(
                f"DEVICES={wanted!r} asks for GPU {number}, this machine has {cuda_count}: take cpu or others"
            )
    if any(int(number) not in usable for number in numbers):
        raise UserError(f"DEVICES={wanted!r} cannot be used: {trouble}")
    return [f"cuda:{int(number)}" for number in dict.fromkeys(numbers)]


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

    One run per GPU, or `per_device`, whose processes then find `shared` in their environment. On a CPU as many runs at
    once as there are cores, with the cores shared out evenly among them: measured on two cores, two runs of one thread
    beat one run of two threads.
    visible: CUDA_VISIBLE_DEVICES as the user set it, whose entries the indices then count.
    spread: several GPUs make one slot, whose run takes them all.
    """
    if spread and len(devices) > 1:
        if per_device:
            raise UserError(
                f"SLOTS={per_device} does not go with runs that take all GPUs: leave it out, or name one GPU"
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
    """The slot of one of the processes that torchrun or srun has started together; each takes one device of `kind`."""
    threads = max(1, cores // dist.local_size)
    environment = environment_of(kind, threads)
    label = f"{dist.size} processes together ({kind})"
    return Slot(kind, label, threads, environment, 1 / (dist.local_size if kind == "cpu" else 1), workers=threads)


def _spread(devices: Sequence[str], cores: int, visible: str | None) -> Slot:
    """All GPUs as one slot, the cores shared out evenly among their processes."""
    threads = max(1, cores // len(devices))
    environment = {"CUDA_VISIBLE_DEVICES": _visible(devices, visible)} | thread_environment(threads)
    label = f"{len(devices)} GPUs together ({', '.join(devices)})"
    return Slot("cuda", label, threads, environment, processes=len(devices), workers=threads)


def _visible(devices: Sequence[str], visible: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES must be for these devices."""
    entries = [entry.strip() for entry in visible.split(",")] if visible else None
    indices = [device.partition(":")[2] for device in devices]
    return ",".join(entries[int(index)] if entries else index for index in indices)


def environment_of(kind: str, threads: int) -> dict[str, str]:
    """What a process that trains on a kind of device with so many threads finds in its environment."""
    return cpu_environment(threads) if kind == "cpu" else thread_environment(threads)


def thread_environment(threads: int) -> dict[str, str]:
    """What a process of so many threads finds in its environment."""
    return {"OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_COMPILE_THREADS": str(threads)}


def cpu_environment(threads: int) -> dict[str, str]:
    """The same of one that trains on the CPU, whatever else the machine has."""
    return GLIBC_KEEPS_MEMORY | thread_environment(threads) | {"CUDA_VISIBLE_DEVICES": ""}
