"""ResNet-50 of blog-A for Fashion-MNIST, with a variable width and number of blocks, also with basic blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.blocks import EXPANSION, BasicBlock, Bottleneck, make_shortcut
from resnet_repro.models.initialization import he_initialize
from resnet_repro.models.norms import BatchNorm
from resnet_repro.parsing import choice

Block = Literal["bottleneck", "basic"]
BLOCKS = (3, 4, 6, 3)  # He15 table 1, 50 layers


class FashionResNet(nn.Module):
    """Network of `fashion_resnet`.

    A 3×3 convolution, four stages on maps of 28, 14, 7, 4 pixels, global average pooling, a linear layer.
    Input (N, 1, 28, 28) float, output logits (N, classes) float32.
    """

    def __init__(self, width: int, block: Block, classes: int, counts: Sequence[int] = BLOCKS) -> None:
        super().__init__()
        in_channels = width
        self.conv1 = nn.Conv2d(1, in_channels, 3, padding=1, bias=False)
        self.bn1 = BatchNorm(in_channels)
        stages = []
        for stage, count in enumerate(counts):
            channels = width * 2**stage
            blocks: list[nn.Module] = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                skip = make_shortcut("B", in_channels, channels, stride, BatchNorm)
                if block == "bottleneck":
                    blocks.append(Bottleneck(in_channels, channels // EXPANSION, stride, BatchNorm, skip))
                else:
                    blocks.append(BasicBlock(in_channels, channels, stride, BatchNorm, skip))
                in_channels = channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))  # (N, width, 28, 28)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))  # (N, 8·width, 4, 4)
        return self.fc(self.avgpool(out).flatten(1)).float()


def fashion_resnet(
    width: int, block: Block = "bottleneck", blocks: int | None = None, classes: int = 10, seed: int = 0
) -> FashionResNet:
    """Return a ResNet-50 for 28×28 grey images, with He initialization from `seed`.

    width: output channels C of the first stage; they double with each stage. He15's ResNet-50 has 256.
    block: "bottleneck" with C/4 inner channels, or "basic" with two 3×3 convolutions of C channels, which makes 34 layers.
    blocks: number of blocks in every stage; 1 makes a net of 14 layers. None: 3, 4, 6, 3, as in He15.

    Raises UserError for a width that is not a multiple of 4, for unknown blocks, and for less than one block.
    """
    if width < EXPANSION or width % EXPANSION:
        raise UserError(f"invalid width {width}: expected a multiple of {EXPANSION}")
    choice(block, get_args(Block), "block")
    if blocks is not None and blocks < 1:
        raise UserError(f"invalid blocks {blocks}: expected a number of at least 1, or None for 3, 4, 6, 3")
    net = FashionResNet(width, block, classes, BLOCKS if blocks is None else [blocks] * len(BLOCKS))
    he_initialize(net, seed)
    return net
