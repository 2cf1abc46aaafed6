"""GoogLeNet (C. Szegedy et al., *Going Deeper with Convolutions*, 2015) and a small variant for 32-pixel images.

Nine Inception modules, 3a to 5b, in three stages with max pooling between them; global average pooling; a linear layer;
no batch normalization. Two auxiliary heads after 4a and 4d add losses for the early layers.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.initialization import he_initialize
from resnet_repro.parsing import choice

Initialization = Literal["he", "caffe"]


class Widths(NamedTuple):
    """Output channels of the convolutions of an Inception module, a row of table 1."""

    out_1x1: int
    red_3x3: int | None
    """1×1 reduction before the 3×3 convolution. None: no reduction."""
    out_3x3: int
    red_5x5: int | None
    """1×1 reduction before the 5×5 convolution. None: no reduction."""
    out_5x5: int
    out_pool: int | None
    """1×1 projection after the pooling. None: no projection."""

    def channels(self, in_channels: int) -> int:
        """Return the output channels of a module with `in_channels` input channels."""
        pool_channels = in_channels if self.out_pool is None else self.out_pool
        return self.out_1x1 + self.out_3x3 + self.out_5x5 + pool_channels


TABLE_1 = {
    "3a": Widths(64, 96, 128, 16, 32, 32),
    "3b": Widths(128, 128, 192, 32, 96, 64),
    "4a": Widths(192, 96, 208, 16, 48, 64),
    "4b": Widths(160, 112, 224, 24, 64, 64),
    "4c": Widths(128, 128, 256, 24, 64, 64),
    "4d": Widths(112, 144, 288, 32, 64, 64),
    "4e": Widths(256, 160, 320, 32, 128, 128),
    "5a": Widths(256, 160, 320, 32, 128, 128),
    "5b": Widths(384, 192, 384, 48, 128, 128),
}
STEM_CHANNELS = 192
HEADS_AFTER: tuple[str, ...] = ("4a", "4d")
CAFFE_BIAS = 0.2  # initial bias of hidden layers in Caffe's replication of GoogLeNet
HEAD_STD = 0.01  # initial standard deviation of the weights of a head's last layer
HEAD_SIDE = 4  # side of the maps after a head's pooling, from 14 pixels, or 16 in the small net


class Inception(nn.Module):
    """Inception module (figure 2): parallel 1×1, 3×3, 5×5 convolutions and 3×3 max pooling, ReLU after convolutions.

    1×1 reductions precede the 3×3 and 5×5 convolutions, and a 1×1 projection follows the pooling (figure 2b), unless
    their width is None (figure 2a). (N, in_channels, H, W) → (N, `channels`, H, W).
    """

    def __init__(self, in_channels: int, widths: Widths) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)

        w = widths
        self.out_1x1 = conv(in_channels, w.out_1x1, 1)
        self.red_3x3 = None if w.red_3x3 is None else conv(in_channels, w.red_3x3, 1)
        self.out_3x3 = conv(w.red_3x3 or in_channels, w.out_3x3, 3)
        self.red_5x5 = None if w.red_5x5 is None else conv(in_channels, w.red_5x5, 1)
        self.out_5x5 = conv(w.red_5x5 or in_channels, w.out_5x5, 5)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.out_pool = None if w.out_pool is None else conv(in_channels, w.out_pool, 1)
        self.channels = w.channels(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        for_3x3 = x if self.red_3x3 is None else F.relu(self.red_3x3(x))
        for_5x5 = x if self.red_5x5 is None else F.relu(self.red_5x5(x))
        pooled = self.pool(x)
        if self.out_pool is not None:
            pooled = F.relu(self.out_pool(pooled))
        branches = F.relu(self.out_1x1(x)), F.relu(self.out_3x3(for_3x3)), F.relu(self.out_5x5(for_5x5)), pooled
        return torch.cat(branches, dim=1)


class Head(nn.Module):
    """Auxiliary classifier (section 5): 5×5 average pooling of stride 3, 1×1 convolution, two linear layers.

    Dropout of 70 % precedes the last layer. (N, in_channels, H, W) with H, W of 14 to 16 → logits (N, classes) float32.
    """

    def __init__(self, in_channels: int, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv = nn.Conv2d(in_channels, channels, 1)
        self.fc1 = nn.Linear(channels * HEAD_SIDE**2, hidden)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.conv(self.pool(x)))
        out = F.relu(self.fc1(out.flatten(1)))
        return self.fc2(self.dropout(out)).float()


class GoogLeNet(nn.Module):
    """Stem, Inception modules, global average pooling, dropout, a linear layer, and auxiliary heads.

    table: {name: widths} of the modules.
    dropout: probability before the linear layer; 0 for no dropout.
    heads: {name of the module before the head: (channels, hidden units)}; empty for no heads.

    Input (N, 3, H, W) float. Output logits (N, classes) float32, also under autocast. In training mode with heads, the
    output is a tuple (logits, logits of the first head, logits of the second head).
    """

    def __init__(
        self,
        stem: nn.Sequential,
        stem_channels: int,
        table: Mapping[str, Widths],
        dropout: float,
        classes: int,
        heads: Mapping[str, tuple[int, int]],
    ) -> None:
        super().__init__()
        self.stem = stem
        trunk: OrderedDict[str, nn.Module] = OrderedDict()
        modules: dict[str, Inception] = {}
        stage, name = None, ""
        for name, inputs, widths in modules_of(table, stem_channels):
            if stage not in (None, name[0]):
                trunk[f"pool{stage}"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            stage = name[0]
            trunk[name] = modules[name] = Inception(inputs, widths)
        self.trunk = nn.Sequential(trunk)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.fc = nn.Linear(modules[name].channels, classes)
        # Heads come last: layers are initialized in this order, so the other weights do not depend on the heads.
        self.heads = nn.ModuleDict(
            {
                name: Head(modules[name].channels, channels, hidden, classes)
                for name, (channels, hidden) in heads.items()
            }
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        out = self.stem(x)
        head_logits = []
        for name, module in self.trunk.named_children():
            out = module(out)
            if self.training and name in self.heads:
                head_logits.append(self.heads[name](out))
        logits = self.fc(self.dropout(self.avgpool(out).flatten(1))).float()
        return (logits, *head_logits) if head_logits else logits


def modules_of(table: Mapping[str, Widths], in_channels: int) -> Iterator[tuple[str, int, Widths]]:
    """Yield (name, input channels, widths) of the modules of `table` in sequence, after `in_channels` channels."""
    for name, widths in table.items():
        yield name, in_channels, widths
        in_channels = widths.channels(in_channels)


def googlenet_stem_layers() -> nn.Sequential:
    """Return the layers before the Inception modules: (N, 3, 224, 224) → (N, 192, 28, 28). Pooling rounds sizes up."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 64, 56, 56)
            conv2_reduce=nn.Conv2d(64, 64, 1),
            relu2_reduce=nn.ReLU(),
            conv2=nn.Conv2d(64, STEM_CHANNELS, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        )
    )


def googlenet(auxiliary: bool = True, classes: int = 1000, seed: int = 0) -> GoogLeNet:
    """Return GoogLeNet of table 1 for 224×224 images, with He initialization from `seed`.

    auxiliary: add the two heads, which do not change the other weights. Kernels of the 5×5 branches are 5×5
    (torchvision's are 3×3). Local response normalization is omitted, as in the table. Output: see `GoogLeNet`.
    """
    heads = dict.fromkeys(HEADS_AFTER, (128, 1024)) if auxiliary else {}
    net = GoogLeNet(googlenet_stem_layers(), STEM_CHANNELS, TABLE_1, 0.4, classes, heads)
    _initialize(net, seed)
    return net


def small_googlenet(
    auxiliary: bool = True, width: int = 32, initialization: Initialization = "he", classes: int = 10, seed: int = 0
) -> GoogLeNet:
    """Return a GoogLeNet for 32×32 images, with the same modules and heads on maps of 32, 16, 8 pixels.

    Stem: two 3×3 convolutions to `width` channels. Modules have `width`, 2·width and 4·width output channels, divided
    among the branches about as in table 1 (1×1 a quarter, 3×3 a half, 5×5 and pooling an eighth each). Heads have `width`
    channels and 8·width units. Only the heads have dropout. 32 million multiply-adds per image at width 32.
    auxiliary: add the two heads, which do not change the other weights.
    initialization: "he", or "caffe" as in Caffe's replication of GoogLeNet: weights from U(-√(3/fan_in), √(3/fan_in)),
    which is half of He's variance, and biases of 0.2, or of 0 in the last layers of trunk and heads.
    Raises UserError for a width that is not a multiple of 8, and for an unknown initialization.
    """
    choice(initialization, get_args(Initialization), "initialization")
    if width < 8 or width % 8:
        raise UserError(f"invalid width {width}: expected a multiple of 8")
    stem = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, width // 2, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(width // 2, width, 3, padding=1),
            relu2=nn.ReLU(),
        )
    )
    table = {}
    for name in TABLE_1:
        unit = width // 8 * 2 ** (int(name[0]) - 3)
        table[name] = Widths(2 * unit, 3 * unit, 4 * unit, unit, unit, unit)
    heads = dict.fromkeys(HEADS_AFTER, (width, 8 * width)) if auxiliary else {}
    net = GoogLeNet(stem, width, table, 0.0, classes, heads)
    if initialization == "caffe":
        _initialize_as_caffe(net, seed)
    else:
        _initialize(net, seed)
    return net


def _initialize_as_caffe(net: GoogLeNet, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    last = [net.fc, *(cast(Head, head).fc2 for head in net.heads.values())]
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = math.sqrt(3 / layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, 0.0 if layer in last else CAFFE_BIAS)


def _initialize(net: GoogLeNet, seed: int) -> None:
    """Apply He initialization, and scale the last layer of each head to a standard deviation of 0.01.

    torchvision uses 0.01 in all layers. The initial loss of a head is then that of guessing. With He initialization, 70 %
    dropout and no normalization it would be several times larger, and dominate the loss of the network.
    """
    he_initialize(net, seed)
    with torch.no_grad():
        for head in net.heads.values():
            last = cast(Head, head).fc2
            last.weight.mul_(HEAD_STD / math.sqrt(2 / last.in_features))
