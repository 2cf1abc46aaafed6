"""Choose how a run takes its steps: eager or compiled kernels, and on a GPU one CUDA graph.

The choice changes only the last digits of the results.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from resnet_repro.config.execution import Execution
from resnet_repro.config.settings import FEWEST_CAPTURED, RunSettings
from resnet_repro.data.base import Data
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.compilation import Share, compiled_once, wants_compilation


def choose_kernels(
    module: Classifier,
    batch: tuple[torch.Tensor, torch.Tensor],
    data: Data,
    settings: RunSettings,
    execution: Execution,
    checkpoint: Path,
    activations: str,
) -> tuple[str, str | None]:
    """Use compiled kernels in `module` if they are expected to pay off, or if the run in `checkpoint` began with them.

    Returns the choice, for the record, and a remark for the user if the compilation failed.
    """
    if activations == "recomputed":
        return "not compiled (activations are recomputed)", None
    if data.dist.size > 1:
        return "not compiled (several processes)", None
    began_compiled = _began_compiled(checkpoint)
    compiles = began_compiled
    if began_compiled is None:
        at_once = max(1, round(1 / execution.memory_share))
        share = Share(execution.net_steps or settings.scheduled, max(1, execution.net_runs), at_once)
        compiles = wants_compilation(settings, data.classes, data.shape, share, execution.threads)
    if not compiles:
        return "not compiled", None
    full_batch = _as_trained(batch, settings.arm.recipe.batch_size)
    trial = compiled_once(module.net, full_batch, settings, data.classes, data.shape, anyway=bool(began_compiled))
    if trial.step is not None:
        module.call_compiled(trial.step)
        return trial.outcome, None
    remark = f"torch.compile failed; the run continues without it ({trial.outcome})" if trial.failed else None
    if remark:
        print(remark, file=sys.stderr, flush=True)
    return f"not compiled ({trial.outcome})", remark


def choose_graph(module: Classifier, data: Data, settings: RunSettings) -> None:
    """Make `module` replay its step as one CUDA graph, if this is possible and the run is long enough."""
    if data.device.type == "cuda" and data.dist.size == 1 and settings.stop_at >= FEWEST_CAPTURED:
        module.capture_steps()


def _as_trained(batch: tuple[torch.Tensor, torch.Tensor], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`batch` in the size and layout of training batches. Images repeat if some of the batch could not be read."""
    images, labels = batch
    index = torch.arange(size, device=labels.device) % len(labels)
    return images[index].contiguous(memory_format=torch.channels_last), labels[index]


def _began_compiled(checkpoint: Path) -> bool | None:
    """Whether the run in a checkpoint began with compiled kernels. None if there is no checkpoint or it does not say."""
    if not checkpoint.exists():
        return None
    return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True).get("compiled")
