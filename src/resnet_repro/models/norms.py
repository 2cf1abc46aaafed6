"""Normalization layers by name."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.parsing import choice

GROUPS = 8
TF1_EPSILON, TF1_MOMENTUM = 1e-3, 0.01  # tf.layers.batch_normalization: decay 0.99


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization that also accepts a single value per channel, in training: one image with a map of 1 × 1.

    One value has no variance. It is normalized by the running statistics, as in evaluation, and leaves them as they are.
    All other inputs are normalized as by nn.BatchNorm2d, bit for bit.
    """

    had_one_value = False  # whether this happened

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == input.shape[1]:
            self.had_one_value = True
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


def had_one_value(net: nn.Module) -> bool:
    """Whether a batch normalization of `net` was given a single value per channel in training."""
    return any(isinstance(module, BatchNorm) and module.had_one_value for module in net.modules())


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch normalization with constant statistics, mean 0 and variance 1, in every mode; scale and shift are learned.

    This is tf.layers.batch_normalization without `training=True`. Shapes as in nn.BatchNorm2d.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "none": lambda channels: nn.Identity(),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "group": lambda channels: nn.GroupNorm(GROUPS, channels),
    "batch-tf": lambda channels: BatchNorm(channels, eps=TF1_EPSILON, momentum=TF1_MOMENTUM),
    "frozen": lambda channels: FrozenBatchNorm(channels, eps=TF1_EPSILON, momentum=TF1_MOMENTUM),
}


def norm_factory(name: str) -> Callable[[int], nn.Module]:
    """Return a function channels → module. All normalizations except "none" have a scale and a shift per channel.

    "batch": batch normalization. "batch-tf": with TensorFlow 1's defaults. "frozen": the same with constant statistics
    (impl-D). "none": the identity. "layer": over channels and pixels of an image. "instance": over the pixels of a
    channel. "group": over 8 groups of channels, our choice for nets of 16 to 64 channels (Y. Wu and K. He, 2018, use 32
    for larger nets). Raises UserError for unknown names.
    """
    return NORMS[choice(name, NORMS, "norm")]
