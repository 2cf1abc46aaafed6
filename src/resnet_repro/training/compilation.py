"""Compile the network for training steps, if that saves time over all its runs in a study."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
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
from resnet_repro.surroundings import compiler_cache
from resnet_repro.training.captured import cuda_graph

MOST_LAYERS = 200  # compile time grows faster than the number of layers: 1,202 layers take at least half an hour
ROUNDS = 7  # timed rounds, of which the gain is the median
LEAST_GAIN = 0.05  # smallest useful gain, as a fraction of the eager step's time; smaller ones are within the noise

# CPU. Measured on two threads of AMD EPYC family 26: 30 to 45 s cold for 20 layers as for 56, 3 to 4 s warm. Other
# processors take twice as long.
CPU_SECONDS = (45.0, 4.0)  # compile time: cold, and warm (this machine has compiled the same step before)
# Expected gain, as a fraction of the eager step's time. Measured on that processor: -0.03 to 0.02 in bf16, 0.07 to 0.15 in
# fp32; on other processors 0.1 to 0.2.
CPU_GAIN = 0.1
CPU_MULTIPLY_ADDS = {"bf16": 4e10, "fp32": 2.2e10}  # forward multiply-adds per thread and second, on that processor

# GPU, per layer. Estimated from published measurements (ResNet-50: 28 to 60 s on an A100, pytorch/benchmark#1547) and from
# kernel counts; benchmarks/gpu.py measures them, but has not been run yet.
GPU_SECONDS = (1.4, 0.4)  # compile time: cold, warm
GPU_GAIN = 17e-6  # seconds saved per step: fused kernels read and write memory less often


@dataclass(frozen=True)
class Share:
    """The training in a study over which the compilation of one network must pay off."""

    steps: int
    """Steps of all runs of the network, this run included."""
    runs: int = 1
    """Runs of the network, this run included."""
    at_once: int = 1
    """Runs that share a device. They start together, so all of them wait for a cold compilation."""


def wants_compilation(
    settings: RunSettings, classes: int, shape: tuple[int, int, int], share: Share, threads: int
) -> bool:
    """Whether compiling the training step on images of `shape` (C, H, W) is expected to pay off.

    Compares the compile time with the time saved in all runs of the network in the study (`share`). The saving is the
    measured one (`known_gain`), or an average if this machine has not compiled the step yet. `threads` counts on a CPU.
    Always False on MPS, for features computed once, above `MOST_LAYERS` layers, and without a C++ compiler.
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
    """Whether a C++ compiler is on the path. Inductor needs it for CPU kernels, Triton for its launchers on a GPU."""
    return any(shutil.which(name) is not None for name in ("c++", "g++", "clang++"))


def known_gain(settings: RunSettings, classes: int, shape: tuple[int, int, int]) -> float | None:
    """Fraction of the eager step's time that compiled kernels save, measured when this machine compiled the step.

    None if this machine has not compiled it.
    """
    try:
        return float(_mark(settings, classes, shape).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def use_own_cache() -> Path:
    """Use a compiler cache for this instruction set only, and return its folder.

    Kernels compiled for one instruction set give NaN or corrupt memory under another, and Inductor's cache does not
    distinguish them. Machines with a shared home directory therefore get subfolders of one cache.
    """
    cache = compiler_cache()
    subfolder = instruction_set()
    if cache.name != subfolder:
        cache /= subfolder
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    return cache


def instruction_set() -> str:
    """Identifier of the CPU that kernels are compiled for: torch's capability level, processor, and oneDNN's limit."""
    parts = (torch.backends.cpu.get_cpu_capability(), device_name("cpu"), os.environ.get("ONEDNN_MAX_CPU_ISA", ""))
    return f"{parts[0].lower()}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Trial:
    """The result of a trial compilation."""

    step: Callable[[Tensor], Tensor] | None
    """The compiled forward pass, or None. It shares the network's parameters and leaves its state-dict keys unchanged."""
    outcome: str
    """What happened, for the record."""
    failed: bool = False
    """Whether the compilation failed. A compilation that is too slow to use has not."""
    gain: float = 0.0
    """Measured fraction of the eager step's time that is saved; 0 if not measured."""


def compiled_once(
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    settings: RunSettings,
    classes: int,
    shape: tuple[int, int, int],
    anyway: bool = False,
) -> Trial:
    """Compile a step, under a lock that keeps other runs on this machine from compiling the same step.

    The first run compiles and measures the gain; later runs reuse its kernels and its measurement. If the gain is below
    `LEAST_GAIN`, the trial has no step, unless the run began with compiled kernels (`anyway`).
    """
    mark = _mark(settings, classes, shape)
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        with mark.with_suffix(".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            gain = known_gain(settings, classes, shape)
            if gain is None or gain >= LEAST_GAIN or anyway:
                trial = compiled_step(net, batch, settings.precision, measures=gain is None)
                if trial.failed:
                    return trial
                if gain is None:
                    gain = trial.gain
                    mark.write_text(f"{gain:.4f}\n", encoding="utf-8")
                if gain >= LEAST_GAIN or anyway:
                    return trial
    except OSError as error:
        return Trial(None, f"the compiler's cache cannot be written: {error}", failed=True)
    return Trial(None, f"compiled kernels save {100 * gain:.0f} % of a step here")


def compiled_step(net: nn.Module, batch: tuple[Tensor, Tensor], precision: str, measures: bool = False) -> Trial:
    """Compile `net` for training batches shaped like `batch`, and run it forward and backward.

    A failure thus shows here and not in the middle of a run. Afterwards parameters and batch statistics are unchanged,
    and the gradients are None. measures: also time the compiled step against the eager one.
    """
    images, labels = batch
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}

    def passes(forward: Callable[[Tensor], Any]) -> None:
        net.zero_grad(set_to_none=True)
        # The same autocast as Lightning's: under another one the first step would trace the graph again.
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
    except Exception as error:  # noqa: BLE001  a run continues without compilation after any compiler error
        torch._dynamo.reset()
        return Trial(None, in_a_line(error), failed=True)
    finally:
        net.load_state_dict(state)
        net.zero_grad(set_to_none=True)
    return Trial(step, "compiled", gain=gain)


def _measured(eager: Callable[[], None], compiled: Callable[[], None], on_gpu: bool) -> float:
    """`_gain`, or the average gain if the passes cannot be captured and so cannot be compared."""
    try:
        return _gain(eager, compiled, on_gpu)
    except RuntimeError as error:
        print(f"compiled kernels cannot be timed against eager ones: {error}", file=sys.stderr, flush=True)
        return CPU_GAIN


def _gain(eager: Callable[[], None], compiled: Callable[[], None], on_gpu: bool) -> float:
    """Fraction of the time of `eager` that `compiled` saves: the median over rounds that time both.

    On a GPU both run as CUDA graphs, by wall-clock time. On a CPU the process time counts, since other runs may take the
    cores.
    """
    passes = [eager, compiled]
    repeat = 1
    if on_gpu:
        for _ in range(2):
            eager()  # lets cuDNN choose its algorithms
        passes, repeat = [cuda_graph(one_pass) for one_pass in passes], 20
    clock = time.perf_counter if on_gpu else time.process_time
    gains = []
    for _ in range(ROUNDS):
        seconds = []
        for one_pass in passes:
            begin = clock()
            for _ in range(repeat):
                one_pass()
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(clock() - begin)
        gains.append(1 - seconds[1] / seconds[0])
    return median(gains)


def _autocast(device: str, precision: str):
    """The context that Lightning enters around a training step: none for fp32, autocast without a cache for bf16."""
    return torch.autocast(device, torch.bfloat16, cache_enabled=False) if precision == "bf16" else nullcontext()


def _mark(settings: RunSettings, classes: int, shape: tuple[int, int, int]) -> Path:
    """The file in the compiler's cache that marks this step as compiled and holds its gain."""
    kind = device_name("cuda") if settings.device == "cuda" else "cpu"
    key = (settings.arm.model, settings.arm.recipe.batch_size, classes, shape, settings.precision, kind)
    name = hashlib.sha256(repr((*key, torch.__version__)).encode()).hexdigest()[:16]
    return use_own_cache() / "steps" / name
