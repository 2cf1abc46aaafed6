"""Normalization layers by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.parsing import choice

GROUPS = 8
TF1_EPSILON, TF1_MOMENTUM = 1e-3, 0.01  # tf.layers.batch_normalization: decay 0.99
NOISE_MEAN, NOISE_SCALE = 0.5, 0.25  # half widths of the uniform distributions of `NoisyBatchNorm`


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


class GroupedBatchNorm(BatchNorm):
    """Batch normalization with statistics over groups of at most `over` images, also called ghost batch normalization.

    In training a batch of N images is divided into ceil(N / over) groups of adjacent images, whose sizes differ by at
    most one. Each group is normalized by its mean and variance, as if it were alone on a device (He15 section 4.2 trains
    batches of 128 on two GPUs; E. Hoffer et al., *Train longer, generalize better*, 2017). The running statistics follow
    the mean over the groups once per step, so that they average over as many steps as those of `BatchNorm`.
    Raises ValueError in training for a group with a single value per channel, if there are several groups.
    """

    def __init__(self, channels: int, over: int) -> None:
        super().__init__(channels)
        self.over = over

    def forward(self, input: Tensor) -> Tensor:
        groups = ceil(len(input) / self.over)
        if not self.training or groups < 2:
            return super().forward(input)
        size, larger = divmod(len(input), groups)  # `larger` groups have one image more
        cut = larger * (size + 1)
        parts = [(input[:cut], larger)] if larger else []
        parts.append((input[cut:], groups - larger))
        outputs, means, variances = zip(*(self._normalize(part, count) for part, count in parts), strict=True)
        self._follow(torch.cat(means).mean(0), torch.cat(variances).mean(0))
        return torch.cat(outputs) if larger else outputs[0]

    def _normalize(self, input: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        """(output, means (groups, C), variances (groups, C)) for groups of equal size.

        The groups become channels of one batch: one kernel for all of them is much faster than one for each.
        """
        images, channels, height, width = input.shape
        size = images // groups
        by_pixel = input.permute(0, 2, 3, 1).reshape(groups, size, height, width, channels)
        stacked = by_pixel.permute(1, 2, 3, 0, 4).reshape(size, height, width, groups * channels).permute(0, 3, 1, 2)
        mean, variance = input.new_zeros((2, groups * channels), dtype=torch.float32)
        weight, bias = self.weight.repeat(groups), self.bias.repeat(groups)
        # A momentum of 1 stores the statistics of this batch in place of running ones.
        output = F.batch_norm(stacked, mean, variance, weight, bias, True, 1.0, self.eps)
        by_group = output.permute(0, 2, 3, 1).reshape(size, height, width, groups, channels).permute(3, 0, 1, 2, 4)
        restored = by_group.reshape(images, height, width, channels).permute(0, 3, 1, 2)
        return restored, mean.view(groups, channels), variance.view(groups, channels)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        assert momentum is not None
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, over={self.over}"


class NoisyBatchNorm(BatchNorm):
    """Batch normalization, followed in training by a random scale and shift of each channel, the same for all images.

    `redraw` draws the scale from U(0.75, 1.25) and the shift from U(-0.5, 0.5); before, they are 1 and 0. They are drawn
    again at every step, so the moments of the output change from step to step, as in the “noisy” batch normalization of
    S. Santurkar et al., *How Does Batch Normalization Help Optimization?*, 2018. In evaluation mode there is no noise.
    The noise is not part of the state dict.
    """

    noise_scale: Tensor
    noise_shift: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("noise_scale", torch.ones(channels, 1, 1), persistent=False)
        self.register_buffer("noise_shift", torch.zeros(channels, 1, 1), persistent=False)

    def redraw(self, generator: torch.Generator) -> None:
        """Draw scale and shift from a generator on the CPU. Does not wait for the device."""
        uniform = 2 * torch.rand(2, self.num_features, 1, 1, generator=generator) - 1
        noise = torch.stack([1 + NOISE_SCALE * uniform[0], NOISE_MEAN * uniform[1]])
        if self.noise_scale.is_cuda:
            noise = noise.pin_memory()  # the allocator keeps the memory until the copy is done
        # In place: a CUDA graph reads the noise from this memory.
        self.noise_scale.copy_(noise[0], non_blocking=True)
        self.noise_shift.copy_(noise[1], non_blocking=True)

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        if not self.training:
            return output
        return output * self.noise_scale.to(output.dtype) + self.noise_shift.to(output.dtype)


def redraw_noise(net: nn.Module, generator: torch.Generator) -> None:
    """Draw the noise of all `NoisyBatchNorm` modules of `net`, in the order of the modules."""
    for module in net.modules():
        if isinstance(module, NoisyBatchNorm):
            module.redraw(generator)


def has_noise(net: nn.Module) -> bool:
    """Whether `net` has noise to draw at every step."""
    return any(isinstance(module, NoisyBatchNorm) for module in net.modules())


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
    "noisy": NoisyBatchNorm,
    "none": lambda channels: nn.Identity(),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "group": lambda channels: nn.GroupNorm(GROUPS, channels),
    "batch-tf": lambda channels: BatchNorm(channels, eps=TF1_EPSILON, momentum=TF1_MOMENTUM),
    "frozen": lambda channels: FrozenBatchNorm(channels, eps=TF1_EPSILON, momentum=TF1_MOMENTUM),
}


def norm_factory(name: str, statistics_over: int | None = None) -> Callable[[int], nn.Module]:
    """Return a function channels → module. All normalizations except "none" have a scale and a shift per channel.

    "batch": batch normalization. "noisy": batch normalization with random moments (`NoisyBatchNorm`). "batch-tf": with
    TensorFlow 1's defaults. "frozen": the same with constant statistics (impl-D). "none": the identity. "layer": over
    channels and pixels of an image. "instance": over the pixels of a channel. "group": over 8 groups of channels, our
    choice for nets of 16 to 64 channels (Y. Wu and K. He, 2018, use 32 for larger nets).
    statistics_over: images per group of `GroupedBatchNorm`, for "batch" only. None: the whole batch.
    Raises UserError for unknown names, and for a number of images that does not apply.
    """
    make_norm = NORMS[choice(name, NORMS, "norm")]
    if statistics_over is None:
        return make_norm
    if name != "batch" or statistics_over < 2:
        raise UserError(
            f"invalid statistics_over {statistics_over} with norm {name}: expected at least 2 images, and norm batch"
        )
    return partial(GroupedBatchNorm, over=statistics_over)
