"""What a measurement along a training is, and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import Data
from resnet_repro.files import Table
from resnet_repro.hardware import autocast

POINTS = 20


@dataclass(frozen=True)
class DiagnosticContext:
    """What a diagnostic looks at: the run's settings, folder and data, and its device."""

    settings: RunSettings
    folder: Path
    data: Data
    device: torch.device

    def autocast(self) -> torch.autocast:
        return autocast(self.device.type, self.settings.precision)


class Diagnostic:
    """One measurement. `tables` are rewound when a run goes on; `state` travels in its checkpoint."""

    def __init__(self, context: DiagnosticContext) -> None:
        self.context = context
        self.tables: list[Table] = []
        self.state: dict[str, Any] = {}

    def begin(self, net: nn.Module) -> None:
        """Called with the first weights, whenever the run's process starts."""

    def along(self, net: nn.Module, step: int) -> None:
        """Called at the points along the way, with the network as it is after `step` steps."""

    def finish(self, net: nn.Module) -> dict[str, float]:
        """Called with the finished network. Returns diagnostics by name."""
        return {}
