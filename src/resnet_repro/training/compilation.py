"""The training step compiled, where that pays: on a GPU, which small nets leave waiting for launches, and in long CPU runs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_repro.analysis.complexity import describe
from resnet_repro.experiment import RunSettings
from resnet_repro.models.heads import training_loss
from resnet_repro.training.devices import device_name

# A core does some 8e9 forward multiply-adds a second in training. Compiling takes half a minute (plain-20) to a minute
# and a half (resnet-56) and gains a tenth to a fifth of the time: it pays for runs of more than about 40 minutes.
CPU_MULTIPLY_ADDS = 2e13


def wants_compilation(settings: RunSettings, classes: int, shape: tuple[int, int, int]) -> bool:
    """Whether compiling the training step on images of `shape` (C, H, W) is expected to pay for itself.

    On a CPU by the forward passes of the whole run, those of a resumed one already done among them, so that it goes on
    as it began; of a prefix by those of the whole schedule, since a longer one may continue it. They are not counted where
    that decides nothing: where no compiler is installed, and where the features are computed once, before the training.
    """
    if settings.device == "cuda":
        return True
    if settings.device != "cpu" or settings.arm.features == "once" or shutil.which("c++") is None:
        return False
    per_image = describe(settings.arm.model, classes, shape)["multiply_adds"]
    steps = settings.stop_at if settings.prefix is None else settings.whole
    return per_image * settings.arm.recipe.batch_size * steps >= CPU_MULTIPLY_ADDS


def use_own_cache() -> None:
    """Keep the compiler's cache apart from that of other instruction sets: kernels that were compiled for one give NaN, or
    corrupt memory, under another, and the cache does not tell them apart.

    A folder of a home directory that machines share holds those of all.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # seconds to import, for those that compile

    cache = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or default_cache_dir())
    own = instruction_set()
    if cache.name != own:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache / own)


def instruction_set() -> str:
    """The name of what kernels are compiled for here: torch's own level, the processor, and what limits oneDNN."""
    parts = (torch.backends.cpu.get_cpu_capability(), device_name("cpu"), os.environ.get("ONEDNN_MAX_CPU_ISA", ""))
    return f"{parts[0].lower()}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def compiled_step(
    net: nn.Module, batch: tuple[Tensor, Tensor], precision: str
) -> tuple[Callable[[Tensor], Tensor] | None, str]:
    """A compiled forward of `net` for training batches shaped like `batch`, tried out; or None and the reason.

    The compiled function shares the network's parameters and leaves its state-dict keys alone. It is called a few
    times, forward and backward, so that a failure shows here and not in the middle of a run; parameters, batch
    statistics and gradients are then as before. On CUDA the kernels are captured in a graph and replayed.
    """
    images, labels = batch
    use_own_cache()
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    step = torch.compile(net, mode="reduce-overhead" if images.is_cuda else "default", dynamic=False)
    try:
        for _ in range(3):
            net.zero_grad(set_to_none=True)  # a captured graph writes its gradients to the same place again
            # As Lightning's, its cache off: a graph traced under other settings would be traced anew at the first step.
            with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
                loss, _ = training_loss(step(images), labels)
            loss.backward()
    except Exception as error:  # noqa: BLE001  whatever the compiler stumbles over, the run goes on without it
        torch._dynamo.reset()
        return None, f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    finally:
        net.load_state_dict(state)
        net.zero_grad(set_to_none=True)
    return step, "compiled"
