"""The whole training step as one CUDA graph: forward, loss, sums, backward and update, captured once and replayed.

Nets of this size keep a GPU waiting for launches: some two thousand a step, 5 µs each from Python, of kernels that take
no longer. A replay is one launch, needs no compiler, and runs the same kernels, so that steps taken eagerly and steps
replayed can alternate.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from resnet_repro.errors import in_a_line

# Eager steps before the capture. cuDNN has chosen its algorithms by then and the optimizer has made its buffers: neither
# can be done while kernels are recorded and not run.
EAGER_STEPS = 5


class CapturedStep:
    """`take`, a step on images (B, C, H, W) and labels (B,) that reads nothing else but tensors, replayed on other batches.

    capture: given a function without arguments, returns another that repeats on the device what the first one did there.
    failure: why there is no graph, once a capture has failed; all steps are then taken eagerly.
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
        """Take the step on a batch, of the size that all have; False where the caller is to take it eagerly."""
        self._seen += 1
        if self.failure or self._seen <= EAGER_STEPS:
            return False
        if self._replay is None:
            self._images, self._labels = images.clone(), labels.clone()
            try:
                self._replay = self.capture(lambda: self.take(self._images, self._labels))
            except Exception as error:  # noqa: BLE001  whatever cannot be captured can be done eagerly
                self.failure = in_a_line(_first(error))
                return False
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._replay()
        return True


def _first(error: BaseException) -> BaseException:
    """What went wrong first: the end of a broken capture only says that it is broken."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def cuda_graph(work: Callable[[], None]) -> Callable[[], None]:
    """What `work` launches, recorded as a CUDA graph and not run; returns its replay.

    Raises RuntimeError where it does what no graph can hold, as waiting for the device.
    """
    if hasattr(torch.autograd.graph, "set_override_stale_capture_stream"):  # since torch 2.12
        # A gradient's accumulator that outlives its step remembers the stream that it was made on.
        torch.autograd.graph.set_override_stale_capture_stream(True)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    # A graph that is collected meanwhile would break this one: its end is no launch that a graph can hold.
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        # Of this thread: another may pin memory for the next batch meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except BaseException:
        torch.cuda.set_stream(stream)  # a broken capture leaves its own
        raise
    finally:
        if collects:
            gc.enable()
    return graph.replay
