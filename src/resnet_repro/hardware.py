"""What the machine has, and what it really computes in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError

PRECISIONS = ("auto", "bf16", "fp32")
FIRST_WITH_BF16 = (8, 0)  # Ampere
DRIVERS = {"13": "580", "12": "525"}  # the oldest for each major version of CUDA (CUDA release notes, table 3)
OTHER_WHEELS = "the cu126 wheels of https://download.pytorch.org/whl/cu126"


def best_device() -> str:
    """ "cuda", "mps" or "cpu": the first that is there and that this torch can use."""
    import torch

    if usable_gpus():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_precision(wanted: str, device: str, gpus: Sequence[int] = (0,)) -> str:
    """ "bf16" or "fp32". "auto" takes bf16 autocast where the hardware has bf16 arithmetic, asked of the hardware.

    gpus: those that are to compute, all of which must have it. float16 is not offered: without loss scaling plain-56
    overflows in it. Raises UserError for an unknown precision.
    """
    if wanted not in PRECISIONS:
        raise UserError(f"unknown precision {wanted!r}: take one of {', '.join(PRECISIONS)}")
    if wanted != "auto":
        return wanted
    return "bf16" if has_bf16(device, gpus) else "fp32"


def autocast(device: str, precision: str):
    """What a forward pass is computed under on a kind of device: bf16 autocast, or none for "fp32"."""
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def has_bf16(device: str, gpus: Sequence[int] = (0,)) -> bool:
    """Whether the device multiplies bf16 numbers natively; emulation, which is slower than float32, does not count."""
    import torch

    if device == "cuda":
        return all(torch.cuda.get_device_capability(gpu) >= FIRST_WITH_BF16 for gpu in gpus)
    if device == "cpu":
        # Since torch 2.12; the name of a precision serves where it is missing.
        capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    return False


def gpu_count() -> int:
    """The GPUs of this machine, also where this torch cannot use them; of sliced ones (MIG) the slices that are named.

    CUDA shows a process one slice, whatever number of them CUDA_VISIBLE_DEVICES names.
    """
    import torch

    entries = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    slices = sum(entry.startswith("MIG-") for entry in entries)
    count = torch.cuda.device_count()
    return max(count, slices) if count else 0


def _driver_works() -> bool:
    """Whether CUDA finds a GPU. Lightning makes `torch.cuda.is_available` ask the driver's own count, which needs no CUDA."""
    import torch

    return torch.backends.cuda.is_built() and torch._C._cuda_getDeviceCount() > 0


def usable_gpus() -> list[int]:
    """The indices of the GPUs that this torch has kernels for: an older wheel or a newer one has those of other
    architectures.
    """
    import torch

    if not _driver_works():
        return []
    oldest = min((_architecture(name) for name in torch.cuda.get_arch_list()), default=(0, 0))
    seen = torch.cuda.device_count()
    return [gpu for gpu in range(gpu_count()) if torch.cuda.get_device_capability(min(gpu, seen - 1)) >= oldest]


def gpu_trouble() -> str | None:
    """What keeps this torch from using some of the machine's GPUs, and the remedy; None where nothing does."""
    import torch

    count, usable = gpu_count(), usable_gpus()
    if len(usable) == count:
        return None
    version, cuda = torch.__version__.partition("+")[0], torch.version.cuda
    if not _driver_works():
        driver = DRIVERS.get((cuda or "").partition(".")[0])
        wanted = f"driver {driver} or newer" if driver else "newer driver"
        return (
            f"this machine has {count} GPU{'s' * (count > 1)} that torch {version} (CUDA {cuda}) cannot use, as with a driver "
            f"that is too old: install {wanted}, or torch {version} from {OTHER_WHEELS}"
        )
    names = ", ".join(sorted({torch.cuda.get_device_name(gpu) for gpu in range(count) if gpu not in usable}))
    return (
        f"torch {version} (CUDA {cuda}) has no kernels for {names}: install torch {version} from {OTHER_WHEELS}, whose "
        "kernels go back to Maxwell"
    )


def _architecture(name: str) -> tuple[int, int]:
    """(9, 0) for "sm_90a" or "compute_90"."""
    digits = "".join(character for character in name.partition("_")[2] if character.isdigit())
    return (int(digits[:-1]), int(digits[-1])) if len(digits) > 1 else (0, 0)


def cpu_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def device_name(device: str, gpu: int = 0) -> str:
    """The hardware's own name, for the record; of several GPUs that of number `gpu`."""
    import platform

    import torch

    if device == "cuda":
        return torch.cuda.get_device_name(gpu)
    try:
        name = processor_name(Path("/proc/cpuinfo").read_text())
    except OSError:
        name = None  # not Linux: the generic name serves
    return f"{name or platform.processor() or platform.machine()} ({cpu_cores()} cores)"


def facts(device: str) -> dict[str, Any]:
    """What a machine tells of its devices of a kind: bf16; of GPUs also name, bytes of memory, and whether the environment
    names a multi-process service.
    """
    import torch

    gpus = range(torch.cuda.device_count()) if device == "cuda" else range(0)
    found: dict[str, Any] = {"bf16": has_bf16(device, gpus)}
    if gpus:
        found["name"] = ", ".join(sorted({device_name("cuda", gpu) for gpu in gpus}))
        found["memory"] = min(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus)
        found["mps"] = "CUDA_MPS_PIPE_DIRECTORY" in os.environ
    return found


def processor_name(cpuinfo: str) -> str | None:
    """The model's name in the text of /proc/cpuinfo, None without one.

    Virtual machines may have a name without a number, "AMD EPYC", for several generations of which one is twice as fast as
    another: family and model then tell them apart.
    """
    facts: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name")
    if name and not any(character.isdigit() for character in name) and {"cpu family", "model"} <= facts.keys():
        return f"{name}, family {facts['cpu family']} model {facts['model']}"
    return name
