"""Networks before GoogLeNet and ResNet: LeNet-5, AlexNet, ZFNet, VGG, and a small VGG for 28-pixel images.

Layers have the names of the papers (c1, conv1_1, fc6), and convolutions have biases unless batch normalization follows.
All networks use He initialization instead of the paper's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.initialization import he_initialize
from resnet_repro.models.norms import BatchNorm
from resnet_repro.parsing import choice

AlexNetVariant = Literal["lecture", "torchvision"]
Layers = OrderedDict[str, nn.Module]

VGG_WIDTH = 64
VGG_CONVOLUTIONS: dict[int, tuple[int, ...]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
DROPOUT = 0.5


class Classic(nn.Sequential):
    """Sequence of layers. Input (N, C, H, W) float, output logits (N, classes) float32, also under autocast."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).float()


def lenet_5(classes: int = 10, seed: int = 0) -> Classic:
    """LeNet-5 for (N, 1, 32, 32): 5×5 convolutions of 6, 16 and 120 channels, 84 units, tanh. 61,706 parameters.

    LeCun et al., *Gradient-Based Learning Applied to Document Recognition*, 1998, figure 2. Simplified: subsampling is
    2×2 average pooling without parameters, c3 is connected to all channels of s2 (in table I only to some), and the
    output is a linear layer instead of radial basis functions.
    """
    layers: Layers = OrderedDict(
        c1=nn.Conv2d(1, 6, 5),
        tanh1=nn.Tanh(),
        s2=nn.AvgPool2d(2),  # (N, 6, 14, 14)
        c3=nn.Conv2d(6, 16, 5),
        tanh3=nn.Tanh(),
        s4=nn.AvgPool2d(2),  # (N, 16, 5, 5)
        c5=nn.Conv2d(16, 120, 5),
        tanh5=nn.Tanh(),
        flatten=nn.Flatten(),
        f6=nn.Linear(120, 84),
        tanh6=nn.Tanh(),
        output=nn.Linear(84, classes),
    )
    return _initialized(layers, seed)


def alexnet(variant: AlexNetVariant = "lecture", classes: int = 1000, seed: int = 0) -> Classic:
    """AlexNet in one tower of 64, 192, 384, 256, 256 filters, without local response normalization.

    A. Krizhevsky et al., 2012, with the channels of *One weird trick* (2014). 61,100,840 parameters at 1,000 classes.
    variant: "lecture" is for 227×227 images and has dropout after the first two linear layers, as in the paper.
    "torchvision" is for 224×224 images (conv1 gives 55×55 instead of 56×56), and has adaptive average pooling to 6×6
    before the linear layers and dropout before the first two of them. The last map has 6×6 pixels in both.
    Raises UserError for unknown variants.
    """
    choice(variant, get_args(AlexNetVariant), "variant")
    layers: Layers = OrderedDict(
        conv1=nn.Conv2d(3, 64, 11, stride=4, padding=2),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2),  # (N, 64, 27, 27)
        conv2=nn.Conv2d(64, 192, 5, padding=2),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(3, stride=2),  # (N, 192, 13, 13)
        conv3=nn.Conv2d(192, 384, 3, padding=1),
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 256, 3, padding=1),
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(256, 256, 3, padding=1),
        relu5=nn.ReLU(),
        pool5=nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
    )
    if variant == "torchvision":
        layers["avgpool"] = nn.AdaptiveAvgPool2d(6)
    layers |= _linear_layers(6, (256 * 6 * 6, 4096, 4096, classes), drops_inputs=variant == "torchvision")
    return _initialized(layers, seed)


def zfnet(classes: int = 1000, seed: int = 0) -> Classic:
    """ZFNet for (N, 3, 224, 224): AlexNet with a finer first layer and 512, 1024, 512 filters in layers 3 to 5.

    M. Zeiler and R. Fergus, *Visualizing and Understanding Convolutional Networks*, 2014, figure 3 and the widest model
    of table 3, without contrast normalization. Pooling rounds sizes up, which gives the figure's maps of 110, 55, 26, 13
    and 6 pixels.
    """
    layers: Layers = OrderedDict(
        conv1=nn.Conv2d(3, 96, 7, stride=2, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 96, 55, 55)
        conv2=nn.Conv2d(96, 256, 5, stride=2),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 256, 13, 13)
        conv3=nn.Conv2d(256, 512, 3, padding=1),
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(512, 1024, 3, padding=1),
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(1024, 512, 3, padding=1),
        relu5=nn.ReLU(),
        pool5=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 512, 6, 6)
    )
    layers |= _linear_layers(6, (512 * 6 * 6, 4096, 4096, classes))
    return _initialized(layers, seed)


def vgg(depth: Literal[16, 19] = 16, classes: int = 1000, seed: int = 0) -> Classic:
    """VGG-16 or VGG-19 for (N, 3, 224, 224): configurations D and E, without batch normalization.

    K. Simonyan and A. Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2015, table 1.
    Raises UserError for other depths.
    """
    layers = vgg_stages(VGG_CONVOLUTIONS[choice(depth, VGG_CONVOLUTIONS, "depth")])
    layers |= _linear_layers(6, (512 * 7 * 7, 4096, 4096, classes))
    return _initialized(layers, seed)


def small_vgg(in_channels: int = 1, width: int = 32, classes: int = 10, seed: int = 0) -> Classic:
    """VGG for (N, in_channels, 28, 28), with batch normalization.

    Three stages of two 3×3 convolutions with `width`, 2·width, 4·width channels, each followed by 2×2 max pooling (to 14,
    7, 3 pixels); a linear layer of 256 units with dropout; a linear layer. Raises UserError for a width below 1.
    """
    if width < 1:
        raise UserError(f"invalid width {width}: expected a number of channels, at least 1")
    layers = vgg_stages((2, 2, 2), width, in_channels, batch_norm=True)
    layers |= _linear_layers(4, (4 * width * 3 * 3, 256, classes))
    return _initialized(layers, seed)


def vgg_stages(
    convolutions: Sequence[int], width: int = VGG_WIDTH, in_channels: int = 3, batch_norm: bool = False
) -> Layers:
    """Return stages of 3×3 convolutions with ReLU; each stage ends with 2×2 max pooling of stride 2.

    convolutions: number of convolutions of each stage.
    width: channels of the first stage; they double with each stage, up to 8·width.
    batch_norm: batch normalization before each ReLU, and no biases.

    (N, in_channels, H, W) → (N, C, H/2ˢ, W/2ˢ) for s stages of C channels in the last.
    """
    layers: Layers = OrderedDict()
    for stage, count in enumerate(convolutions, start=1):
        channels = width * min(2 ** (stage - 1), 8)
        for index in range(1, count + 1):
            number = f"{stage}_{index}"
            layers[f"conv{number}"] = nn.Conv2d(in_channels, channels, 3, padding=1, bias=not batch_norm)
            if batch_norm:
                layers[f"bn{number}"] = BatchNorm(channels)
            layers[f"relu{number}"] = nn.ReLU()
            in_channels = channels
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    return layers


def _linear_layers(first: int, units: Sequence[int], drops_inputs: bool = False) -> Layers:
    """Return a flattening and linear layers, named from fc`first` on; all but the last have ReLU and dropout.

    units: inputs of the first layer, then outputs of each. drops_inputs: dropout before a layer instead of after it.
    """
    layers: Layers = OrderedDict(flatten=nn.Flatten())
    pairs = list(pairwise(units))
    for number, (inputs, outputs) in enumerate(pairs, start=first):
        hidden = number < first + len(pairs) - 1
        if hidden and drops_inputs:
            layers[f"dropout{number}"] = nn.Dropout(DROPOUT)
        layers[f"fc{number}"] = nn.Linear(inputs, outputs)
        if hidden:
            layers[f"relu{number}"] = nn.ReLU()
        if hidden and not drops_inputs:
            layers[f"dropout{number}"] = nn.Dropout(DROPOUT)
    return layers


def _initialized(layers: Layers, seed: int) -> Classic:
    net = Classic(layers)
    he_initialize(net, seed)
    return net
