"""Networks of He16 (*Identity Mappings in Deep Residual Networks*): original and pre-activation, basic and bottleneck.

A 3×3 convolution to 16 channels, three stages on maps of 32, 16, 8 pixels, global average pooling, a linear layer.
Basic blocks: two 3×3 convolutions of 16, 32, 64 channels, depth 6n+2. Bottlenecks: 1×1, 3×3, 1×1 convolutions with 16,
32, 64 inner channels and four times as many output channels, depth 9n+2 (164: n = 18, 1001: n = 111).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.blocks import EXPANSION, Bottleneck, make_shortcut
from resnet_repro.models.cifar import STAGE_CHANNELS, cifar_net
from resnet_repro.models.initialization import he_initialize
from resnet_repro.models.norms import BatchNorm
from resnet_repro.parsing import choice

Kind = Literal["original", "preact"]
Shape = Literal["basic", "bottleneck"]


class PreActBasicBlock(nn.Module):
    """Two 3×3 convolutions, each after BN-ReLU; no nonlinearity after the addition (He16 figure 1b, section 3).

    shared: the input of the shortcut is the output of the first BN-ReLU, not the input of the unit. He16 (appendix) does
    this in the very first unit and if a projection changes the size. If the size changes, the shortcut here is option A, as
    in He16's published code; sharing is then our choice, since the paper does not mention the case.
    (N, in_channels, H, W) → (N, width, H/stride, W/stride).
    """

    def __init__(self, in_channels: int, width: int, stride: int, shared: bool) -> None:
        super().__init__()
        self.bn1 = BatchNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.downsample = make_shortcut("A", in_channels, width, stride, BatchNorm)
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        skip = self.downsample(activated if self.shared else x)
        out = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return out + skip


class PreActBottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, each after BN-ReLU. shared: as in `PreActBasicBlock`.

    As in He16's published code (KaimingHe/resnet-1k-layers, resnet-pre-act.lua), the first convolution has the stride
    (the 3×3 in later bottlenecks), and projections have no normalization, since their input is normalized. Convolutions
    and linear layer have 1.68 million weights with 164 layers and 10.18 million with 1001, which match the paper's 1.7 and
    10.2; with normalization there are 1.70 and 10.33 million parameters.
    (N, in_channels, H, W) → (N, 4·width, H/stride, W/stride).
    """

    def __init__(self, in_channels: int, width: int, stride: int, shared: bool) -> None:
        super().__init__()
        channels = EXPANSION * width
        self.bn1 = BatchNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)
        self.bn2 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = BatchNorm(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        skip = self.downsample(activated if self.shared else x)
        out = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        out = self.conv3(F.relu(self.bn3(out)))
        return out + skip


class He16Net(nn.Module):
    """Network of `he16_net`. Input (N, 3, H, W) float, output logits (N, classes) float32.

    In pre-activation nets, the BN-ReLU after the first convolution is that of the first unit, and an extra BN-ReLU
    follows the last unit.
    """

    def __init__(self, kind: Kind, blocks: int, shape: Shape, classes: int) -> None:
        super().__init__()
        preact = kind == "preact"
        self.norm_follows = not preact
        expansion = EXPANSION if shape == "bottleneck" else 1
        preact_unit = PreActBottleneck if shape == "bottleneck" else PreActBasicBlock
        in_channels = STAGE_CHANNELS[0]
        self.conv1 = nn.Conv2d(3, in_channels, 3, padding=1, bias=False)
        self.bn1 = nn.Identity() if preact else BatchNorm(in_channels)
        stages = []
        for stage, width in enumerate(STAGE_CHANNELS):
            units = []
            for unit in range(blocks):
                stride = 2 if stage > 0 and unit == 0 else 1
                if preact:
                    units.append(preact_unit(in_channels, width, stride, shared=unit == 0))
                else:
                    skip = make_shortcut("B", in_channels, expansion * width, stride, BatchNorm)
                    units.append(Bottleneck(in_channels, width, stride, BatchNorm, skip, stride_at="1x1"))
                in_channels = expansion * width
            stages.append(nn.Sequential(*units))
        self.layer1, self.layer2, self.layer3 = stages
        self.bn_last = BatchNorm(in_channels) if preact else nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        if self.norm_follows:
            out = F.relu(self.bn1(out))
        out = self.layer3(self.layer2(self.layer1(out)))
        if not self.norm_follows:
            out = F.relu(self.bn_last(out))
        return self.fc(self.avgpool(out).flatten(1)).float()


def he16_net(kind: Kind, depth: int, block: Shape = "basic", classes: int = 10, seed: int = 0) -> nn.Module:
    """Return the original or pre-activation net of `depth` layers, with He initialization from `seed`.

    The original net of basic blocks is that of `cifar_net`. Raises UserError for unknown kinds and blocks, and for a depth that
    is not 6n+2 (basic) or 9n+2 (bottleneck).
    """
    choice(kind, get_args(Kind), "kind")
    choice(block, get_args(Shape), "block")
    per_n = 6 if block == "basic" else 9
    blocks, rest = divmod(depth - 2, per_n)
    if rest or blocks < 1:
        raise UserError(f"invalid depth {depth}: expected {per_n}n+2 with n ≥ 1, e.g. {per_n * max(blocks, 1) + 2}")
    if kind == "original" and block == "basic":
        return cifar_net("resnet", depth, classes=classes, seed=seed)
    net = He16Net(kind, blocks, block, classes)
    he_initialize(net, seed)
    return net
