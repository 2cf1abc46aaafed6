"""What the machine has, and what it really computes in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from resnet_repro.errors import UserError

PRECISIONS = ("auto", "bf16", "fp32")


def best_device() -> str:
    """ "cuda", "mps" or "cpu": the first that is there."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_precision(wanted: str, device: str) -> str:
    """ "bf16" or "fp32". "auto" takes bf16 autocast where the hardware has bf16 arithmetic, asked of the hardware.

    float16 is not offered: without loss scaling plain-56 overflows in it.
    Raises UserError for an unknown precision.
    """
    if wanted not in PRECISIONS:
        raise UserError(f"unknown precision {wanted!r}: take one of {', '.join(PRECISIONS)}")
    if wanted != "auto":
        return wanted
    return "bf16" if has_bf16(device) else "fp32"


def has_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 numbers natively; emulation, which is slower than float32, does not count."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        capabilities: Mapping[str, object] = torch.cpu.get_capabilities()
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    return False


def cpu_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def device_name(device: str) -> str:
    """The hardware's own name, for the record."""
    import platform

    import torch

    if device == "cuda":
        return torch.cuda.get_device_name(0)
    try:
        name = processor_name(Path("/proc/cpuinfo").read_text())
    except OSError:
        name = None  # not Linux: the generic name serves
    return f"{name or platform.processor() or platform.machine()} ({cpu_cores()} cores)"


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
