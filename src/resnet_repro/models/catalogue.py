"""Networks by name, with the input shape they are designed for. This module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from resnet_repro.config.arm import ModelSpec
from resnet_repro.errors import UserError
from resnet_repro.parsing import choice

IMAGENET = (3, 224, 224), 1000
CIFAR = (3, 32, 32), 10
CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)
LARGEST_SIDE = 100_000


@dataclass(frozen=True)
class CataloguedNet:
    """A network with its default input and output."""

    model: ModelSpec
    shape: tuple[int, int, int]
    """Input (C, H, W) for which parameters and multiply-adds are counted."""
    classes: int


def _net(builder: str, shape: tuple[int, int, int], classes: int, **options: Any) -> CataloguedNet:
    return CataloguedNet(ModelSpec(builder, options), shape, classes)


def _imagenet(kind: str, depth: int, **options: Any) -> CataloguedNet:
    return _net("imagenet.imagenet_net", *IMAGENET, kind=kind, depth=depth, **options)


# Bottlenecks have their stride in the 3×3 convolution, as in torchvision; in nets named -he15 in the first 1×1.
NETS: dict[str, CataloguedNet] = {
    "lenet-5": _net("classics.lenet_5", (1, 32, 32), 10),
    "alexnet": _net("classics.alexnet", (3, 227, 227), 1000),
    "alexnet-torchvision": _net("classics.alexnet", *IMAGENET, variant="torchvision"),
    "zfnet": _net("classics.zfnet", *IMAGENET),
    "vgg-16": _net("classics.vgg", *IMAGENET, depth=16),
    "vgg-19": _net("classics.vgg", *IMAGENET, depth=19),
    "googlenet": _net("googlenet.googlenet", *IMAGENET),
    **{f"plain-{depth}": _imagenet("plain", depth) for depth in (18, 34)},
    **{f"resnet-{depth}": _imagenet("resnet", depth) for depth in (18, 34, 50, 101, 152)},
    **{f"resnet-{depth}-he15": _imagenet("resnet", depth, stride_at="1x1") for depth in (50, 101, 152)},
    **{
        f"{kind}-{depth}": _net("cifar.cifar_net", *CIFAR, kind=kind, depth=depth)
        for kind in ("plain", "resnet")
        for depth in CIFAR_DEPTHS
    },
}


def catalogued(name: str) -> CataloguedNet:
    """Return the network of that name. Raises UserError if it is not in `NETS`."""
    return NETS[choice(name, NETS, "network")]


def parse_shape(text: str) -> tuple[int, int, int]:
    """Parse an image size (C, H, W), e.g. "3x224x224". Raises UserError if the text is not an image size."""
    numbers = text.lower().replace("×", "x").split("x")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and 0 < int(n) < LARGEST_SIDE for n in numbers):
        raise UserError(
            f"invalid INPUT {text!r}: expected channels, height and width under {LARGEST_SIDE:,}, e.g. 3x224x224"
        )
    channels, height, width = map(int, numbers)
    return channels, height, width
