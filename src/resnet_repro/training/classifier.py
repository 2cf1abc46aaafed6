"""The LightningModule: a network, cross-entropy, its optimizer, and running sums that stay on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.experiment import Recipe
from resnet_repro.models.heads import training_loss
from resnet_repro.models.inspect import watched_layers
from resnet_repro.training.schedule import learning_rate


class Classifier(pl.LightningModule):
    """Trains `net` by `recipe`, its schedule scaled to `iterations` steps.

    The masks of dropout are a function of (seed, step), as all that is drawn here.
    step_net: what the training step calls; the compiled network where there is one, else `net` itself.
    Nothing here waits for the device: losses and errors are summed where they arise and read by the monitor.
    """

    def __init__(self, net: nn.Module, recipe: Recipe, iterations: int, seed: int = 0) -> None:
        super().__init__()
        self.net = net
        self.seed = seed
        self.drops_out = any(isinstance(module, nn.Dropout) and module.p for module in net.modules())
        self.recipe, self.iterations = recipe, iterations
        self.step_net: Callable[[Tensor], Tensor] = net.forward
        self.sums = torch.zeros(2, dtype=torch.float64)  # loss and errors since the last reading
        self.images = 0  # that went into the sums
        self.diverged_at = torch.full((), -1, dtype=torch.int64)
        self.warmed_up_at: int | None = None  # the first step after the warm-up, where the recipe has one
        self.watch_gradients = False
        self.gradient_norms: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        return self.net(x)

    def on_fit_start(self) -> None:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.sums = self.sums.to(self.device, dtype)
        self.diverged_at = self.diverged_at.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        rate = learning_rate(self.recipe, self.iterations, self.global_step, self.warmed_up_at)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = rate

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        if self.drops_out:
            torch.manual_seed(_mask_seed(self.seed, self.global_step))
        whole = len(labels) == self.recipe.batch_size
        output = self.step_net(images) if whole else self.net(images)
        loss, logits = training_loss(output, labels)
        with torch.no_grad():
            detached = loss.detach()
            self.sums[0] += detached * len(labels)
            self.sums[1] += (logits.argmax(1) != labels).sum()
            self.images += len(labels)
            first = (self.diverged_at < 0) & ~detached.isfinite()
            self.diverged_at = torch.where(first, self.global_step + 1, self.diverged_at)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.watch_gradients:
            gradients = [layer.weight.grad for _, layer in watched_layers(self.net)]
            self.gradient_norms = torch.stack([g.norm() for g in gradients if g is not None])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        rate = learning_rate(recipe, self.iterations, 0)
        fused = True if next(self.net.parameters()).is_cuda else None
        if recipe.optimizer == "adam":
            return torch.optim.Adam(
                self.net.parameters(),
                lr=rate,
                betas=(recipe.momentum, 0.999),
                eps=1e-8,
                weight_decay=recipe.weight_decay,
                fused=fused,
            )
        return torch.optim.SGD(
            self.net.parameters(),
            lr=rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=fused,
        )

    def read_sums(self) -> tuple[float, float, int]:
        """(mean loss, error in percent, images) since the last reading; the one place that waits for the device."""
        loss, wrong = self.sums.tolist()
        images, self.images = self.images, 0
        self.sums.zero_()
        return loss / max(images, 1), 100 * wrong / max(images, 1), images


def _mask_seed(seed: int, step: int) -> int:
    """64 bits of the pair, well mixed: neighbouring seeds and steps share nothing."""
    state = np.random.SeedSequence((seed, step, 0xD20)).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy, and top-1 error in percent."""

    loss: float
    error: float


@torch.inference_mode()
def evaluate(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device, precision: str) -> Score:
    """Score `net` in evaluation mode (running batch statistics) on batches of (images (B, C, H, W), labels (B,)).

    The mode it was in is restored. Raises ValueError for no batches.
    """
    was_training = net.training
    net.eval()
    loss = torch.zeros((), device=device)
    wrong = torch.zeros((), dtype=torch.int64, device=device)
    count = 0
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for images, labels in batches:
            logits = net(images)
            loss += F.cross_entropy(logits, labels, reduction="sum")
            wrong += (logits.argmax(1) != labels).sum()
            count += len(labels)
    net.train(was_training)
    if not count:
        raise ValueError("no batches to evaluate on: give at least one image")
    return Score(loss.item() / count, 100 * wrong.item() / count)
