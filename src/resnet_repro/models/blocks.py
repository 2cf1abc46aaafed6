"""The residual blocks of He15 and their shortcuts, which the CIFAR and ImageNet families share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

MakeNorm = Callable[[int], nn.Module]
ShortcutOption = Literal["A", "B", "C"]
StrideAt = Literal["3x3", "1x1"]

EXPANSION = 4


class PadShortcut(nn.Module):
    """Option A: every second pixel of the input, the missing channels filled with zeros on both sides. No parameters.

    (N, C, H, W) → (N, channels, ceil(H/stride), ceil(W/stride)). He15 section 3.3.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        missing = channels - in_channels
        self.before, self.after = missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def make_shortcut(option: ShortcutOption, in_channels: int, channels: int, stride: int, norm: MakeNorm) -> nn.Module:
    """The shortcut of a block, by He15 section 4.1: the identity where "A" or "B" meets no change of size.

    "A": `PadShortcut` where the size changes. "B": a projection (1×1 convolution and norm) where the size changes.
    "C": a projection everywhere.
    """
    changes_size = stride != 1 or in_channels != channels
    if option == "C" or (option == "B" and changes_size):
        return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), norm(channels))
    return PadShortcut(in_channels, channels, stride) if changes_size else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3×3 convolutions; with a shortcut, y = relu(F(x) + shortcut(x)), else y = relu(F(x)).  He15 figure 2.

    each: a shortcut around each of the two instead, y = relu(bn(conv(x)) + shortcut(x)) twice; the second's is the
    identity.  He15 section 3.2.
    (N, in_channels, H, W) → (N, channels, H/stride, W/stride).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        norm: MakeNorm,
        shortcut: nn.Module | None,
        each: bool = False,
    ) -> None:
        super().__init__()
        assert shortcut is not None or not each, "a shortcut around each convolution needs a shortcut"
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=1, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.downsample = shortcut
        self.each = each

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x))
        if self.each and self.downsample is not None:
            middle = F.relu(out + self.downsample(x))
            return F.relu(self.bn2(self.conv2(middle)) + middle)
        out = self.bn2(self.conv2(F.relu(out)))
        if self.downsample is not None:
            out = out + self.downsample(x)
        return F.relu(out)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolution; the first two have `width` channels, the last `expansion` times as many.

    conv-BN-ReLU, conv-BN-ReLU, conv-BN, plus the shortcut where there is one, ReLU.  He15 figure 5.
    stride_at: the convolution with the stride, "1x1" for the first as in He15, "3x3" as in torchvision.
    (N, in_channels, H, W) → (N, expansion·width, H/stride, W/stride).
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        norm: MakeNorm,
        shortcut: nn.Module | None,
        expansion: int = EXPANSION,
        stride_at: StrideAt = "3x3",
    ) -> None:
        super().__init__()
        channels = expansion * width
        first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=first, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn1, self.bn2, self.bn3 = norm(width), norm(width), norm(channels)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            out = out + self.downsample(x)
        return F.relu(out)
