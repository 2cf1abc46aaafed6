"""How many runs share a GPU, and CUDA's multi-process service (MPS), through which they compute beside one another.

One run of a CIFAR net leaves an H100 mostly idle: its kernels take microseconds and fill a fraction of the card. Without
MPS the runs of several processes take turns; through it their kernels overlap, which gave three to four times the
throughput with small ResNets on an A100 (T. Robroek et al., arXiv 2209.06018).
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

# Forward multiply-adds of a training step up to which a net leaves most of a GPU idle: ResNet-110 on CIFAR has 3e10 at
# batch 128, ResNet-18 at 224 pixels 5e11 at batch 256.
SMALL = 1e11
MOST_THROUGH_MPS = 8  # more gain little: three to four are what the kernels of one leave free
MOST_BY_TURNS = 2  # one starts, scores or writes while the other trains
USABLE = 0.9  # of a GPU's memory; the rest is what other programs and the driver hold
CONTEXT = 3 * 2**29  # bytes that a process holds for CUDA, its libraries' workspaces and the data set
UNKNOWN_MEMORY = 16 * 2**30  # of a GPU that cannot be asked from here
CONTROL = "nvidia-cuda-mps-control"
START_SECONDS, END_SECONDS = 20, 90  # the runs have a minute to save when their launcher is gone
# What a client does first. The service starts its server then, and where it cannot every call of the client's fails.
CLIENT = """
import ctypes, sys
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
code = cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
sys.exit(f"CUDA's error {code}" if code else 0)
"""


@dataclass(frozen=True)
class Load:
    """What the largest of a study's runs asks of its device: forward multiply-adds of a training step, bytes of memory."""

    multiply_adds: float = 0.0
    memory: int = CONTEXT


def runs_a_gpu(load: Load, memory: int, cores: int, through_mps: bool) -> int:
    """How many runs pay on a GPU of so many bytes of memory, with so many cores beside it."""
    if load.multiply_adds > SMALL:
        return 1
    most = MOST_THROUGH_MPS if through_mps else MOST_BY_TURNS
    return max(1, min(most, cores, int(USABLE * memory) // load.memory))


def offers_mps() -> bool:
    """Whether runs on this machine can share a GPU through MPS: its control program is there, or a service that the
    environment names. Slices of a GPU (MIG) are left without.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG-"):
        return False
    return "CUDA_MPS_PIPE_DIRECTORY" in os.environ or shutil.which(CONTROL) is not None


def service_for(runs: int) -> Mps:
    """The service through which so many runs share a GPU; one that offers nothing where they need none, or cannot have it."""
    if runs > 1 and offers_mps():
        try:
            return Mps()
        except OSError as error:
            log.info(f"MPS cannot be started ({error}): runs take turns on a GPU")
    return Mps(start=False)


def serves(environment: Mapping[str, str]) -> None:
    """Let a process of a second or two be a client of the service. Raises OSError where it cannot."""
    try:
        client = subprocess.run(
            [sys.executable, "-c", CLIENT], env=environment, timeout=START_SECONDS, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise OSError("it lets no client in") from error
    if client.returncode:
        said = client.stderr.strip().splitlines()
        raise OSError(f"a client ends with {said[-1] if said else client.returncode}")


class Mps:
    """A service of our own, in a folder of its own: it needs no root and changes no setting of the card.

    It ends with `close`, and by itself when this process is gone. Where the environment names a service, that one is used
    and left alone. environment: what its clients find in theirs. start: false for none at all.
    Raises OSError where none can be started.
    """

    def __init__(self, start: bool = True) -> None:
        self.environment: dict[str, str] = {}
        self._keeper: subprocess.Popen | None = None
        if not start:
            return
        if "CUDA_MPS_PIPE_DIRECTORY" in os.environ:
            self.environment = {"CUDA_MPS_PIPE_DIRECTORY": os.environ["CUDA_MPS_PIPE_DIRECTORY"]}
            return
        folder = Path(tempfile.mkdtemp(prefix="mps-"))
        places = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
        for place in places.values():
            Path(place).mkdir()
        # The service sees all GPUs: its clients name theirs by the numbers that these have without it.
        inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        try:
            subprocess.run(
                [CONTROL, "-d"],
                env=inherited | places,
                check=True,
                timeout=START_SECONDS,
                capture_output=True,
                text=True,
            )
            serves(os.environ | places)
        except (OSError, subprocess.SubprocessError) as error:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    [CONTROL], input="quit\n", env=inherited | places, timeout=5, capture_output=True, text=True
                )
            shutil.rmtree(folder, ignore_errors=True)
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise OSError(said[-1] if said else type(error).__name__) from error
        # Its end of the pipe closes with this process, however that ends.
        wait_and_end = f'read -r _; echo quit | {CONTROL}; rm -rf "$1"'
        self._keeper = subprocess.Popen(
            ["sh", "-c", wait_and_end, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=inherited | places,
            start_new_session=True,
        )
        self.environment = places

    def close(self) -> None:
        """End the service that was started here."""
        if self._keeper and self._keeper.stdin:
            self._keeper.stdin.close()
            try:
                self._keeper.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._keeper.pid, signal.SIGKILL)  # the keeper and the control program that it waits for
            self._keeper = None
