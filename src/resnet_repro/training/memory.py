"""Whether backpropagation keeps its activations or computes them again, decided by measuring; and what a run peaked at."""

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
CPU_LIMIT = 4 * GIB  # leaves a run of 1202 layers at batch 128 under 8 GiB, with all else that its process holds
PROBE_IMAGES = 4
HEADROOM = 1.25  # gradients, workspaces and what the allocator keeps beyond the activations
BASE = GIB  # interpreter, libraries, data set

Activations = Literal["stored", "recomputed"]


def choose_activations(
    wanted: str,
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    precision: str,
    share: float,
    dist: DistContext = ALONE,
) -> tuple[Activations, int]:
    """What to do with the activations of a step on `batch`, and how many bytes they take when stored.

    Measured on a few images and scaled to the batch. "auto" stores them up to 4 GiB on a CPU, and up to half of the
    run's `share` of the device's memory anywhere; of nets without stages of blocks it always does.
    Batch statistics and gradients of `net` are left as they were.
    Processes that train together (`dist`) do the same: what the one with the least memory can do.
    Raises Skip where they are to be stored and the memory that is free does not hold them.
    """
    images, labels = batch
    probe = min(PROBE_IMAGES, len(labels))
    few = images[:probe].clone(), labels[:probe].clone()  # a slice would count with the whole batch
    measured = stored_bytes(net, *few, precision) * len(labels) // probe
    if wanted == "recomputed":
        return "recomputed", measured
    if wanted == "stored":
        need = round(measured * HEADROOM) + BASE
        lacking = dist.all_reduce_max(
            need - free_memory(images.device)
        )  # one that skipped would leave the others waiting
        if lacking > 0:
            have = max(0, need - lacking)
            raise Skip(f"storing its activations takes about {need / GIB:.1f} GiB, and {have / GIB:.1f} GiB are free")
        return "stored", measured
    limit = total_memory(images.device) * share / 2
    if images.device.type == "cpu":
        limit = min(limit, CPU_LIMIT)
    is_too_much = dist.all_reduce_max(int(measured > limit))
    return ("recomputed" if is_too_much and can_recompute(net) else "stored"), measured


def total_memory(device: torch.device) -> int:
    """Bytes of memory that the device has, or that this process's container may use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, _container_limit() or total)


def free_memory(device: torch.device) -> int:
    """Bytes of memory that are free on the device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _container_free() or total_memory(device))
    except OSError:
        pass  # not Linux: no such file, and the total is the best that is known
    return total_memory(device)


def _container_limit() -> int | None:
    text = _container("memory.max")
    return int(text) if text.isdigit() else None


def _container_free() -> int | None:
    """What this process's container may still take; the pages of files that it holds can be given back at any time."""
    limit, current = _container_limit(), _container("memory.current")
    if limit is None or not current.isdigit():
        return None
    facts = dict(line.split() for line in _container("memory.stat").splitlines())
    return max(0, limit - int(current) + int(facts.get("file", 0)))


def _container(name: str) -> str:
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""  # no container, or one of another kind: it sets no limit that can be read


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that this process has held so far: on the GPU where it computes there, else resident in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
