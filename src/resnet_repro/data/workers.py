"""Worker processes that prepare batches: how batches travel, and what happens if a worker cannot send one or ends."""

from __future__ import annotations

import multiprocessing.queues
import os
import sys
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info


class Piped(NamedTuple):
    """Tensors on their way from a worker that found no shared memory for them: as arrays they pass through a pipe."""

    arrays: list[np.ndarray]


def stacked(tensors: list[Tensor]) -> Tensor:
    """Stack tensors, in a worker directly in shared memory if there is some left."""
    try:
        return default_collate(tensors)
    except (RuntimeError, OSError):  # /dev/shm is full, or the process has no file descriptor left
        return torch.stack(tensors)


def sendable(tensors: list[Tensor]) -> list[Tensor] | Piped:
    """Prepare tensors for the way to the training process; unchanged in that process.

    They are moved to shared memory here, because a failure in the queue's own thread would reach nobody: the training
    process would wait for ever.
    """
    if get_worker_info() is None:
        return tensors
    try:
        return [tensor.share_memory_() if tensor.numel() else tensor for tensor in tensors]
    except (RuntimeError, OSError):
        return Piped([tensor.numpy() for tensor in tensors])


def received(sent: list[Tensor] | Piped) -> list[Tensor]:
    """Return the tensors of `sendable`, in the training process."""
    return [torch.from_numpy(array) for array in sent.arrays] if isinstance(sent, Piped) else sent


def begin_worker(worker: int) -> None:
    """Prepare this process as a worker. It uses one thread, and ends if it cannot send a batch."""
    torch.set_num_threads(1)
    # The queue would drop the batch, print a traceback and go on.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: BaseException, batch: object) -> None:
    print(f"a decoded batch cannot be sent to the training process: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def loss_of_worker(error: RuntimeError) -> str | None:
    """Describe in a sentence that a worker has ended, from torch's error; None for other errors."""
    text = str(error).partition("\n")[0]
    if not text.startswith("DataLoader worker"):
        return None
    reason = text.removeprefix("DataLoader worker ").partition(". ")[0].rstrip(".")
    return (
        f"a process that decodes images has ended, {reason}: if memory is short (RAM, or /dev/shm), set WORKERS to a "
        "smaller number, and run the same command again"
    )
