"""Parts of networks for counting and comparison: single layers, stacks, blocks, Inception modules, stages, stems.

Inputs and outputs are maps (N, C, H, W). Every builder takes `classes`, which has no effect on such parts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, TypeVar, get_args

from torch import nn

from resnet_repro.errors import UserError
from resnet_repro.models.blocks import EXPANSION, BasicBlock, Bottleneck
from resnet_repro.models.classics import VGG_CONVOLUTIONS, Classic, vgg, vgg_stages
from resnet_repro.models.googlenet import STEM_CHANNELS, TABLE_1, Inception, googlenet_stem_layers, modules_of
from resnet_repro.models.initialization import he_initialize
from resnet_repro.models.norms import BatchNorm
from resnet_repro.parsing import choice

Part = TypeVar("Part", bound=nn.Module)
BlockKind = Literal["basic", "bottleneck"]


def conv(
    in_channels: int,
    channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    classes: int = 0,
    seed: int = 0,
) -> nn.Sequential:
    """Return one kernel×kernel convolution with biases.

    (N, in_channels, H, W) → (N, channels, H', W') with H' = floor((H + 2·padding - kernel) / stride) + 1.
    """
    layer = nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=padding)
    return _initialized(nn.Sequential(OrderedDict(conv=layer)), seed)


def pool(kernel: int = 2, classes: int = 0, seed: int = 0) -> nn.Sequential:
    """Return a max pooling whose windows do not overlap: (N, C, H, W) → (N, C, H/kernel, W/kernel)."""
    return nn.Sequential(OrderedDict(pool=nn.MaxPool2d(kernel)))


def residual_block(kind: BlockKind, channels: int, classes: int = 0, seed: int = 0) -> nn.Module:
    """Return a block of He15 figure 5 with an identity shortcut: (N, channels, H, W) → (N, channels, H, W).

    kind: "basic" has two 3×3 convolutions. "bottleneck" has 1×1, 3×3 and 1×1 convolutions, the inner ones with a quarter of
    the channels. Raises UserError for unknown kinds, and for a bottleneck whose channels are not a multiple of 4.
    """
    if choice(kind, get_args(BlockKind), "kind") == "basic":
        return _initialized(BasicBlock(channels, channels, 1, BatchNorm, nn.Identity()), seed)
    if channels % EXPANSION:
        raise UserError(f"invalid channels {channels}: expected a multiple of {EXPANSION}")
    return _initialized(Bottleneck(channels, channels // EXPANSION, 1, BatchNorm, nn.Identity()), seed)


def stack(kernel: int, count: int, channels: int, classes: int = 0, seed: int = 0) -> nn.Sequential:
    """Return `count` kernel×kernel convolutions with biases and ReLU, padded to keep the map size.

    (N, channels, H, W) → (N, channels, H, W). Raises UserError for an even kernel, which changes the map size, and for a
    count below 1.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise UserError(f"invalid kernel {kernel}: expected an odd size, which keeps the map size")
    if count < 1:
        raise UserError(f"invalid count {count}: expected a number of convolutions, at least 1")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(1, count + 1):
        layers[f"conv{index}"] = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        layers[f"relu{index}"] = nn.ReLU()
    return _initialized(nn.Sequential(layers), seed)


def inception(
    module: str = "3a", bottlenecks: bool = True, pool_projection: bool = True, classes: int = 0, seed: int = 0
) -> Inception:
    """Return an Inception module of GoogLeNet, "3a" to "5b"; 3a maps (N, 192, 28, 28) to (N, 256, 28, 28).

    bottlenecks: 1×1 reductions before the 3×3 and 5×5 convolutions.
    pool_projection: a 1×1 projection after the pooling; without it, the pooling branch keeps all input channels.

    Without both, this is the naive module of Szegedy et al. 2015, figure 2a, with more output channels: 416 for 3a.
    Raises UserError for unknown modules.
    """
    inputs = {name: channels for name, channels, _ in modules_of(TABLE_1, STEM_CHANNELS)}
    widths = TABLE_1[choice(module, TABLE_1, "module")]
    if not bottlenecks:
        widths = widths._replace(red_3x3=None, red_5x5=None)
    if not pool_projection:
        widths = widths._replace(out_pool=None)
    return _initialized(Inception(inputs[module], widths), seed)


def stage(channels: int, size: int, classes: int = 0, seed: int = 0) -> nn.Sequential:
    """Return two 3×3 convolutions of VGG with `channels` inputs and outputs, and a 2×2 max pooling.

    (N, channels, size, size) → (N, channels, size/2, size/2). size: map size in pixels; it does not change the layers.
    Raises UserError for an odd size, which pooling cannot halve.
    """
    if size < 2 or size % 2:
        raise UserError(f"invalid size {size}: expected an even number of pixels")
    return _initialized(nn.Sequential(vgg_stages((2,), channels, in_channels=channels)), seed)


def googlenet_stem(classes: int = 0, seed: int = 0) -> nn.Sequential:
    """Return GoogLeNet's layers from 224 to 28 pixels: (N, 3, 224, 224) → (N, 192, 28, 28). Weights as in `googlenet`."""
    return _initialized(googlenet_stem_layers(), seed)


def vgg_16_stem(classes: int = 0, seed: int = 0) -> nn.Sequential:
    """Return VGG-16's layers from 224 to 28 pixels: (N, 3, 224, 224) → (N, 256, 28, 28). Weights as in `vgg`."""
    return _initialized(nn.Sequential(vgg_stages(VGG_CONVOLUTIONS[16][:3])), seed)


def vgg_16_without_conv3_3(classes: int = 1000, seed: int = 0) -> Classic:
    """Return VGG-16 with only two convolutions in its third stage, which gives the totals of notes-B for VGG-16.

    (N, 3, 224, 224) → logits (N, classes). Weights of the other layers are the same as in `vgg`.
    """
    omitted = ("conv3_3", "relu3_3")
    layers = OrderedDict((n, layer) for n, layer in vgg(16, classes, seed).named_children() if n not in omitted)
    return Classic(layers)


def _initialized(part: Part, seed: int) -> Part:
    he_initialize(part, seed)
    return part
