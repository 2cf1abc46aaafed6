"""Parts of networks, built alone to be counted and compared: stacks of kernels, one Inception module, stages, stems.

Their input is a map (N, C, H, W) and so is their output; `classes`, which every builder takes, means nothing here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from torch import nn

from resnet_repro.errors import UserError
from resnet_repro.models.classics import VGG_CONVOLUTIONS, Classic, vgg, vgg_stages
from resnet_repro.models.googlenet import STEM_CHANNELS, TABLE_1, Inception, googlenet_stem_layers, modules_of
from resnet_repro.models.initialization import he_initialize
from resnet_repro.parsing import choice

Part = TypeVar("Part", bound=nn.Module)


def stack(kernel: int, count: int, channels: int, classes: int = 0, seed: int = 0) -> nn.Sequential:
    """`count` kernel×kernel convolutions with biases and ReLU, padded to keep the size.

    (N, channels, H, W) → the same. Raises UserError for an even kernel, which cannot keep it, and a count under 1.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise UserError(f"kernel {kernel} cannot keep the size of a map: take an odd one")
    if count < 1:
        raise UserError(f"{count} convolutions are no stack: take at least 1")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(1, count + 1):
        layers[f"conv{index}"] = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        layers[f"relu{index}"] = nn.ReLU()
    return _initialized(nn.Sequential(layers), seed)


def inception(
    module: str = "3a", bottlenecks: bool = True, pool_projection: bool = True, classes: int = 0, seed: int = 0
) -> Inception:
    """GoogLeNet's Inception module of that name, 3a to 5b; 3a maps (N, 192, 28, 28) to (N, 256, 28, 28).

    bottlenecks: 1×1 reductions before the 3×3 and the 5×5 convolution. pool_projection: a 1×1 projection behind the
    pooling, which else passes all channels on. Without both it is the naive module of Szegedy et al. 2015, figure 2a,
    and has more channels out: 416 for 3a. Raises UserError for unknown modules.
    """
    inputs = {name: channels for name, channels, _ in modules_of(TABLE_1, STEM_CHANNELS)}
    widths = TABLE_1[choice(module, TABLE_1, "module")]
    if not bottlenecks:
        widths = widths._replace(red_3x3=None, red_5x5=None)
    if not pool_projection:
        widths = widths._replace(out_pool=None)
    return _initialized(Inception(inputs[module], widths), seed)


def stage(channels: int, size: int, classes: int = 0, seed: int = 0) -> nn.Sequential:
    """Two of VGG's 3×3 convolutions without a change of channels, and the 2×2 max pooling that ends their stage.

    (N, channels, size, size) → (N, channels, size/2, size/2). `size` changes no layer; it says which maps the stage is
    for. Raises UserError for an odd size, which pooling cannot halve.
    """
    if size < 2 or size % 2:
        raise UserError(f"maps of {size} pixels cannot be halved: take an even size")
    return _initialized(nn.Sequential(vgg_stages((2,), channels, in_channels=channels)), seed)


def googlenet_stem(classes: int = 0, seed: int = 0) -> nn.Sequential:
    """GoogLeNet's layers from 224 to 28 pixels: (N, 3, 224, 224) → (N, 192, 28, 28). Weights as in `googlenet`."""
    return _initialized(googlenet_stem_layers(), seed)


def vgg_16_stem(classes: int = 0, seed: int = 0) -> nn.Sequential:
    """VGG-16's layers from 224 to 28 pixels: (N, 3, 224, 224) → (N, 256, 28, 28). Weights as in `vgg`."""
    return _initialized(nn.Sequential(vgg_stages(VGG_CONVOLUTIONS[16][:3])), seed)


def vgg_16_without_conv3_3(classes: int = 1000, seed: int = 0) -> Classic:
    """VGG-16 with two convolutions in its third stage: what the totals that notes-B gives for VGG-16 belong to.

    (N, 3, 224, 224) → logits (N, classes). The other layers' weights are those of `vgg`.
    """
    left_out = ("conv3_3", "relu3_3")
    layers = OrderedDict((n, layer) for n, layer in vgg(16, classes, seed).named_children() if n not in left_out)
    return Classic(layers)


def _initialized(part: Part, seed: int) -> Part:
    he_initialize(part, seed)
    return part
