"""LeNet-5, AlexNet, ZFNet, VGG: torchvision's layers, published sizes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import torchvision
from measured_nets import maps, multiply_adds, on_meta
from torch import nn

from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.models import build
from resnet_repro.models.classics import alexnet, lenet_5, small_vgg, vgg, zfnet
from resnet_repro.models.googlenet import googlenet
from resnet_repro.models.inspect import main_path_convolutions


def leaves(net: nn.Module) -> list[str]:
    """The printed layers in sequence, without flattening, and adaptive pooling, which does nothing at the default size."""
    skipped = (nn.Flatten, nn.AdaptiveAvgPool2d)
    layers = [m for m in net.modules() if not list(m.children()) and not isinstance(m, skipped)]
    return [re.sub(r"(, )?inplace=\w+", "", repr(layer)) for layer in layers]


@pytest.mark.parametrize(
    ("spec", "torchvision_name"),
    [
        (("classics.alexnet", {"variant": "torchvision"}), "alexnet"),
        (("classics.vgg", {"depth": 16}), "vgg16"),
        (("classics.vgg", {"depth": 19}), "vgg19"),
    ],
)
def test_layers_equal_torchvisions(spec: tuple[str, dict], torchvision_name: str) -> None:
    net = on_meta(build, ModelSpec(*spec), 1000, 0)
    reference = on_meta(getattr(torchvision.models, torchvision_name))
    assert leaves(net) == leaves(reference)
    assert parameter_count(net) == parameter_count(reference)


def test_parameters_and_multiply_adds_equal_the_published_ones() -> None:
    assert parameter_count(on_meta(lenet_5)) == 61_706
    assert parameter_count(on_meta(alexnet)) == parameter_count(on_meta(alexnet, "torchvision")) == 61_100_840
    assert parameter_count(on_meta(googlenet, auxiliary=False)) == 6_998_552
    # He15 section 3.3 and Szegedy et al. 2015 section 1
    assert multiply_adds(on_meta(vgg, 19), (3, 224, 224)) == pytest.approx(19.6e9, rel=0.01)
    assert multiply_adds(on_meta(googlenet), (3, 224, 224)) == pytest.approx(1.5e9, rel=0.06)


@pytest.mark.parametrize(
    ("builder", "shape", "names", "expected"),
    [
        (lenet_5, (1, 32, 32), "c1 s2 c3 s4 c5", [(6, 28), (6, 14), (16, 10), (16, 5), (120, 1)]),
        (alexnet, (3, 227, 227), "conv1 pool1 pool2 conv3 pool5", [(64, 56), (64, 27), (192, 13), (384, 13), (256, 6)]),
        (
            zfnet,
            (3, 224, 224),
            "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5",
            [(96, 110), (96, 55), (256, 26), (256, 13), (512, 13), (1024, 13), (512, 13), (512, 6)],
        ),
        (vgg, (3, 224, 224), "conv1_2 pool3 conv4_3 pool5", [(64, 224), (256, 28), (512, 28), (512, 7)]),
        (
            small_vgg,
            (1, 28, 28),
            "conv1_2 pool1 pool2 conv3_1 pool3",
            [(32, 28), (32, 14), (64, 7), (128, 7), (128, 3)],
        ),
    ],
)
def test_map_sizes_of_the_classics(
    builder: Callable[..., nn.Module], shape: tuple[int, int, int], names: str, expected: list[tuple[int, int]]
) -> None:
    assert maps(on_meta(builder), shape, names) == expected


def test_dropout_of_alexnet_is_after_or_before_linear_layers_by_variant() -> None:
    for variant, order in (
        ("lecture", "fc6 relu6 dropout6 fc7 relu7 dropout7 fc8"),
        ("torchvision", "dropout6 fc6 relu6 dropout7 fc7 relu7 fc8"),
    ):
        names = [name for name, _ in on_meta(alexnet, variant).named_children()]
        assert " ".join(names[-7:]) == order


def test_small_vgg_has_batch_normalization_dropout_and_its_width() -> None:
    net = small_vgg(in_channels=3, width=4, classes=7)
    assert net(torch.randn(2, 3, 28, 28)).shape == (2, 7)
    assert [conv.out_channels for _, conv in main_path_convolutions(net)] == [4, 4, 8, 8, 16, 16]
    assert all(conv.bias is None for _, conv in main_path_convolutions(net))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 6
    assert sum(isinstance(m, nn.Dropout) for m in net.modules()) == 1
