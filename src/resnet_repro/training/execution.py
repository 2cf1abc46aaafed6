"""How a run's steps are carried out: by which kernels, compiled or not, and on a GPU as one graph. None of it is part of
what the run computes, but for the last digits.
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
    """Put compiled kernels into `module` where they are expected to pay, or where the run in `checkpoint` began with them.

    Returns what was done, for the record, and what the user should know: a failure, or None.
    """
    if activations == "recomputed":
        return "not compiled (activations are recomputed)", None
    if data.dist.size > 1:
        return "not compiled (several processes)", None
    began = _began_compiled(checkpoint)
    wants = began
    if began is None:
        together = max(1, round(1 / execution.memory_share))
        share = Share(execution.net_steps or settings.scheduled, max(1, execution.net_runs), together)
        wants = wants_compilation(settings, data.classes, data.shape, share, execution.threads)
    if not wants:
        return "not compiled", None
    whole = _as_trained(batch, settings.arm.recipe.batch_size)
    trial = compiled_once(module.net, whole, settings, data.classes, data.shape, anyway=bool(began))
    if trial.step is not None:
        module.call_compiled(trial.step)
        return trial.outcome, None
    remark = f"torch.compile failed, and the run goes on without it ({trial.outcome})" if trial.failed else None
    if remark:
        print(remark, file=sys.stderr, flush=True)
    return f"not compiled ({trial.outcome})", remark


def choose_graph(module: Classifier, data: Data, settings: RunSettings) -> None:
    """Let `module` replay its step as one CUDA graph where that can be done and is worth while."""
    if data.device.type == "cuda" and data.dist.size == 1 and settings.stop_at >= FEWEST_CAPTURED:
        module.capture_steps()


def _as_trained(batch: tuple[torch.Tensor, torch.Tensor], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of the size and layout that training steps have, also where some of its images could not be read."""
    images, labels = batch
    index = torch.arange(size, device=labels.device) % len(labels)
    return images[index].contiguous(memory_format=torch.channels_last), labels[index]


def _began_compiled(checkpoint: Path) -> bool | None:
    """Whether the run in a checkpoint has trained with compiled kernels; None where there is none, or it does not say."""
    if not checkpoint.exists():
        return None
    return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True).get("compiled")
