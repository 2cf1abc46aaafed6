"""Lightning callback that takes the diagnostics of an arm during training."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from resnet_repro.diagnostics.diagnostic import POINTS, Diagnostic
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.monitor import Monitor


class DiagnosticsCallback(Callback):
    """Calls the diagnostics at their points. Comes between `Monitor` and `Checkpoints` in the list of callbacks."""

    def __init__(self, diagnostics: dict[str, Diagnostic], monitor: Monitor, iterations: int) -> None:
        self.diagnostics, self.monitor = diagnostics, monitor
        self.every = max(1, iterations // POINTS)

    @property
    def state_key(self) -> str:
        """Key of its state in checkpoints: the name of the class when the first checkpoints were written."""
        return "Watching"

    def state_dict(self) -> dict[str, Any]:
        return {name: diagnostic.state for name, diagnostic in self.diagnostics.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, state in state_dict.items():
            self.diagnostics[name].state = state

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        for diagnostic in self.diagnostics.values():
            for table in diagnostic.tables:
                table.rewind(trainer.global_step if trainer.global_step else -1)
        if trainer.global_step == 0:
            self._along(pl_module, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classifier)
        self._along(pl_module, trainer.global_step)

    def _along(self, module: Classifier, step: int) -> None:
        regular = step % self.every == 0
        due = [d for d in self.diagnostics.values() if step == 0 or step in d.early or (regular and not d.only_early)]
        if not due:
            return
        begin = time.monotonic()
        for diagnostic in due:
            diagnostic.along(module.net, step)
        self.monitor.exclude(time.monotonic() - begin)

    def finish(self, module: Classifier) -> dict[str, float]:
        """Values of all diagnostics on the finished network, by name."""
        values: dict[str, float] = {}
        for diagnostic in self.diagnostics.values():
            values |= diagnostic.finish(module.net)
        return values
