"""Takes an arm's own measurements while it trains."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from resnet_repro.diagnostics.watch import POINTS, Watch
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.monitor import Monitor


class Watching(Callback):
    """Calls the watches at their points; stands between the monitor and the checkpoints in the list of callbacks."""

    def __init__(self, watches: dict[str, Watch], monitor: Monitor, iterations: int) -> None:
        self.watches, self.monitor = watches, monitor
        self.every = max(1, iterations // POINTS)

    def state_dict(self) -> dict[str, Any]:
        return {name: watch.state for name, watch in self.watches.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, state in state_dict.items():
            self.watches[name].state = state

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        for watch in self.watches.values():
            for table in watch.tables:
                table.rewind(trainer.global_step if trainer.global_step else -1)
        if trainer.global_step == 0:
            self._along(pl_module, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classifier)
        if trainer.global_step % self.every == 0:
            self._along(pl_module, trainer.global_step)

    def _along(self, module: Classifier, step: int) -> None:
        if not self.watches:
            return
        begin = time.monotonic()
        for watch in self.watches.values():
            watch.along(module.net, step)
        self.monitor.exclude(time.monotonic() - begin)

    def finish(self, module: Classifier) -> dict[str, float]:
        """Diagnostics of the finished network, from all watches."""
        found: dict[str, float] = {}
        for watch in self.watches.values():
            found |= watch.finish(module.net)
        return found
