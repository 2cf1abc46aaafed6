"""Checkpoints along a training, and the way out of it."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback

from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.files import sync_to_disk
from resnet_repro.records.layout import CHECKPOINT


class InPlace(TorchCheckpointIO):
    """Writes a checkpoint where it is asked to. Lightning's own writes it to the folder for temporary files first, which
    may be small, and where a kill leaves it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        torch.save(checkpoint, path)


class Checkpoints(Callback):
    """Saves every `seconds` seconds, at the last step, and when asked to stop; each time whole or not at all.

    Stands after the monitor in the list of callbacks, so that a checkpoint at a step includes what the monitor wrote
    at that step. Processes that train together save and stop at the same step: the main one's clock counts, and the
    request to any of them.
    """

    def __init__(self, folder: Path, seconds: float, stop_at: int, dist: DistContext = ALONE) -> None:
        self.path, self.seconds, self.stop_at, self.dist = folder / CHECKPOINT, seconds, stop_at, dist
        self.stop_requested = False
        self._saved = time.monotonic()

    def follow_signals(self) -> None:
        """Ask the run to save and stop after the current step on SIGINT, SIGTERM, and when the launcher is gone."""

        def request(*_: object) -> None:
            self.stop_requested = True

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, request)
            signal.signal(signal.SIGTERM, request)

    def is_to_stop(self) -> bool:
        """Whether any of the processes was asked to stop, also after the last step's look; all of them call this."""
        return bool(self.dist.all_reduce_max(int(self.stop_requested)))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning's own handler would stand before ours from here on. It ends the training where it is, with nothing
        # saved when the signal comes after our look at a step, and talks to other processes from within the signal.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        if self.dist.size > 1:
            # Lightning's loop asks the device of every process at every step; ours ask the hosts.
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self.dist.is_main and time.monotonic() - self._saved >= self.seconds
        wanted = 2 if self.stop_requested else int(due)
        wanted = self.dist.all_reduce_max(wanted)
        if wanted or trainer.global_step == self.stop_at:
            self._save(trainer)
        if wanted == 2:
            self.stop_requested = True
            trainer.should_stop = True

    def _save(self, trainer: pl.Trainer) -> None:
        temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            trainer.save_checkpoint(temporary, weights_only=False)
            if self.dist.is_main:
                sync_to_disk(temporary)
                temporary.replace(self.path)
        finally:
            if self.dist.is_main:
                temporary.unlink(missing_ok=True)
        self._saved = time.monotonic()
