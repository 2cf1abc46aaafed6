"""Stacks of layers that map fixed feature maps x to a target close to x, or far from it (He15 section 3.1).

He15 argues that a residual block finds F(x) = 0 more easily than a stack of layers finds H(x) = x. Here x are the maps of a
fixed first convolution, and the network is nothing but the stack. The target is x, x with a small perturbation, or x with
its channels permuted. Plain and residual stacks can represent each of the three exactly, in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.blocks import BasicBlock
from resnet_repro.models.initialization import he_initialize
from resnet_repro.models.norms import norm_factory
from resnet_repro.parsing import choice

Kind = Literal["plain", "residual"]
Target = Literal["identity", "perturbed", "permuted"]

CHANNELS, STRIDE = 16, 2
PERTURBATION = 0.1  # standard deviation of the perturbation, relative to that of x, in each channel


class Reconstruction(NamedTuple):
    """The output of a network for the task "reconstruct"."""

    output: Tensor
    """(N, C, H, W) float32."""
    target: Tensor
    """(N, C, H, W) float32."""
    variance: Tensor
    """Variance of the target over images and pixels, mean over channels. A scalar."""

    def relative_error(self) -> Tensor:
        """Return the mean squared error divided by the target's variance.

        It is 0 for the target itself and 1 for the mean of each channel.
        """
        return (self.output - self.target).square().mean() / self.variance


class FixedMaps(nn.Module):
    """Feature maps x of images, and the target; neither is trained.

    x = relu((conv(images) - mean) / std), with a 3×3 convolution of stride 2 from He initialization. `measure` sets mean and
    std of each channel. The targets are "identity": x; "perturbed": relu(x + p), with a second convolution p of x of mean 0
    and a tenth of the standard deviation of x in each channel; "permuted": x with each channel in the place of the next.
    (N, 3, H, W) → x and target, each (N, 16, H/2, W/2).
    """

    kernel: Tensor
    mean: Tensor
    std: Tensor
    variance: Tensor
    perturbing_kernel: Tensor
    perturbing_mean: Tensor
    perturbing_scale: Tensor

    def __init__(self, target: Target, seed: int) -> None:
        super().__init__()
        self.target = target
        # Unrelated to the seed of the stack, whose first kernels would otherwise begin with the same numbers.
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, 0x3A95)).generate_state(1)[0]))
        for prefix, in_channels in (("", 3), ("perturbing_", CHANNELS)):
            kernel = torch.empty(CHANNELS, in_channels, 3, 3)
            nn.init.kaiming_normal_(kernel, mode="fan_in", nonlinearity="relu", generator=generator)
            self.register_buffer(f"{prefix}kernel", kernel)
            self.register_buffer(f"{prefix}mean", torch.zeros(CHANNELS, 1, 1))
        self.register_buffer("std", torch.ones(CHANNELS, 1, 1))
        self.register_buffer("perturbing_scale", torch.zeros(CHANNELS, 1, 1))
        self.register_buffer("variance", torch.ones(()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu((self._response(images) - self.mean) / self.std)
        if self.target == "perturbed":
            return x, F.relu(x + (self._perturbation(x) - self.perturbing_mean) * self.perturbing_scale)
        return x, x.roll(1, dims=1) if self.target == "permuted" else x

    def _response(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.kernel, stride=STRIDE, padding=1).float()

    def _perturbation(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.perturbing_kernel, padding=1).float()

    @torch.no_grad()
    def measure(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the statistics of x, of the perturbation and of the target from (images (B, 3, H, W), labels (B,)).

        Raises ValueError if there are no batches.
        """
        parts = [images for images, _ in batches]
        if not parts:
            raise ValueError("no batches to measure the fixed maps: expected at least one")
        images = torch.cat(parts)
        mean, std = _moments(self._response(images))
        self.mean.copy_(mean)
        self.std.copy_(std)
        x, _ = self(images)
        mean, std = _moments(self._perturbation(x))
        self.perturbing_mean.copy_(mean)
        self.perturbing_scale.copy_(PERTURBATION * _moments(x)[1] / std)
        _, target = self(images)
        self.variance.copy_(_moments(target)[1].square().mean())


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C, 1, 1) of maps (N, C, H, W) in double precision, on the CPU."""
    std, mean = torch.std_mean(maps.cpu().double(), dim=(0, 2, 3), correction=0)
    return mean[:, None, None], std[:, None, None]


class ReconstructionNet(nn.Module):
    """Network of `reconstruction_net`: fixed maps, and a stack of `BasicBlock`s on them in `layer1`.

    (N, 3, H, W) → `Reconstruction` of maps (N, 16, H/2, W/2).
    """

    def __init__(self, kind: Kind, depth: int, target: Target, seed: int) -> None:
        super().__init__()
        self.fixed = FixedMaps(target, seed)
        make_norm = norm_factory("batch")
        self.layer1 = nn.Sequential(
            *(
                BasicBlock(CHANNELS, CHANNELS, 1, make_norm, nn.Identity() if kind == "residual" else None)
                for _ in range(depth // 2)
            )
        )

    def forward(self, images: Tensor) -> Reconstruction:
        x, target = self.fixed(images)
        return Reconstruction(self.layer1(x).float(), target, self.fixed.variance)


def reconstruction_net(
    kind: Kind, depth: int, target: Target = "identity", classes: int = 10, seed: int = 0
) -> ReconstructionNet:
    """Return a stack of `depth` layers with He initialization from `seed`, on fixed maps that are drawn from it, too.

    kind: "plain": conv-BN-ReLU layers. "residual": the same layers in pairs, with an identity shortcut added before the
    second ReLU of each pair, as in He15's basic block. The kernels of both kinds are the same for the same seed.
    target: see `FixedMaps`; its statistics must be measured with `net.fixed.measure` before the first step.
    classes: without effect.

    Raises UserError for unknown kinds and targets, and for a depth that is not an even number of at least 2.
    """
    choice(kind, get_args(Kind), "kind")
    choice(target, get_args(Target), "target")
    if depth < 2 or depth % 2:
        raise UserError(f"invalid depth {depth}: expected an even number of at least 2, because blocks have two layers")
    net = ReconstructionNet(kind, depth, target, seed)
    he_initialize(net, seed)
    return net
