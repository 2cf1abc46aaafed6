"""Checkpoints during training, and stops on request."""

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
    """Writes a checkpoint directly to its path.

    Lightning's own writer uses the folder for temporary files first. That folder may be too small, and a killed process
    leaves its file there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with Path(path).open(
            "wb"
        ) as file:  # given the path, torch would lose the reason of a failure, such as a full disk
            torch.save(checkpoint, file)


class Checkpoints(Callback):
    """Saves every `seconds` seconds, at step `stop_at`, and on a stop request. Each save is atomic.

    Comes after `Monitor` in the list of callbacks, so that the checkpoint at a step includes the monitor's rows of that
    step. Processes that train together save and stop at the same step: rank 0 decides when a save is due, and a stop
    request to any process stops all.
    """

    def __init__(self, folder: Path, seconds: float, stop_at: int, dist: DistContext = ALONE) -> None:
        self.path, self.seconds, self.stop_at, self.dist = folder / CHECKPOINT, seconds, stop_at, dist
        self.stop_requested = False
        self._saved = time.monotonic()

    def follow_signals(self) -> None:
        """On SIGINT and SIGTERM, save and stop after the current step."""

        def request(*_: object) -> None:
            self.stop_requested = True

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, request)
            signal.signal(signal.SIGTERM, request)

    def is_to_stop(self) -> bool:
        """Whether any process was asked to stop, possibly after the last step. All processes must call this."""
        return bool(self.dist.all_reduce_max(int(self.stop_requested)))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning's handler would replace ours from here on. It ends the training at once, so that nothing is saved if the
        # signal comes after our check of a step, and it communicates with other processes inside the signal handler.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        if self.dist.size > 1:
            # Lightning synchronizes all processes through their devices at every step; we synchronize through the hosts.
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self.dist.is_main and time.monotonic() - self._saved >= self.seconds
        action = 2 if self.stop_requested else int(due)  # 0: continue, 1: save, 2: save and stop
        action = self.dist.all_reduce_max(action)
        if action or trainer.global_step == self.stop_at:
            self._save(trainer)
        if action == 2:
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
