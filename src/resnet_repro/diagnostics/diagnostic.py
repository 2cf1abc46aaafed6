"""Base class of the optional diagnostics, and their inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import Data
from resnet_repro.hardware import autocast
from resnet_repro.tables import Table

POINTS = 20  # measurements over a schedule, besides the one before the first step


@dataclass(frozen=True)
class DiagnosticContext:
    """The run that a diagnostic measures."""

    settings: RunSettings
    folder: Path
    """Folder for tables: the run's folder on rank 0."""
    data: Data
    device: torch.device

    def autocast(self) -> torch.autocast:
        """The autocast context of the run's precision."""
        return autocast(self.device.type, self.settings.precision)


class Diagnostic:
    """One diagnostic. A resumed run rewinds its `tables` and restores its `state` from the checkpoint."""

    early: tuple[int, ...] = ()
    """Further steps at which `along` is called, for what changes fast at the start of a training."""
    only_early = False
    """`along` is called before the first step and at the steps `early` only: for costly measurements."""

    def __init__(self, context: DiagnosticContext) -> None:
        self.context = context
        self.tables: list[Table] = []
        self.state: dict[str, Any] = {}

    def begin(self, net: nn.Module) -> None:
        """Called with the run's first weights, also when the run is resumed."""

    def along(self, net: nn.Module, step: int) -> None:
        """Called about `POINTS` times during training and at the steps `early`, with the network after `step` steps."""

    def finish(self, net: nn.Module) -> dict[str, float]:
        """Called with the finished network. Returns values by name, for the record."""
        return {}
