"""Store or recompute the activations, by measured memory; peak memory of a run."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.models.recompute import can_recompute, stored_bytes
from resnet_repro.training.start import Skip

GIB = 2**30
CPU_LIMIT = 4 * GIB  # keeps a run of 1,202 layers at batch 128 under 8 GiB in total
PROBE_IMAGES = 4
HEADROOM = 1.25  # factor on the activations, for gradients, workspaces and the allocator's reserve
BASE = GIB  # interpreter, libraries, data set

Activations = Literal["stored", "recomputed"]


def choose_activations(
    setting: str,
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    precision: str,
    share: float,
    dist: DistContext = ALONE,
) -> tuple[Activations, int]:
    """Whether to store the activations of a step on `batch`, and the bytes that storing them takes.

    Measured on a few images and scaled to the batch; `net` is unchanged. If `setting` is "auto", activations are stored
    if they take at most half of the run's `share` of the device's memory, on a CPU at most 4 GiB, or if `net` has no
    stages of blocks. Processes that train together (`dist`) make the same choice, by the one with the least memory.
    Raises Skip if `setting` is "stored" and the activations do not fit into free memory.
    """
    images, labels = batch
    probe = min(PROBE_IMAGES, len(labels))
    # Clones, since a slice would count with the storage of the whole batch.
    few = images[:probe].clone(), labels[:probe].clone()
    measured = stored_bytes(net, *few, precision) * len(labels) // probe
    if setting == "recomputed":
        return "recomputed", measured
    if setting == "stored":
        need = round(measured * HEADROOM) + BASE
        # The same for all processes: one that skipped alone would leave the others waiting.
        missing = dist.all_reduce_max(need - free_memory(images.device))
        if missing > 0:
            free = max(0, need - missing)
            raise Skip(f"storing its activations takes about {need / GIB:.1f} GiB, but {free / GIB:.1f} GiB are free")
        return "stored", measured
    limit = total_memory(images.device) * share / 2
    if images.device.type == "cpu":
        limit = min(limit, CPU_LIMIT)
    is_too_much = dist.all_reduce_max(int(measured > limit))
    return ("recomputed" if is_too_much and can_recompute(net) else "stored"), measured


def total_memory(device: torch.device) -> int:
    """Bytes of the device's memory; on a CPU at most the limit of this process's container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, _container_limit() or total)


def free_memory(device: torch.device) -> int:
    """Bytes of the device's memory that are free now; on a CPU within the limit of this process's container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                free = _container_free()
                return min(int(line.split()[1]) * 1024, total_memory(device) if free is None else free)
    except OSError:
        pass  # not Linux: the total is the best estimate
    return total_memory(device)


def _container_limit() -> int | None:
    text = _container("memory.max")
    return int(text) if text.isdigit() else None


def _container_free() -> int | None:
    """Bytes that this process's container may still use. Cached pages of files count as free."""
    limit, current = _container_limit(), _container("memory.current")
    if limit is None or not current.isdigit():
        return None
    facts = dict(line.split() for line in _container("memory.stat").splitlines())
    return max(0, limit - int(current) + int(facts.get("file", 0)))


def _container(name: str) -> str:
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""  # no container, or one without cgroup v2: no known limit


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process so far, in MiB: allocated on its GPU, or resident if it computes on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
