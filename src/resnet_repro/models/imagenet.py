"""ImageNet family of He15 table 1: plain and residual networks of 18, 34, 50, 101 and 152 layers.

A 7×7 convolution of stride 2 to 64 channels, 3×3 max pooling of stride 2, four stages on maps of 56, 28, 14, 7 pixels
(for 224-pixel images), global average pooling, a linear layer. Nets of 18 and 34 layers have basic blocks with 64, 128,
256, 512 channels; deeper nets have bottlenecks with the same inner channels and four times as many output channels.
Batch normalization follows every convolution. Convolutions have no biases, and there is no dropout.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.models.blocks import EXPANSION, BasicBlock, Bottleneck, ShortcutOption, StrideAt, make_shortcut
from resnet_repro.models.initialization import he_initialize
from resnet_repro.models.norms import BatchNorm
from resnet_repro.parsing import choice

Kind = Literal["plain", "resnet"]
Depth = Literal[18, 34, 50, 101, 152]

STEM_CHANNELS = 64
STAGE_WIDTHS = (64, 128, 256, 512)
BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
FIRST_OF_BOTTLENECKS = 50


class ImageNetNet(nn.Module):
    """Network of `imagenet_net`. Attribute names are torchvision's (conv1, layer1.0.bn2, fc).

    Input (N, 3, H, W) float, output logits (N, classes) float32, also under autocast.
    """

    def __init__(self, kind: Kind, depth: Depth, shortcut: ShortcutOption, stride_at: StrideAt, classes: int) -> None:
        super().__init__()
        self.kind = kind
        in_channels = STEM_CHANNELS
        self.conv1 = nn.Conv2d(3, in_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm(in_channels)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        for stage, (width, count) in enumerate(zip(STAGE_WIDTHS, BLOCKS[depth], strict=True)):
            channels = width * (EXPANSION if depth >= FIRST_OF_BOTTLENECKS else 1)
            blocks: list[nn.Module] = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                skip = None
                if kind == "resnet":
                    skip = make_shortcut(shortcut, in_channels, channels, stride, BatchNorm)
                if depth >= FIRST_OF_BOTTLENECKS:
                    blocks.append(Bottleneck(in_channels, width, stride, BatchNorm, skip, stride_at=stride_at))
                else:
                    blocks.append(BasicBlock(in_channels, width, stride, BatchNorm, skip))
                in_channels = channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the input (N, 512 or 2048) of the last layer for images (N, 3, H, W)."""
        out = self.maxpool(F.relu(self.bn1(self.conv1(x))))  # (N, 64, H/4, W/4)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))  # (N, 512 or 2048, H/32, W/32)
        return self.avgpool(out).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x)).float()


def imagenet_net(
    kind: Kind = "resnet",
    depth: Depth = 18,
    shortcut: ShortcutOption = "B",
    stride_at: StrideAt = "3x3",
    classes: int = 1000,
    seed: int = 0,
) -> ImageNetNet:
    """Return plain-`depth` or ResNet-`depth` with He initialization from `seed`.

    kind: "plain" has no shortcuts.
    shortcut: "A" zero-padded identity, "B" projection if the size changes, "C" projection everywhere (He15 section 4.1).
    stride_at: convolution of a bottleneck with the stride: "1x1" (the first one) as in He15, "3x3" as in torchvision. It
        has no effect on basic blocks.

    torchvision's weights fit a ResNet with shortcut "B" and stride_at "3x3". With the same seed, a plain net and residual
    nets have the same weights on the main path.
    Raises UserError for unknown kinds, depths, shortcut options and values of stride_at.
    """
    choice(kind, get_args(Kind), "kind")
    choice(depth, BLOCKS, "depth")
    choice(shortcut, get_args(ShortcutOption), "shortcut option")
    choice(stride_at, get_args(StrideAt), "stride_at")
    net = ImageNetNet(kind, depth, shortcut, stride_at, classes)
    he_initialize(net, seed)
    return net
