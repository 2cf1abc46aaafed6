"""Networks of impl-D, a comparison of residual blocks with a plain network in TensorFlow 1, as its notebook builds them.

The residual nets have 6n+2 layers of 16, 32, 64 channels as in He15's CIFAR family, but biases in convolutions, Xavier
initialization, shortcuts that pool and pad, and no BN-ReLU after the last pre-activation block. The plain net is not the
residual net without additions: it halves its maps by max pooling and ends with two linear layers. In the source, batch
normalization never ran in training mode.
"""

from __future__ import annotations

from typing import Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.cifar import STAGE_CHANNELS, blocks_per_stage
from resnet_repro.models.norms import norm_factory
from resnet_repro.parsing import choice

Net = TypeVar("Net", bound=nn.Module)
Kind = Literal["original", "preact"]
Statistics = Literal["frozen", "batch"]
NORM_OF = {"frozen": "frozen", "batch": "batch-tf"}
PLAIN_DEPTH = 26  # layers that the source connects, of a net that it calls 32 layers deep
LEAST_PLAIN_DEPTH = 6  # the first convolution, one of each width, and two linear layers
HIDDEN = 1_000  # outputs of the plain net's first linear layer
LAST_MAP = 4  # side of the plain net's last map, for images of 32 × 32


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: as little as possible, and the odd pixel right and below.

    (N, in_channels, H, W) → (N, out_channels, ceil(H/stride), ceil(W/stride)). With stride 2, a kernel of 3 and an even
    size, the kernels are centred on the odd pixels; symmetric padding centres them on the even ones.
    """

    def forward(self, input: Tensor) -> Tensor:
        padding: list[int] = []
        for axis in (1, 0):  # F.pad begins with the last dimension
            size, kernel, stride = input.shape[axis - 2], self.kernel_size[axis], self.stride[axis]
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(input, padding))


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


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with biases, in the order of `kind`, and a shortcut.

    "original": conv-BN-ReLU-conv-BN, add, ReLU. "preact": BN-ReLU-conv-BN-ReLU-conv, add. The input of the shortcut is
    always the input of the block. (N, in_channels, H, W) → (N, channels, ceil(H/stride), ceil(W/stride)).
    """

    def __init__(self, kind: Kind, in_channels: int, channels: int, stride: int, norm: str) -> None:
        super().__init__()
        make_norm = norm_factory(norm)
        self.kind = kind
        if stride == 1:
            self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        else:
            self.conv1 = SameConv2d(in_channels, channels, 3, stride=stride)
        self.bn1 = make_norm(in_channels if kind == "preact" else channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = make_norm(channels)
        self.downsample = nn.Identity() if stride == 1 else PoolShortcut(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "preact":
            out = self.conv1(F.relu(self.bn1(x)))
            return self.conv2(F.relu(self.bn2(out))) + self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResidualNet(nn.Module):
    """Network of `residual_net`. Input (N, 3, H, W) float, output logits (N, classes) float32."""

    def __init__(self, kind: Kind, depth: int, norm: str, classes: int) -> None:
        super().__init__()
        self.norm_follows = kind != "preact"
        in_channels = STAGE_CHANNELS[0]
        self.conv1 = nn.Conv2d(3, in_channels, 3, padding=1)
        self.bn1 = norm_factory(norm)(in_channels)
        stages = []
        for index, channels in enumerate(STAGE_CHANNELS):
            blocks = []
            for block in range(blocks_per_stage(depth)):
                stride = 2 if index > 0 and block == 0 else 1
                blocks.append(ResidualBlock(kind, in_channels, channels, stride, norm))
                in_channels = channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.fc(self.avgpool(out).flatten(1)).float()


class PlainBlock(nn.Module):
    """A 3×3 convolution with biases, BN and ReLU. (N, in_channels, H, W) → (N, channels, H, W)."""

    def __init__(self, in_channels: int, channels: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.bn = norm_factory(norm)(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class PlainNet(nn.Module):
    """Network of `plain_net`. Input (N, 3, 32, 32) float, output logits (N, classes) float32."""

    def __init__(self, depth: int, norm: str, classes: int) -> None:
        super().__init__()
        in_channels = STAGE_CHANNELS[0]
        self.conv1 = nn.Conv2d(3, in_channels, 3, padding=1)
        stages = []
        for channels, count in zip(STAGE_CHANNELS, plain_stages(depth), strict=True):
            blocks = []
            for _ in range(count):
                blocks.append(PlainBlock(in_channels, channels, norm))
                in_channels = channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.fc1 = nn.Linear(in_channels * LAST_MAP**2, HIDDEN)
        self.norm = norm_factory(norm)(HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.conv1(x))
        for stage in (self.layer1, self.layer2, self.layer3):
            out = F.max_pool2d(stage(out), 2)
        out = self.fc1(out.flatten(1))
        out = F.relu(self.norm(out[:, :, None, None]).flatten(1))  # batch normalization here takes maps: one pixel each
        return self.fc2(out).float()


def plain_stages(depth: int) -> tuple[int, int, int]:
    """Return the number of blocks in each stage of a plain net of `depth` layers with weights.

    26 layers are the source's: a convolution, 9 + 9 + 5 blocks and two linear layers. Other depths have the same
    proportions. Raises UserError for a depth that leaves a stage without blocks.
    """
    if depth < LEAST_PLAIN_DEPTH:
        raise UserError(f"invalid depth {depth} of a plain net: expected at least {LEAST_PLAIN_DEPTH}")
    blocks = depth - 3
    first = min(round(blocks * 9 / 23), (blocks - 1) // 2)
    return first, first, blocks - 2 * first


def residual_net(
    kind: Kind, depth: int = 32, statistics: Statistics = "frozen", classes: int = 10, seed: int = 0
) -> ResidualNet:
    """Return a residual net of impl-D with uniform Xavier initialization from `seed` and zero biases.

    kind: order in a block, see `ResidualBlock`. The first convolution is followed by BN-ReLU in both kinds.
    statistics: "frozen" keeps the statistics of batch normalization at mean 0 and variance 1, as in the source; "batch" is
    batch normalization with TensorFlow's defaults. With the same seed, both kinds have the same weights.
    Raises UserError for unknown kinds and statistics, and for a depth that is not 6n+2.
    """
    choice(kind, get_args(Kind), "kind")
    return _initialized(ResidualNet(kind, depth, _norm(statistics), classes), seed)


def plain_net(
    depth: int = PLAIN_DEPTH, statistics: Statistics = "frozen", classes: int = 10, seed: int = 0
) -> PlainNet:
    """Return the plain net of impl-D, initialized as `residual_net`, for images of 32 × 32.

    A convolution with ReLU and without BN, blocks of 16 channels, 2×2 max pooling, blocks of 32, max pooling, blocks of
    64, max pooling, a linear layer of 1,000 outputs with BN and ReLU, and a linear layer. depth: see `plain_stages`.
    Raises UserError for unknown statistics and for a depth below 6.
    """
    return _initialized(PlainNet(depth, _norm(statistics), classes), seed)


def _norm(statistics: Statistics) -> str:
    return NORM_OF[choice(statistics, NORM_OF, "statistics")]


def _initialized(net: Net, seed: int) -> Net:
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return net
