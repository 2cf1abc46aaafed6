"""Hardware of this machine: devices, bf16 support, CPU cores, names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError

PRECISIONS = ("auto", "bf16", "fp32")
FIRST_WITH_BF16 = (8, 0)  # Ampere
DRIVERS = {"13": "580", "12": "525"}  # oldest driver for each major version of CUDA (CUDA release notes, table 3)
# Watts of a processor core and of a GPU of an unknown kind: the defaults of Green Algorithms (L. Lannelongue et al., 2021).
CORE_WATTS, GPU_WATTS = 12.0, 200.0
APPLE_WATTS = 39.0  # of a whole Mac mini with M1, at most, as Apple states
# (part of a GPU's name, watts of the board as NVIDIA states); the first that fits counts.
BOARD_WATTS = (
    ("H200", 700.0), ("H100 PCIe", 350.0), ("H100", 700.0), ("A100-PCIE", 250.0), ("A100 80GB PCIe", 300.0), ("A100", 400.0),
    ("V100", 300.0), ("P100", 250.0), ("T4", 70.0), ("L40S", 350.0), ("L4", 72.0), ("RTX 4090", 450.0), ("RTX 3090", 350.0),
)  # fmt: skip
JOULES_PER_KWH = 3.6e6
OTHER_WHEELS = "the cu126 wheels of https://download.pytorch.org/whl/cu126"


def best_device() -> str:
    """The kind of device to compute on: "cuda" if torch can use a GPU, else "mps" if available, else "cpu"."""
    import torch

    if usable_gpus():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_precision(precision: str, device: str, gpus: Sequence[int] = (0,)) -> str:
    """Resolve a precision to "bf16" or "fp32"; "auto" means bf16 autocast if the hardware supports bf16 arithmetic.

    gpus: indices of the GPUs to compute on, which must all support bf16. float16 is not an option, because plain-56
    overflows in it without loss scaling. Raises UserError for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device, gpus) else "fp32"


def autocast(device: str, precision: str):
    """The autocast context of a forward pass on a kind of device: bf16, or disabled for "fp32"."""
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def has_bf16(device: str, gpus: Sequence[int] = (0,)) -> bool:
    """Whether the device has native bf16 arithmetic. Emulation does not count, because it is slower than float32."""
    import torch

    if device == "cuda":
        return all(torch.cuda.get_device_capability(gpu) >= FIRST_WITH_BF16 for gpu in gpus)
    if device == "cpu":
        # Before torch 2.12 get_capabilities does not exist, and "auto" means fp32 unless the user names a precision.
        capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    return False


def gpu_count() -> int:
    """The number of GPUs of this machine, including GPUs that torch cannot use.

    For partitioned GPUs (MIG), the number of slices that CUDA_VISIBLE_DEVICES lists: CUDA itself shows a process only one.
    """
    import torch

    entries = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    slices = sum(entry.startswith("MIG-") for entry in entries)
    count = torch.cuda.device_count()
    return max(count, slices) if count else 0


def _driver_works() -> bool:
    """Whether CUDA finds a GPU.

    `torch.cuda.is_available` is not enough: Lightning makes it ask NVML, which also counts GPUs that CUDA cannot use.
    """
    import torch

    return torch.backends.cuda.is_built() and torch._C._cuda_getDeviceCount() > 0


def usable_gpus() -> list[int]:
    """The indices of the GPUs that torch has kernels for. Each wheel supports a range of architectures only."""
    import torch

    if not _driver_works():
        return []
    oldest = min((_architecture(name) for name in torch.cuda.get_arch_list()), default=(0, 0))
    seen = torch.cuda.device_count()
    return [gpu for gpu in range(gpu_count()) if torch.cuda.get_device_capability(min(gpu, seen - 1)) >= oldest]


def gpu_trouble() -> str | None:
    """Why torch cannot use some GPUs of this machine, with the remedy; None if it can use all of them."""
    import torch

    count, usable = gpu_count(), usable_gpus()
    if len(usable) == count:
        return None
    version, cuda = torch.__version__.partition("+")[0], torch.version.cuda
    if not _driver_works():
        driver = DRIVERS.get((cuda or "").partition(".")[0])
        newer_driver = f"driver {driver} or newer" if driver else "a newer driver"
        return (
            f"this machine has {count} GPU{'s' * (count > 1)} that torch {version} (CUDA {cuda}) cannot use, probably because "
            f"the driver is too old: install {newer_driver}, or torch {version} from {OTHER_WHEELS}"
        )
    names = ", ".join(sorted({torch.cuda.get_device_name(gpu) for gpu in range(count) if gpu not in usable}))
    return (
        f"torch {version} (CUDA {cuda}) has no kernels for {names}: install torch {version} from {OTHER_WHEELS}, which "
        "supports GPUs since Maxwell"
    )


def _architecture(name: str) -> tuple[int, int]:
    """Parse a compute capability: (9, 0) for "sm_90a" or "compute_90"."""
    digits = "".join(character for character in name.partition("_")[2] if character.isdigit())
    return (int(digits[:-1]), int(digits[-1])) if len(digits) > 1 else (0, 0)


def cpu_cores() -> int:
    """The number of cores that this process may use, limited by its affinity and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def device_name(device: str, gpu: int = 0) -> str:
    """The name of the device for the record: of GPU number `gpu`, or of the processor with its number of cores."""
    import platform

    import torch

    if device == "cuda":
        return torch.cuda.get_device_name(gpu)
    try:
        name = processor_name(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        name = None  # not Linux: use the generic name
    return f"{name or platform.processor() or platform.machine()} ({cpu_cores()} cores)"


def stated_watts(device: str, name: str = "", cores: int = 1) -> float:
    """The power in watts that makers state for a device at full load, for estimates of energy.

    device: kind of device. name: of the device, see `device_name`. cores: number of processor cores in use, on a CPU.
    """
    if device == "cpu":
        return CORE_WATTS * cores
    if device == "mps":
        return APPLE_WATTS
    return next((watts for part, watts in BOARD_WATTS if part in name), GPU_WATTS)


def facts(device: str) -> dict[str, Any]:
    """Properties of this machine's devices of a kind, as JSON.

    "bf16": whether all devices support it. For GPUs also "name", "memory" (of the smallest, in bytes) and "mps" (whether
    the environment names a multi-process service).
    """
    import torch

    gpus = range(torch.cuda.device_count()) if device == "cuda" else range(0)
    properties: dict[str, Any] = {"bf16": has_bf16(device, gpus)}
    if gpus:
        properties["name"] = ", ".join(sorted({device_name("cuda", gpu) for gpu in gpus}))
        properties["memory"] = min(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus)
        properties["mps"] = "CUDA_MPS_PIPE_DIRECTORY" in os.environ
    return properties


def gpu_facts(query: str) -> list[str]:
    """A property of each GPU in the words of nvidia-smi, e.g. "driver_version"; empty if it does not answer."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []


def processor_name(cpuinfo: str) -> str | None:
    """The model name in the text of /proc/cpuinfo; None if it has none.

    A name without a digit gets family and model appended: virtual machines report "AMD EPYC" for several generations,
    which differ in speed by a factor of two.
    """
    entries: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        entries.setdefault(key.strip(), value.strip())
    name = entries.get("model name")
    if name and not any(character.isdigit() for character in name) and {"cpu family", "model"} <= entries.keys():
        return f"{name}, family {entries['cpu family']} model {entries['model']}"
    return name
