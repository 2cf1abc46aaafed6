"""CIFAR family of He15 section 4.2: plain and residual networks of 6n+2 layers for 32×32 images.

Layers: a 3×3 convolution to 16 channels; three stages of 2n 3×3 convolutions with 16, 32, 64 channels on maps of 32, 16,
8 pixels (the first convolution of stages two and three has stride 2); global average pooling; a linear layer. Batch
normalization follows every convolution. Convolutions have no biases, and there is no dropout. The options of `cifar_net`
change single points of this.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.blocks import BasicBlock, ShortcutOption, make_shortcut
from resnet_repro.models.initialization import Init, he_initialize, initialize_within_stages, scale_branches
from resnet_repro.models.norms import norm_factory
from resnet_repro.parsing import choice

Kind = Literal["plain", "resnet"]
# The entries of `norms.NORMS` for this family; impl-D uses the others.
Norm = Literal["batch", "none", "layer", "instance", "group", "noisy"]

STAGE_CHANNELS = (16, 32, 64)


def blocks_per_stage(depth: int) -> int:
    """Return n of depth = 6n+2. Raises UserError with the nearest valid depths."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        below, above = 6 * max(n, 1) + 2, 6 * (max(n, 0) + 1) + 2
        nearest = f"{below} or {above}" if below != above else f"{above}"
        raise UserError(f"invalid depth {depth}: expected 6n+2 with n ≥ 1, e.g. {nearest}")
    return n


class CifarNet(nn.Module):
    """Network of `cifar_net`. Attribute names are torchvision's (conv1, layer1.0.bn2, fc).

    Input (N, 3, H, W) float, output logits (N, classes) float32, also under autocast.
    """

    def __init__(
        self,
        kind: Kind,
        depth: int,
        shortcut: ShortcutOption,
        norm: Norm,
        classes: int,
        span: int = 2,
        statistics_over: int | None = None,
        bias: bool = False,
        branch_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.norm, self.span = kind, norm, span
        n = blocks_per_stage(depth)
        make_norm = norm_factory(norm, statistics_over)
        self.conv1 = nn.Conv2d(3, STAGE_CHANNELS[0], 3, padding=1, bias=bias)
        self.bn1 = make_norm(STAGE_CHANNELS[0])
        stages = []
        in_channels = STAGE_CHANNELS[0]
        for index, channels in enumerate(STAGE_CHANNELS):
            blocks = []
            for block in range(n):
                stride = 2 if index > 0 and block == 0 else 1
                skip = None if kind == "plain" else make_shortcut(shortcut, in_channels, channels, stride, make_norm)
                blocks.append(BasicBlock(in_channels, channels, stride, make_norm, skip, span == 1, bias, branch_scale))
                in_channels = channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(STAGE_CHANNELS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))  # (N, 16, H, W)
        out = self.layer3(self.layer2(self.layer1(out)))  # (N, 64, H/4, W/4)
        return self.fc(self.avgpool(out).flatten(1)).float()


def cifar_net(
    kind: Kind,
    depth: int,
    shortcut: ShortcutOption = "A",
    norm: Norm = "batch",
    span: int = 2,
    classes: int = 10,
    seed: int = 0,
    statistics_over: int | None = None,
    bias: bool = False,
    branch_scale: float | None = None,
    init: Init = "he",
    last_scale: float | None = None,
) -> CifarNet:
    """Return plain-`depth` or resnet-`depth`, initialized from `seed`.

    kind: "plain" has no shortcuts.
    shortcut: "A" zero-padded identity, "B" projection if the size changes, "C" projection everywhere (He15 section 4.1).
    norm: see `norms.norm_factory`.
    span: convolutions per shortcut, 2 as published or 1 (He15 section 3.2, He16 table 3).
    statistics_over: images over which batch statistics are computed; 64 as on He15's two GPUs. None: the whole batch.
    bias: biases in the convolutions, for nets without normalization.
    branch_scale: first value of a learned factor of each residual branch. 0 is SkipInit (S. De and S. Smith, *Batch
    Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks*, 2020). None: no factor.
    init: "he" draws all kernels as He does. "dirac", "identity" and "orthogonal" replace those of the convolutions that
    keep the number of channels, see `initialization.initialize_within_stages`.
    last_scale: first scale of the last batch normalization of each residual block. None: 1, as of all others.

    With the same seed, a plain net and residual nets of any options but `init` have the same convolution kernels on the
    main path. Raises UserError for a depth that is not 6n+2, for unknown kinds, options, norms, spans and
    initializations, for a span of 1 in a plain net or with option C, for `statistics_over` below 2 or without batch
    normalization, for a branch scale or last scale without branches of two convolutions, and for a last scale or the
    initialization "identity" without batch normalization.
    """
    choice(kind, get_args(Kind), "kind")
    choice(shortcut, get_args(ShortcutOption), "shortcut option")
    choice(span, (1, 2), "span")
    if span == 1 and (kind == "plain" or shortcut == "C"):
        unsupported = "a plain net" if kind == "plain" else "option C"
        raise UserError(f"span 1 does not go with {unsupported}: expected a resnet with option A or B")
    for name, scale in (("branch_scale", branch_scale), ("last_scale", last_scale)):
        if scale is not None and (kind == "plain" or span == 1):
            unsupported = "a plain net" if kind == "plain" else "span 1"
            raise UserError(f"{name} does not go with {unsupported}: expected a resnet of span 2")
    choice(init, get_args(Init), "initialization")
    if norm != "batch" and (init == "identity" or last_scale is not None):
        needing = "last_scale" if last_scale is not None else "initialization identity"
        raise UserError(f"{needing} does not go with norm {norm}: expected norm batch")
    net = CifarNet(kind, depth, shortcut, norm, classes, span, statistics_over, bias, branch_scale)
    generator = he_initialize(net, seed)
    initialize_within_stages(net, init, generator)
    if last_scale is not None:
        scale_branches(net, last_scale)
    return net
