"""GPU sharing: how many runs share a GPU, and CUDA's multi-process service (MPS), which lets their kernels overlap.

One run of a CIFAR net leaves an H100 mostly idle: its kernels take microseconds and fill a fraction of the GPU. Without
MPS, processes take turns on the GPU. With MPS, their kernels overlap; for small ResNets on an A100 this gave three to
four times the throughput (T. Robroek et al., arXiv 2209.06018).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

# A net leaves most of a GPU idle up to this number of forward multiply-adds per training step. ResNet-110 on CIFAR has
# 3e10 at batch 128; ResNet-18 at 224 pixels has 5e11 at batch 256.
SMALL = 1e11
MOST_THROUGH_MPS = 8  # more runs gain little: the throughput grows three to four times
MOST_BY_TURNS = 2  # one run starts, evaluates or writes files while the other trains
USABLE = 0.9  # share of a GPU's memory for runs; the driver and other programs use the rest
CONTEXT = 3 * 2**29  # bytes per process for CUDA, library workspaces and the data set
UNKNOWN_MEMORY = 16 * 2**30  # bytes assumed for a GPU on another machine
CONTROL = "nvidia-cuda-mps-control"
START_SECONDS, END_SECONDS = 20, 90  # runs take up to a minute to save after their launcher has ended
# The first CUDA calls of a client. They start the MPS server; if that fails, every CUDA call of the client fails.
CLIENT = """
import ctypes, sys
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
code = cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
sys.exit(f"CUDA's error {code}" if code else 0)
"""


@dataclass(frozen=True)
class Load:
    """The demand of a study's largest run on its device."""

    multiply_adds: float = 0.0
    """Forward multiply-adds of a training step."""
    memory: int = CONTEXT
    """Bytes of device memory."""


def runs_a_gpu(load: Load, memory: int, cores: int, through_mps: bool) -> int:
    """The number of runs that should share a GPU with `memory` bytes and `cores` CPU cores."""
    if load.multiply_adds > SMALL:
        return 1
    most = MOST_THROUGH_MPS if through_mps else MOST_BY_TURNS
    return max(1, min(most, cores, int(USABLE * memory) // load.memory))


def offers_mps() -> bool:
    """Whether MPS is available: its control program is installed, or CUDA_MPS_PIPE_DIRECTORY names a running service.

    MIG slices of a GPU are used without MPS.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG-"):
        return False
    return "CUDA_MPS_PIPE_DIRECTORY" in os.environ or shutil.which(CONTROL) is not None


def service_for(runs: int) -> Mps:
    """The MPS service for a number of runs per GPU; an empty one if there is only one run or MPS is not available."""
    if runs > 1 and offers_mps():
        try:
            return Mps()
        except OSError as error:
            log.info(f"MPS cannot be started ({error}): runs on the same GPU take turns")
    return Mps(start=False)


def serves(environment: Mapping[str, str]) -> None:
    """Check the service with a test client, which takes a second or two. Raises OSError if the client fails."""
    try:
        client = subprocess.run(
            [sys.executable, "-P", "-c", CLIENT], env=environment, timeout=START_SECONDS, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise OSError("a test client timed out") from error
    if client.returncode:
        errors = client.stderr.strip().splitlines()
        raise OSError(f"a test client failed: {errors[-1] if errors else client.returncode}")


class Mps:
    """An MPS service in a temporary folder. It needs no root access and changes no setting of the GPU.

    The service ends with `close`, or when this process ends. If CUDA_MPS_PIPE_DIRECTORY names a running service, that
    service is used and not ended.
    start: False for no service at all. Raises OSError if the service cannot be started.
    """

    def __init__(self, start: bool = True) -> None:
        self.environment: dict[str, str] = {}
        """Environment variables of the service's clients. Empty: no service."""
        self._keeper: subprocess.Popen | None = None
        if not start:
            return
        if "CUDA_MPS_PIPE_DIRECTORY" in os.environ:
            self.environment = {"CUDA_MPS_PIPE_DIRECTORY": os.environ["CUDA_MPS_PIPE_DIRECTORY"]}
            return
        folder = Path(tempfile.mkdtemp(prefix="mps-"))
        folders = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
        for path in folders.values():
            Path(path).mkdir()
        # The service must see all GPUs, because its clients number them as they are without it.
        inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        try:
            subprocess.run(
                [CONTROL, "-d"],
                env=inherited | folders,
                check=True,
                timeout=START_SECONDS,
                capture_output=True,
                text=True,
            )
            serves(os.environ | folders)
        except (OSError, subprocess.SubprocessError) as error:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    [CONTROL], input="quit\n", env=inherited | folders, timeout=5, capture_output=True, text=True
                )
            shutil.rmtree(folder, ignore_errors=True)
            errors = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise OSError(errors[-1] if errors else type(error).__name__) from error
        # The keeper's standard input closes when this process ends, even if it is killed.
        wait_and_end = f'read -r _; echo quit | {CONTROL}; rm -rf "$1"'
        self._keeper = subprocess.Popen(
            ["sh", "-c", wait_and_end, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=inherited | folders,
            start_new_session=True,
        )
        self.environment = folders

    def close(self) -> None:
        """End the service, if this object started it."""
        if self._keeper and self._keeper.stdin:
            self._keeper.stdin.close()
            try:
                self._keeper.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._keeper.pid, signal.SIGKILL)  # the keeper and its control program
            self._keeper = None
