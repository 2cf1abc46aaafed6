"""Capture the whole training step (forward, loss, sums, backward, update) as one CUDA graph and replay it.

Small networks are launch-bound: a step launches about two thousand kernels, a launch takes 5 µs from Python, and most
kernels run no longer than that. A replay is one launch, needs no compiler and runs the same kernels, so eager and
replayed steps can alternate.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from resnet_repro.errors import in_a_line

# Eager steps before the capture. They let cuDNN choose its algorithms and the optimizer allocate its buffers; neither is
# possible during a capture, which records kernels without running them.
EAGER_STEPS = 5


class CapturedStep:
    """A training step that is captured after `EAGER_STEPS` eager steps and then replayed on other batches.

    take: the step on images (B, C, H, W) and labels (B,). It must read tensors only.
    capture: records what a function without arguments does on the device; returns a function that replays it.
    failure: why the capture failed, or None. After a failure all steps are eager.
    """

    def __init__(
        self, take: Callable[[Tensor, Tensor], None], capture: Callable[[Callable[[], None]], Callable[[], None]]
    ) -> None:
        self.take, self.capture = take, capture
        self.failure: str | None = None
        self._seen = 0
        self._replay: Callable[[], None] | None = None

    @property
    def is_captured(self) -> bool:
        return self._replay is not None

    def __call__(self, images: Tensor, labels: Tensor) -> bool:
        """Take the step on a batch, all of which have the same size. False: the caller must take it eagerly."""
        self._seen += 1
        if self.failure or self._seen <= EAGER_STEPS:
            return False
        if self._replay is None:
            self._images, self._labels = images.clone(), labels.clone()
            try:
                self._replay = self.capture(lambda: self.take(self._images, self._labels))
            except Exception as error:  # noqa: BLE001  a step that cannot be captured runs eagerly
                self.failure = in_a_line(_first(error))
                return False
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._replay()
        return True


def _first(error: BaseException) -> BaseException:
    """The first error of a chain. The last error of a failed capture only says that the capture failed."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def cuda_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Record the kernels that `work` launches as a CUDA graph, without running them. Returns the replay function, which
    keeps `work` alive, and with it the memory that the kernels read and write.

    Raises RuntimeError if `work` does something that a graph cannot record, such as waiting for the device.
    """
    if hasattr(torch.autograd.graph, "set_override_stale_capture_stream"):  # since torch 2.12
        # A gradient accumulator that outlives its step keeps the stream on which it was created.
        torch.autograd.graph.set_override_stale_capture_stream(True)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    # Freeing another graph during the capture would break this one: a graph cannot record it.
    gc.collect()
    gc_was_enabled = gc.isenabled()
    gc.disable()
    try:
        # thread_local: another thread may pin memory for the next batch during the capture.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except BaseException:
        torch.cuda.set_stream(stream)  # a failed capture leaves its own stream current
        raise
    finally:
        if gc_was_enabled:
            gc.enable()

    def replay(_: Callable[[], None] = work) -> None:
        graph.replay()

    return replay
