"""The training step's kernels made by a compiler, where that pays over all runs of a network in a study."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.config.settings import RunSettings
from resnet_repro.diagnostics.complexity import describe
from resnet_repro.errors import in_a_line
from resnet_repro.hardware import device_name
from resnet_repro.models.heads import training_loss
from resnet_repro.training.captured import cuda_graph

MOST_LAYERS = 200  # the compiler's time grows faster than the layers: 1202 take it half an hour or more
ROUNDS = 7  # of a measurement
LEAST_GAIN = 0.05  # of a step's time, measured; what is less is lost in the noise of the measurement

# On a CPU, two threads of AMD EPYC family 26: 30 to 45 s for 20 layers as for 56, then 3 to 4; other processors twice that.
CPU_SECONDS = (45.0, 4.0)  # cold, and where the machine has compiled the same before
CPU_GAIN = (
    0.1  # expected of a step's time; measured: -0.03 to 0.02 (that processor, bf16), 0.07 to 0.15 (fp32), 0.1 to 0.2
)
CPU_MULTIPLY_ADDS = {"bf16": 4e10, "fp32": 2.2e10}  # forward, of a thread in a second of training, there

# On a GPU, for each layer: estimated from others' measurements (resnet50 28 to 60 s on an A100, pytorch/benchmark#1547) and
# from counted kernels, not yet measured here: benchmarks/gpu.py does.
GPU_SECONDS = (1.4, 0.4)
GPU_GAIN = 17e-6  # seconds of a step: passes over memory that fused kernels save


@dataclass(frozen=True)
class Share:
    """What a study trains of one network on a machine: steps and runs in all, this one's among them, at once."""

    steps: int
    runs: int = 1
    at_once: int = 1


def wants_compilation(
    settings: RunSettings, classes: int, shape: tuple[int, int, int], share: Share, threads: int
) -> bool:
    """Whether compiling the training step on images of `shape` (C, H, W) is expected to pay for itself.

    Weighed are what it takes, less where this machine has compiled the same before, and what it saves in all runs of the
    network in the study, as measured by then, else as it is on the average; those that begin together wait for the one that
    compiles. Never where no compiler is installed, and where the features are computed once, before the training.
    """
    on_cpu = settings.device == "cpu"
    if settings.device == "mps" or settings.arm.features == "once" or not has_compiler():
        return False
    facts = describe(settings.arm.model, classes, shape)
    if facts["layers"] > MOST_LAYERS:
        return False
    if on_cpu:
        cold, warm = CPU_SECONDS
        batch = facts["multiply_adds"] * settings.arm.recipe.batch_size
        saves = CPU_GAIN * batch * share.steps / (CPU_MULTIPLY_ADDS[settings.precision] * threads)
    else:
        cold, warm = (seconds * facts["layers"] for seconds in GPU_SECONDS)
        saves = GPU_GAIN * facts["layers"] * share.steps
    gain = known_gain(settings, classes, shape)
    if gain is None:
        return saves > cold * min(share.runs, share.at_once) + warm * share.runs
    return gain >= LEAST_GAIN and saves * (gain / CPU_GAIN if on_cpu else 1) > warm * share.runs


def has_compiler() -> bool:
    """Whether a C++ compiler is on the path: Inductor's kernels need it on a CPU, and Triton's launchers on a GPU."""
    return any(shutil.which(name) is not None for name in ("c++", "g++", "clang++"))


def known_gain(settings: RunSettings, classes: int, shape: tuple[int, int, int]) -> float | None:
    """The part of a step's time that compiled kernels save on this machine, measured when they were compiled here; None
    where they have not been.
    """
    try:
        return float(_mark(settings, classes, shape).read_text())
    except (OSError, ValueError):
        return None


def use_own_cache() -> Path:
    """Keep the compiler's cache apart from that of other instruction sets: kernels that were compiled for one give NaN, or
    corrupt memory, under another, and the cache does not tell them apart.

    A folder of a home directory that machines share holds those of all. Returns the one of this.
    """
    # Inductor's own default, which takes seconds to import.
    try:
        user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    default = Path(tempfile.gettempdir(), f"torchinductor_{user}")
    cache = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or default)
    own = instruction_set()
    if cache.name != own:
        cache /= own
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    return cache


def instruction_set() -> str:
    """The name of what kernels are compiled for here: torch's own level, the processor, and what limits oneDNN."""
    parts = (torch.backends.cpu.get_cpu_capability(), device_name("cpu"), os.environ.get("ONEDNN_MAX_CPU_ISA", ""))
    return f"{parts[0].lower()}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Trial:
    """A compiled forward, or None; what became of it, in words for the record; whether that was a failure.

    The compiled function shares the network's parameters and leaves its state-dict keys alone. gain: see `known_gain`.
    """

    step: Callable[[Tensor], Tensor] | None
    outcome: str
    failed: bool = False
    gain: float = 0.0


def compiled_once(
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    settings: RunSettings,
    classes: int,
    shape: tuple[int, int, int],
    anyway: bool = False,
) -> Trial:
    """Compile a step while no other run on this machine compiles the same: the first does, the others find its kernels, and
    what it has measured of them. Where they are no faster there is no step, but for a run that began with them (`anyway`).
    """
    mark = _mark(settings, classes, shape)
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        with mark.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            gain = known_gain(settings, classes, shape)
            if gain is None or gain >= LEAST_GAIN or anyway:
                trial = compiled_step(net, batch, settings.precision, measures=gain is None)
                if trial.failed:
                    return trial
                if gain is None:
                    gain = trial.gain
                    mark.write_text(f"{gain:.4f}\n")
                if gain >= LEAST_GAIN or anyway:
                    return trial
    except OSError as error:
        return Trial(None, f"the compiler's cache cannot be written: {error}", failed=True)
    return Trial(None, f"compiled kernels save {100 * gain:.0f} % of a step here")


def compiled_step(net: nn.Module, batch: tuple[Tensor, Tensor], precision: str, measures: bool = False) -> Trial:
    """Compile the forward of `net` for training batches shaped like `batch`, and try it out, forward and backward.

    So a failure shows here and not in the middle of a run. Parameters, batch statistics and gradients are then as before.
    measures: time its step against the eager one too.
    """
    images, labels = batch
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}

    def passes(forward: Callable[[Tensor], Any]) -> None:
        net.zero_grad(set_to_none=True)
        # As Lightning's: a graph traced under other settings would be traced anew at the first step.
        with _autocast(images.device.type, precision):
            loss, _ = training_loss(forward(images), labels)
        loss.backward()

    gain = 0.0
    try:
        step = torch.compile(net, dynamic=False)
        for _ in range(2):
            passes(step)
        if measures:
            gain = _measured(lambda: passes(net), lambda: passes(step), images.is_cuda)
    except Exception as error:  # noqa: BLE001  whatever the compiler stumbles over, the run goes on without it
        torch._dynamo.reset()
        return Trial(None, in_a_line(error), failed=True)
    finally:
        net.load_state_dict(state)
        net.zero_grad(set_to_none=True)
    return Trial(step, "compiled", gain=gain)


def _measured(eager: Callable[[], None], compiled: Callable[[], None], on_gpu: bool) -> float:
    """`_gain`; what is expected on the average where the passes cannot be captured and therefore not be compared."""
    try:
        return _gain(eager, compiled, on_gpu)
    except RuntimeError as error:
        print(f"compiled kernels cannot be timed against eager ones: {error}", file=sys.stderr, flush=True)
        return CPU_GAIN


def _gain(eager: Callable[[], None], compiled: Callable[[], None], on_gpu: bool) -> float:
    """The part of its time that `compiled` saves of `eager`: timed in turns, the median of the rounds; on a GPU as graphs, on
    a CPU by the time that the process has computed, since other runs may have the cores meanwhile.
    """
    ways = [eager, compiled]
    repeat = 1
    if on_gpu:
        for _ in range(2):
            eager()  # cuDNN chooses its algorithms
        ways, repeat = [cuda_graph(way) for way in ways], 20
    clock = time.perf_counter if on_gpu else time.process_time
    gains = []
    for _ in range(ROUNDS):
        seconds = []
        for way in ways:
            begin = clock()
            for _ in range(repeat):
                way()
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(clock() - begin)
        gains.append(1 - seconds[1] / seconds[0])
    return median(gains)


def _autocast(device: str, precision: str):
    """What Lightning's precision enters around a training step: none for float32, one without a cache for bf16."""
    return torch.autocast(device, torch.bfloat16, cache_enabled=False) if precision == "bf16" else nullcontext()


def _mark(settings: RunSettings, classes: int, shape: tuple[int, int, int]) -> Path:
    """A file in the compiler's cache that says that the step of such runs has been compiled, and what it gains."""
    kind = device_name("cuda") if settings.device == "cuda" else "cpu"
    what = (settings.arm.model, settings.arm.recipe.batch_size, classes, shape, settings.precision, kind)
    name = hashlib.sha256(repr((*what, torch.__version__)).encode()).hexdigest()[:16]
    return use_own_cache() / "steps" / name
