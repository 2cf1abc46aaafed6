"""Tables and progress that a run writes while it trains: metrics, evaluations, gradients, speed."""

from __future__ import annotations

import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from resnet_repro.config.schedule import ends_warm_up, learning_rate
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import Data
from resnet_repro.data.stream import EVALUATION_IMAGES, steps_per_epoch
from resnet_repro.diagnostics.evaluation import Observer, Score, evaluate
from resnet_repro.errors import UserError
from resnet_repro.records.entries import Parent
from resnet_repro.records.progress import write_progress
from resnet_repro.tables import DIGITS, METRIC_DIGITS, Table
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.energy import energy_meter
from resnet_repro.training.memory import peak_memory_mib

LOG_POINTS = 100  # readings of the running loss in a schedule; they are at most 100 steps apart
GRADIENT_POINTS = 40  # readings of the gradient norms in a schedule, besides those at evaluations
PROGRESS_SECONDS = 1.0


class Monitor(Callback):
    """Reads the running loss at intervals, scores the network at evaluations, and writes both to tables.

    Checkpoints hold its state, so a resumed run continues with the same sums and the same tables.
    """

    def __init__(
        self,
        settings: RunSettings,
        folder: Path,
        data: Data,
        parent: Parent | None = None,
        gpu_share: float = 1.0,
    ) -> None:
        """gpu_share: the run's share of its GPU, for its energy."""
        self.settings, self.folder, self.data, self.parent = settings, folder, data, parent
        self.has_classes = settings.arm.task == "classify"
        self.log_every = settings.arm.read_every or min(100, max(1, settings.iterations // LOG_POINTS))
        self.gradients_every = max(1, settings.iterations // GRADIENT_POINTS)
        self.metrics = Table(
            folder / "metrics.csv",
            (
                "epoch",
                "learning_rate",
                "running_train_loss",
                "running_train_error",
                "train_loss",
                "train_error",
                "train_images",
                "validation_loss",
                "validation_error",
                "test_loss",
                "test_error",
                "test_images",
            ),
            METRIC_DIGITS,
        )
        self.speed = Table(folder / "speed.csv", ("seconds", "images_per_second"))
        self.gradients = Table(folder / "gradients.csv", ("layer", "name", "norm"), DIGITS)
        self.seconds = 0.0  # of training and evaluation, also in earlier processes of a resumed run
        self.training_seconds = 0.0
        self.training_images = 0
        self.peak_memory_mib = 0.0  # of earlier processes of a resumed run
        self.unread_seconds = 0.0  # of training between the last reading and the checkpoint
        self.best: dict[str, float] | None = None
        self.diverged_at = 0
        self.last: dict[str, float | None] = {"loss": None, "error": None, "test_error": None}
        self.energy = energy_meter(data.device, gpu_share)
        self.remarks: list[str] = []  # for the user, on how the run is trained
        self._clock = self._mark = time.monotonic()
        self._said = 0.0

    # -- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        self.write_tables(durable=True)  # the rows before a checkpoint must survive a crash
        self.tick()
        return {
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "unread_seconds": time.monotonic() - self._mark,
            "training_images": self.training_images,
            "peak_memory_mib": max(self.peak_memory_mib, peak_memory_mib(self.data.device)),
            "best": self.best,
            "last": self.last,
            "energy": self.energy.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            if name != "energy":
                setattr(self, name, value)
        self.energy.resume(state_dict.get("energy"), self.seconds)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        assert isinstance(pl_module, Classifier)
        *sums, images = self.data.dist.all_reduce_sum(pl_module.unread()).cpu()
        checkpoint["running_sums"] = torch.stack(sums)
        checkpoint["running_images"] = int(images)
        checkpoint["diverged_at"] = pl_module.diverged_at.cpu()
        checkpoint["warmed_up_at"] = pl_module.warmed_up_at
        checkpoint["parent"] = self.parent.weights_sha256 if self.parent else None
        checkpoint["learning_rate"] = pl_module.recipe.learning_rate
        checkpoint["broken"] = [image for images in self.data.dist.all_gather(self.data.broken()) for image in images]

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        assert isinstance(pl_module, Classifier)
        if checkpoint["parent"] != (self.parent.weights_sha256 if self.parent else None):
            raise UserError(
                f"{self.folder} started from weights that its parent no longer has: "
                f"delete {self.folder} to train it again"
            )
        rate = pl_module.recipe.learning_rate
        if checkpoint.get("learning_rate", rate) != rate:
            raise UserError(
                f"{self.folder} began with learning rate {checkpoint['learning_rate']}, but its search now finds {rate}: "
                f"delete {self.folder} to train it again"
            )
        self.data.mark_broken(checkpoint.get("broken", []))
        pl_module.warmed_up_at = checkpoint["warmed_up_at"]
        is_main = int(self.data.dist.is_main)  # the checkpoint holds sums over all processes: rank 0 continues them
        pl_module.sums = checkpoint["running_sums"] * is_main
        pl_module.images = checkpoint["running_images"] * is_main
        pl_module.diverged_at = checkpoint["diverged_at"]
        self.diverged_at = max(0, int(pl_module.diverged_at))  # also if no step is left at which to read it

    def write_tables(self, durable: bool = False) -> None:
        """Write the rows held in memory; see `Table.write`."""
        for table in (self.metrics, self.speed, self.gradients):
            table.write(durable)

    def exclude(self, seconds: float) -> None:
        """Exclude `seconds` from the training time."""
        self._mark += seconds

    def tick(self) -> None:
        """Update `seconds`."""
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now

    # -- hooks -----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._clock = time.monotonic()
        self.energy.restart()
        self._mark = self._clock - self.unread_seconds
        for table in (self.metrics, self.speed, self.gradients):
            table.rewind(trainer.global_step)
        if self.diverged_at and self._reads(trainer.global_step):  # it was about to end when the checkpoint was saved
            trainer.should_stop = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classifier)
        step = trainer.global_step + 1
        # The end of an arm's share does not count, so that short controls are read at the same steps as other arms.
        every = (self.gradients_every, self.settings.evaluate_every, self.settings.iterations)
        pl_module.reads_gradients = step == 1 or any(step % interval == 0 for interval in every)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classifier)
        step = trainer.global_step
        if self._reads(step):
            self._read(pl_module, step, self._evaluates(step))
            if self.diverged_at:
                trainer.should_stop = True
                return
        if pl_module.gradient_norms is not None:
            self._write_gradients(pl_module, step)
        captured = pl_module.captured
        if captured and captured.failure:
            self._remark(f"steps run eagerly: the CUDA graph could not be captured ({captured.failure})")
        if pl_module.lone_steps:
            self._remark(
                "a step has one image, which batch normalization cannot normalize at this resolution: such steps use the "
                "running statistics (the record counts them as lone_steps)"
            )
        for text in self.data.remarks():
            self._remark(text)
        if time.monotonic() - self._said > PROGRESS_SECONDS:
            self.say("running", step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write_tables()

    def read_rest(self, module: Classifier, step: int) -> None:
        """Read the steps since the last reading, if a prefix ends at `step`, between two readings.

        The last checkpoint was saved before: a longer run continues with these steps unread. Not a hook: Lightning calls
        none if a run that is resumed has no step left.
        """
        settings = self.settings
        if settings.prefix is None or step != settings.stop_at or self._reads(step):
            return
        loss, error, images = module.read_sums()
        self.training_seconds += time.monotonic() - self._mark
        self.training_images += images
        self.diverged_at = max(0, int(module.diverged_at))
        self.last |= {"loss": _finite(loss), "error": error if self.has_classes else None}

    def _remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)
            print(text, flush=True)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _evaluates(self, step: int) -> bool:
        """Whether `step` is at an evaluation interval, or at the end of the run, which `finish` scores after the fit.

        The end of a prefix does not count, so that its rows are those of the whole run.
        """
        ends = step == self.settings.stop_at and self.settings.prefix is None
        return step % self.settings.evaluate_every == 0 or ends

    def _reads(self, step: int) -> bool:
        return step % self.log_every == 0 or self._evaluates(step)

    def _read(self, module: Classifier, step: int, evaluates: bool) -> None:
        loss, error, images = module.read_sums()
        now = time.monotonic()
        self.training_seconds += now - self._mark
        self.training_images += images
        rate = images / max(now - self._mark, 1e-9)
        self.diverged_at = max(0, int(module.diverged_at))
        self.last |= {"loss": _finite(loss), "error": error if self.has_classes else None}
        recipe, settings = module.recipe, self.settings
        row: dict[str, Any] = {
            "iteration": step,
            "epoch": step / steps_per_epoch(self.data.images("train"), recipe.batch_size),
            "learning_rate": learning_rate(recipe, settings.iterations, step - 1, module.warmed_up_at),
            "running_train_loss": loss if math.isfinite(loss) else None,
            "running_train_error": error if self.has_classes else None,
        }
        if module.warmed_up_at is None and self._is_whole(step):
            ends = ends_warm_up(recipe.warm_up, error, self.data.classes)
            module.warmed_up_at = step if ends else None
        along = step < settings.stop_at or settings.prefix is not None
        if evaluates and along and settings.stretch is None and not self.diverged_at:
            self.say("evaluating", step)
            row |= self.score_along(module, step)
        self.metrics.hold([row])
        self.tick()
        self.speed.hold([{"iteration": step, "seconds": round(self.seconds, 3), "images_per_second": round(rate, 1)}])
        self._mark = time.monotonic()

    def _is_whole(self, step: int) -> bool:
        """Whether the reading at `step` covers a whole interval, with no evaluation inside that shortens it."""
        last_evaluation = (step - 1) // self.settings.evaluate_every * self.settings.evaluate_every
        return step % self.log_every == 0 and step - last_evaluation >= self.log_every

    def score_along(self, module: Classifier, step: int) -> dict[str, Any]:
        """Loss and error during training, on as many images as the settings allow."""
        scored = self.settings.scored
        if scored is None:
            return self._score(module, step, EVALUATION_IMAGES, None)
        return self._score(module, step, min(EVALUATION_IMAGES, scored.along), scored.along)

    def score_finished(self, module: Classifier, step: int, observe: Observer | None = None) -> dict[str, Any]:
        """Loss and error after the last step. A control is scored on part of the training images only.

        observe: see `evaluate`; called for the test images.
        """
        scored, control = self.settings.scored, self.settings.arm.control
        train_images = self.data.images("train") if scored is None else scored.train
        return self._score(
            module,
            step,
            min(EVALUATION_IMAGES, train_images) if control else train_images,
            scored and scored.test,
            observe,
        )

    def _score(
        self, module: Classifier, step: int, train_images: int, others: int | None, observe: Observer | None = None
    ) -> dict[str, Any]:
        """Loss and error on the first `train_images` training images, un-augmented, and on `others` of each other split.

        others: first images of each split. None: all of them. Without classes there are losses only.
        """
        train = self._evaluate(module, "train", train_images)
        test = self._evaluate(module, "test", others, observe)
        held_out: dict[str, float | None] = {}
        if "validation" in self.data.splits:
            validation = self._evaluate(module, "validation", others)
            held_out = self._scored("validation", validation)
        scores = {
            **self._scored("train", train),
            "train_images": train.images,
            **held_out,
            **self._scored("test", test),
            "test_images": test.images,
        }
        if not self.has_classes:
            return scores
        # A score on more images always replaces one on fewer, whose low error may be luck.
        best = self.best or {"test_error": math.inf, "test_images": 0}
        if (-test.images, test.error) < (-best.get("test_images", test.images), best["test_error"]):
            self.best = {"test_error": test.error, "iteration": step, "test_images": test.images}
        self.last["test_error"] = test.error
        return scores

    def _scored(self, split: str, score: Score) -> dict[str, float | None]:
        """Loss and error of a split by their columns."""
        loss = {f"{split}_loss": _finite(score.loss)}
        return loss | {f"{split}_error": score.error} if self.has_classes else loss

    def _evaluate(
        self, module: Classifier, split: str, limit: int | None = None, observe: Observer | None = None
    ) -> Score:
        data = self.data
        batches = data.batches(split, limit, share=data.dist)
        return evaluate(module.net, batches, module.device, self.settings.precision, data.dist, observe)

    def _write_gradients(self, module: Classifier, step: int) -> None:
        assert module.gradient_norms is not None
        names = [name for name, _ in module.gradient_layers]
        self.gradients.hold(
            {"iteration": step, "layer": layer, "name": name, "norm": norm}
            for layer, (name, norm) in enumerate(zip(names, module.gradient_norms.tolist(), strict=True), start=1)
        )
        module.gradient_norms = None

    def say(self, status: str, step: int) -> None:
        """Write the tables and progress.json, by which displays follow a run that has not ended."""
        self.write_tables()
        self.tick()
        self.energy.update()
        self._said = time.monotonic()
        write_progress(
            self.folder,
            {
                "status": status,
                "step": step,
                "steps": self.settings.stop_at,
                "seconds": round(self.seconds, 1),
                "pid": os.getpid(),
                "host": platform.node(),
                "time": time.time(),
                **({"remarks": self.remarks} if self.remarks else {}),
                **self.last,
            },
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
