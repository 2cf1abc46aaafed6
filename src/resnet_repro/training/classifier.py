"""LightningModule of a run: network, loss, optimizer, and running sums that stay on the device."""

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
from resnet_repro.models.norms import had_one_value, has_noise, redraw_noise
from resnet_repro.training.captured import CapturedStep, cuda_graph


class Classifier(pl.LightningModule):
    """Trains `net` by `recipe`, with the schedule scaled to `iterations` steps.

    Dropout masks are a function of (seed, step, rank), and the noise of `NoisyBatchNorm` of (seed, step). There are no
    other random numbers here. If several processes (`dist`)
    train together, a batch is this process's part of the whole batch and carries a weight for its loss.
    step_net: forward pass of the training step; compiled after `call_compiled`, otherwise that of `net`.
    captured: the step on whole batches as one graph, after `capture_steps`. A replay updates the weights inside
    `training_step`, which then returns None, so that Lightning does nothing more.
    If the network returns a `Reconstruction`, the loss is its relative error, and the summed errors stay 0.
    Steps do not wait for the device: losses and errors are summed on it, and the monitor reads the sums.
    """

    def __init__(
        self, net: nn.Module, recipe: Recipe, iterations: int, seed: int = 0, dist: DistContext = ALONE
    ) -> None:
        super().__init__()
        self.dist = dist
        self.net = net
        self.seed = seed
        self.drops_out = any(isinstance(module, nn.Dropout) and module.p for module in net.modules())
        self.is_noisy = has_noise(net)
        self.recipe, self.iterations = recipe, iterations
        self.step_net: Callable[[Tensor], Tensor] = net.forward
        self.is_compiled = False
        self.captured: CapturedStep | None = None
        self.sums = torch.zeros(2, dtype=torch.float64)  # (loss, errors) since the last reading
        self.images = 0  # images in the sums
        self.diverged_at = torch.full((), -1, dtype=torch.int64)
        # The current step, as a tensor: a graph would store a Python number as a constant.
        self.step_number = torch.zeros((), dtype=torch.int64)
        self.rate: Tensor | None = None  # learning rate on the device, if the optimizer reads it there
        self.warmed_up_at: int | None = None  # first step (from 0) after a warm-up that ends by an error; else None
        self.gradient_layers = [(name, layer) for name, layer in gradient_layers(net) if layer.weight.requires_grad]
        self.reads_gradients = False
        self.gradient_norms: Tensor | None = None
        self.lone_steps = 0  # steps on one image in which batch normalization used its running statistics

    def call_compiled(self, step: Callable[[Tensor], Tensor]) -> None:
        """Make training steps call `step`, compiled from `net`.

        Not registered as a submodule, so the state dict does not depend on compilation.
        """
        self.step_net = lambda images: step(images)
        self.is_compiled = True

    def capture_steps(self, capture: Callable[[Callable[[], None]], Callable[[], None]] = cuda_graph) -> None:
        """Replay the step on whole batches as a graph, after a few eager steps; see `CapturedStep`."""
        self.captured = CapturedStep(self._take_whole_step, capture)

    @property
    def how_taken(self) -> str:
        """How steps on whole batches were taken, for the record: "one CUDA graph", or "eager" and why a capture failed."""
        if self.captured is None or not (self.captured.is_captured or self.captured.failure):
            return "eager"
        return "one CUDA graph" if self.captured.is_captured else f"eager (no graph: {self.captured.failure})"

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["compiled"] = self.is_compiled
        checkpoint["lone_steps"] = self.lone_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.lone_steps = checkpoint.get("lone_steps", 0)
        # Checkpoints of earlier versions hold the parameters a second time, under the compiled network.
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if not key.startswith("step_net.")}

    def forward(self, x: Tensor) -> Tensor:
        """Output of the network, e.g. logits (B, classes), for images (B, C, H, W)."""
        return self.net(x)

    def on_fit_start(self) -> None:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.sums = self.sums.to(self.device, dtype)
        self.diverged_at = self.diverged_at.to(self.device)
        self.step_number = self.step_number.to(self.device)
        self._redraw_noise()  # for measurements before the first step

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        rate: float | Tensor = learning_rate(self.recipe, self.iterations, self.global_step, self.warmed_up_at)
        if self.rate is not None:
            rate = self.rate.fill_(rate)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = rate  # also in an optimizer restored with the tensor of its checkpoint

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        images, labels, weight = batch
        if self.drops_out:
            torch.manual_seed(_mask_seed(self.seed, self.global_step, self.dist.rank))
        self._redraw_noise()
        self.step_number.fill_(self.global_step + 1)
        whole = len(labels) == self.recipe.batch_size
        if weight:
            self.images += len(labels)
        is_weighted = weight != 1.0 or self.dist.size > 1
        if self.captured and whole and not is_weighted and not self.reads_gradients and self.captured(images, labels):
            return None
        output = self.step_net(images) if whole else self.net(images)
        if len(images) == 1 and had_one_value(self.net):
            self.lone_steps += 1
        loss = self._summed_loss(output, labels, counts=bool(weight))
        return loss * weight if is_weighted else loss

    def _redraw_noise(self) -> None:
        """Draw the noise of the current step. It does not depend on earlier steps, so a resumed run has the same."""
        if self.is_noisy:
            redraw_noise(self.net, torch.Generator().manual_seed(_noise_seed(self.seed, self.global_step)))

    def _summed_loss(self, output: Any, labels: Tensor, counts: bool = True) -> Tensor:
        """The mean loss of a batch. If it `counts`, it is added to the sums. The first step with a non-finite loss is kept."""
        loss, logits = training_loss(output, labels)
        with torch.no_grad():
            detached = loss.detach()
            if counts:
                self.sums[0].add_(detached * len(labels))
                if logits is not None:
                    self.sums[1].add_((logits.argmax(1) != labels).sum())
            first = (self.diverged_at < 0) & ~detached.isfinite()
            self.diverged_at.copy_(torch.where(first, self.step_number, self.diverged_at))
        return loss

    def _take_whole_step(self, images: Tensor, labels: Tensor) -> None:
        """Take a step as Lightning does with the loss of `training_step`, in the same order."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        loss = self._summed_loss(self.step_net(images), labels)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, enabled=False):  # Lightning leaves autocast before the backward pass
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

        This is the only method that waits for the device. Afterwards `diverged_at` is the same in all processes.
        """
        loss, wrong, images = self.dist.all_reduce_sum(self.unread()).tolist()
        if self.dist.size > 1:
            diverged = [step for step in self.dist.all_gather(int(self.diverged_at)) if step > 0]
            self.diverged_at.fill_(min(diverged, default=-1))
        self.sums.zero_()
        self.images = 0
        return loss / max(images, 1), 100 * wrong / max(images, 1), int(images)

    def unread(self) -> Tensor:
        """(loss, errors, images) summed since the last reading, in this process."""
        return torch.cat([self.sums, self.sums.new_tensor([self.images])])


def _mask_seed(seed: int, step: int, rank: int = 0) -> int:
    """A 63-bit seed. It is well mixed, so neighbouring seeds, steps and ranks give unrelated masks."""
    state = np.random.SeedSequence((seed, step, 0xD20, *([rank] if rank else []))).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def _noise_seed(seed: int, step: int) -> int:
    """A 63-bit seed that is unrelated to that of the masks. The processes of a run have the same noise."""
    return int(np.random.SeedSequence((seed, step, 0x4015E)).generate_state(1, np.uint64)[0] >> np.uint64(1))
