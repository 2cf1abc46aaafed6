"""Residual blocks of He15 and their shortcuts, shared by the CIFAR and ImageNet families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MakeNorm = Callable[[int], nn.Module]
ShortcutOption = Literal["A", "B", "C"]
StrideAt = Literal["3x3", "1x1"]

EXPANSION = 4


class PadShortcut(nn.Module):
    """Shortcut option A (He15 section 3.3): subsampled identity, padded with zero channels on both sides. No parameters.

    (N, in_channels, H, W) → (N, channels, ceil(H/stride), ceil(W/stride)).
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        missing = channels - in_channels
        self.before, self.after = missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def make_shortcut(option: ShortcutOption, in_channels: int, channels: int, stride: int, norm: MakeNorm) -> nn.Module:
    """Return the shortcut of a block (He15 section 4.1).

    If the size changes: `PadShortcut` for option "A", a projection (1×1 convolution and norm) for "B". Otherwise both are
    the identity. Option "C" is always a projection.
    """
    changes_size = stride != 1 or in_channels != channels
    if option == "C" or (option == "B" and changes_size):
        return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), norm(channels))
    return PadShortcut(in_channels, channels, stride) if changes_size else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, y = relu(F(x) + shortcut(x)), or y = relu(F(x)) without a shortcut (He15 figure 2).

    each: a shortcut around each convolution instead, y = relu(bn(conv(x)) + shortcut(x)) twice; the second shortcut is
    the identity (He15 section 3.2).
    bias: biases in both convolutions.
    branch_scale: first value of a learned factor a of the branch, y = relu(a·F(x) + shortcut(x)). None: no factor.
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
        bias: bool = False,
        branch_scale: float | None = None,
    ) -> None:
        super().__init__()
        assert shortcut is not None or not each, "each=True needs a shortcut"
        assert branch_scale is None or (shortcut is not None and not each), "branch_scale needs one shortcut per block"
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=1, padding=1, bias=bias)
        self.bn2 = norm(channels)
        self.branch_scale = None if branch_scale is None else nn.Parameter(torch.tensor(branch_scale))
        self.downsample = shortcut
        self.each = each

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x))
        if self.each and self.downsample is not None:
            middle = F.relu(out + self.downsample(x))
            return F.relu(self.bn2(self.conv2(middle)) + middle)
        out = self.bn2(self.conv2(F.relu(out)))
        if self.branch_scale is not None:
            out = out * self.branch_scale
        if self.downsample is not None:
            out = out + self.downsample(x)
        return F.relu(out)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions of `width`, `width` and `expansion`·`width` channels (He15 figure 5).

    conv-BN-ReLU, conv-BN-ReLU, conv-BN, addition of the shortcut unless it is None, ReLU.
    stride_at: the convolution with the stride: "1x1" is the first one, as in He15; "3x3" as in torchvision.
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
