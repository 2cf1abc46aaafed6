"""32-layer networks of impl-D, a comparison of residual blocks in TensorFlow 1.

6n+2 layers of 16, 32, 64 channels as in He15's CIFAR family, but with biases in convolutions, Xavier initialization,
shortcuts that pool and pad, and no BN-ReLU after the last pre-activation block. In the source, batch normalization never
ran in training mode. The report does not specify the channels, the position of the stride (a block's first convolution)
and the last layers (average pooling and a linear layer); these are He15's.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.models.cifar import STAGE_CHANNELS, blocks_per_stage
from resnet_repro.models.norms import norm_factory
from resnet_repro.parsing import choice

Kind = Literal["plain", "original", "preact"]
Statistics = Literal["frozen", "batch"]
NORM_OF = {"frozen": "frozen", "batch": "batch-tf"}


class PoolShortcut(nn.Module):
    """Shortcut of 1×1 max pooling with stride 2 (every second pixel), padded with zero channels on both sides.

    (N, in_channels, H, W) → (N, channels, ceil(H/2), ceil(W/2)).
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        missing = channels - in_channels
        self.before, self.after = missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(F.max_pool2d(x, 1, stride=2), (0, 0, 0, 0, self.before, self.after))


class Block(nn.Module):
    """Two 3×3 convolutions with biases, in the order of `kind`.

    "original": conv-BN-ReLU-conv-BN, add, ReLU. "plain": the same without the addition. "preact":
    BN-ReLU-conv-BN-ReLU-conv, add. The input of the shortcut is always the input of the block.
    (N, in_channels, H, W) → (N, channels, H/stride, W/stride).
    """

    def __init__(self, kind: Kind, in_channels: int, channels: int, stride: int, norm: str) -> None:
        super().__init__()
        make_norm = norm_factory(norm)
        self.kind = kind
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.bn1 = make_norm(in_channels if kind == "preact" else channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = make_norm(channels)
        self.downsample = None
        if kind != "plain":
            self.downsample = nn.Identity() if stride == 1 else PoolShortcut(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "preact":
            out = self.conv1(F.relu(self.bn1(x)))
            out = self.conv2(F.relu(self.bn2(out)))
        else:
            out = F.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            out = out + self.downsample(x)
        return out if self.kind == "preact" else F.relu(out)


class ImplDNet(nn.Module):
    """Network of `impl_d_net`. Input (N, 3, H, W) float, output logits (N, classes) float32.

    BN-ReLU follows the first convolution, unless the blocks are pre-activation blocks, which begin with BN-ReLU.
    """

    def __init__(self, kind: Kind, depth: int, norm: str, classes: int) -> None:
        super().__init__()
        self.norm_follows = kind != "preact"
        in_channels = STAGE_CHANNELS[0]
        self.conv1 = nn.Conv2d(3, in_channels, 3, padding=1)
        self.bn1 = norm_factory(norm)(in_channels) if self.norm_follows else nn.Identity()
        stages = []
        for index, channels in enumerate(STAGE_CHANNELS):
            blocks = []
            for block in range(blocks_per_stage(depth)):
                stride = 2 if index > 0 and block == 0 else 1
                blocks.append(Block(kind, in_channels, channels, stride, norm))
                in_channels = channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        if self.norm_follows:
            out = F.relu(self.bn1(out))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.fc(self.avgpool(out).flatten(1)).float()


def impl_d_net(
    kind: Kind, depth: int = 32, statistics: Statistics = "frozen", classes: int = 10, seed: int = 0
) -> ImplDNet:
    """Return a net of impl-D with uniform Xavier initialization from `seed` and zero biases.

    statistics: "frozen" keeps the statistics of batch normalization at mean 0 and variance 1, as in the source; "batch" is
    batch normalization with TensorFlow's defaults. With the same seed, nets of all kinds have the same weights.
    Raises UserError for unknown kinds and statistics, and for a depth that is not 6n+2.
    """
    choice(kind, get_args(Kind), "kind")
    net = ImplDNet(kind, depth, NORM_OF[choice(statistics, NORM_OF, "statistics")], classes)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return net
