"""Residual and plain networks for ImageNet."""

from __future__ import annotations

import pytest
import torch
import torchvision
from measured_nets import multiply_adds, on_meta
from torch import nn

from resnet_repro.models.blocks import Bottleneck, PadShortcut
from resnet_repro.models.imagenet import imagenet_net
from resnet_repro.models.inspect import main_path_convolutions


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnets_with_torchvisions_weights_give_its_outputs(depth: int) -> None:
    torch.manual_seed(0)
    reference = getattr(torchvision.models, f"resnet{depth}")()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        reference.train()(images)  # moves the running statistics away from 0 and 1
        net = on_meta(imagenet_net, "resnet", depth)
        net.load_state_dict(reference.state_dict(), assign=True)
        assert torch.allclose(net(images), reference.eval()(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("depth", "published"), [(18, 1.8e9), (34, 3.6e9), (50, 3.8e9), (101, 7.6e9), (152, 11.3e9)])
def test_multiply_adds_and_layers_equal_table_1(depth: int, published: float) -> None:
    net = on_meta(imagenet_net, "resnet", depth, stride_at="1x1")
    assert multiply_adds(net, (3, 224, 224)) == pytest.approx(published, rel=0.03)
    assert len(main_path_convolutions(net)) + 1 == depth


@pytest.mark.parametrize("depth", [18, 34])
def test_plain_nets_are_resnets_without_shortcuts(depth: int) -> None:
    plain, residual = on_meta(imagenet_net, "plain", depth), on_meta(imagenet_net, "resnet", depth, "A")
    assert plain.state_dict().keys() == residual.state_dict().keys()
    assert multiply_adds(plain, (3, 224, 224)) == multiply_adds(residual, (3, 224, 224))
    assert not any("downsample" in name for name, _ in plain.named_modules())


def test_bottlenecks_add_their_shortcut_if_they_have_one() -> None:
    x = torch.rand(2, 8, 6, 6)
    pad = PadShortcut(8, 12, 2)
    for shortcut, expected in ((pad, pad(x)), (None, torch.zeros(2, 12, 3, 3))):
        block = Bottleneck(8, 4, 2, nn.BatchNorm2d, shortcut, expansion=3)
        nn.init.zeros_(block.bn3.weight)  # type: ignore[arg-type]
        assert torch.equal(block(x), expected)


@pytest.mark.parametrize(("stride_at", "strides"), [("1x1", [2, 1, 1]), ("3x3", [1, 2, 1])])
def test_stride_at_sets_the_convolution_with_the_stride(stride_at: str, strides: list[int]) -> None:
    block = on_meta(imagenet_net, "resnet", 50, stride_at=stride_at).get_submodule("layer2.0")
    assert [conv.stride[0] for _, conv in main_path_convolutions(block)] == strides
