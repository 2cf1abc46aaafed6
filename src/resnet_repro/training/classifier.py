"""The LightningModule: a network, cross-entropy, its optimizer, and running sums that stay on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from resnet_repro.config.arm import Recipe
from resnet_repro.config.schedule import learning_rate
from resnet_repro.data.base import Batch
from resnet_repro.distributed import ALONE, DistContext
from resnet_repro.models.heads import training_loss
from resnet_repro.models.inspect import gradient_layers
from resnet_repro.training.captured import CapturedStep, cuda_graph


class Classifier(pl.LightningModule):
    """Trains `net` by `recipe`, its schedule scaled to `iterations` steps.

    The masks of dropout are a function of (seed, step), as all that is drawn here, and of the process where several
    (`dist`) train together. Then a batch is the process's part of the whole one, with the weight of its loss.
    step_net: what the training step calls; the compiled network where there is one, else `net` itself.
    captured: the step on whole batches as one graph, where it may be replayed; it then updates the weights within
    `training_step`, which returns None, and Lightning finds nothing left to do.
    Nothing here waits for the device: losses and errors are summed where they arise and read by the monitor.
    """

    def __init__(
        self, net: nn.Module, recipe: Recipe, iterations: int, seed: int = 0, dist: DistContext = ALONE
    ) -> None:
        super().__init__()
        self.dist = dist
        self.net = net
        self.seed = seed
        self.drops_out = any(isinstance(module, nn.Dropout) and module.p for module in net.modules())
        self.recipe, self.iterations = recipe, iterations
        self.step_net: Callable[[Tensor], Tensor] = net.forward
        self.is_compiled = False
        self.captured: CapturedStep | None = None
        self.sums = torch.zeros(2, dtype=torch.float64)  # loss and errors since the last reading
        self.images = 0  # that went into the sums
        self.diverged_at = torch.full((), -1, dtype=torch.int64)
        self.step_number = torch.zeros(
            (), dtype=torch.int64
        )  # of the step under way: a graph would keep a Python number
        self.rate: Tensor | None = None  # the learning rate where the optimizer reads it from the device
        self.warmed_up_at: int | None = None  # the first step after the warm-up, where the recipe has one
        self.gradient_layers = [(name, layer) for name, layer in gradient_layers(net) if layer.weight.requires_grad]
        self.reads_gradients = False
        self.gradient_norms: Tensor | None = None

    def call_compiled(self, step: Callable[[Tensor], Tensor]) -> None:
        """Make training steps call `step`, compiled from `net`. It is no part of the module: a checkpoint is the same with
        and without it.
        """
        self.step_net = lambda images: step(images)
        self.is_compiled = True

    def capture_steps(self, capture: Callable[[Callable[[], None]], Callable[[], None]] = cuda_graph) -> None:
        """Replay the step on whole batches, once it has been taken eagerly a few times; see `CapturedStep`."""
        self.captured = CapturedStep(self._take_whole_step, capture)

    @property
    def how_taken(self) -> str:
        """How the steps on whole batches were taken, for the record: "eager", with the reason where a graph failed."""
        if self.captured is None or not (self.captured.is_captured or self.captured.failure):
            return "eager"
        return "one CUDA graph" if self.captured.is_captured else f"eager (no graph: {self.captured.failure})"

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["compiled"] = self.is_compiled

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Checkpoints of earlier versions have the compiled network's parameters a second time.
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if not key.startswith("step_net.")}

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        return self.net(x)

    def on_fit_start(self) -> None:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.sums = self.sums.to(self.device, dtype)
        self.diverged_at = self.diverged_at.to(self.device)
        self.step_number = self.step_number.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        rate: float | Tensor = learning_rate(self.recipe, self.iterations, self.global_step, self.warmed_up_at)
        if self.rate is not None:
            rate = self.rate.fill_(rate)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = rate  # also of an optimizer that a checkpoint has given a tensor of its own

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        images, labels, weight = batch
        if self.drops_out:
            torch.manual_seed(_mask_seed(self.seed, self.global_step, self.dist.rank))
        self.step_number.fill_(self.global_step + 1)
        whole = len(labels) == self.recipe.batch_size
        if weight:
            self.images += len(labels)
        is_weighted = weight != 1.0 or self.dist.size > 1
        if self.captured and whole and not is_weighted and not self.reads_gradients and self.captured(images, labels):
            return None
        output = self.step_net(images) if whole else self.net(images)
        loss = self._summed_loss(output, labels, counts=bool(weight))
        return loss * weight if is_weighted else loss

    def _summed_loss(self, output: Any, labels: Tensor, counts: bool = True) -> Tensor:
        """The mean loss of a batch, which goes into the sums if it `counts`; a loss that is not finite is noted."""
        loss, logits = training_loss(output, labels)
        with torch.no_grad():
            detached = loss.detach()
            if counts:
                self.sums[0].add_(detached * len(labels))
                self.sums[1].add_((logits.argmax(1) != labels).sum())
            first = (self.diverged_at < 0) & ~detached.isfinite()
            self.diverged_at.copy_(torch.where(first, self.step_number, self.diverged_at))
        return loss

    def _take_whole_step(self, images: Tensor, labels: Tensor) -> None:
        """What Lightning would do with the loss of `training_step`, in the same order."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        loss = self._summed_loss(self.step_net(images), labels)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, enabled=False):  # Lightning has left it by then
            loss.backward()
        optimizer.step()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.reads_gradients and self.gradient_layers:
            gradients = [layer.weight.grad for _, layer in self.gradient_layers]
            self.gradient_norms = torch.stack([g.norm() for g in gradients if g is not None])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        rate: float | Tensor = learning_rate(recipe, self.iterations, 0)
        trained = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        fused = True if trained[0].is_cuda else None
        if trained[0].is_cuda:
            rate = self.rate = torch.tensor(rate, dtype=torch.float32, device=trained[0].device)
        if recipe.optimizer == "adam":
            return torch.optim.Adam(
                trained,
                lr=rate,
                betas=(recipe.momentum, 0.999),
                eps=1e-8,
                weight_decay=recipe.weight_decay,
                fused=fused,
                capturable=trained[0].is_cuda,
            )
        return torch.optim.SGD(
            trained,
            lr=rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=fused,
        )

    def read_sums(self) -> tuple[float, float, int]:
        """(mean loss, error in percent, images) since the last reading, over all processes.

        The one place that waits for the device. diverged_at is then the same in all of them.
        """
        loss, wrong, images = self.dist.all_reduce_sum(self.unread()).tolist()
        if self.dist.size > 1:
            found = [step for step in self.dist.all_gather(int(self.diverged_at)) if step > 0]
            self.diverged_at.fill_(min(found, default=-1))
        self.sums.zero_()
        self.images = 0
        return loss / max(images, 1), 100 * wrong / max(images, 1), int(images)

    def unread(self) -> Tensor:
        """(loss, errors, images) summed since the last reading, in this process."""
        return torch.cat([self.sums, self.sums.new_tensor([self.images])])


def _mask_seed(seed: int, step: int, rank: int = 0) -> int:
    """64 bits of the numbers, well mixed: neighbouring seeds, steps and processes share nothing."""
    state = np.random.SeedSequence((seed, step, 0xD20, *([rank] if rank else []))).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
