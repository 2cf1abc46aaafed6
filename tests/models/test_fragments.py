"""Parts of networks: stacks of convolutions, Inception modules, stages, stems."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from measured_nets import multiply_adds, on_meta

from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.errors import UserError
from resnet_repro.models.classics import Classic, vgg
from resnet_repro.models.fragments import (
    conv,
    googlenet_stem,
    inception,
    pool,
    residual_block,
    stack,
    stage,
    vgg_16_stem,
)
from resnet_repro.models.googlenet import TABLE_1, googlenet
from resnet_repro.models.weights import state_sha256


def test_stacks_keep_the_map_size_and_have_the_given_layers() -> None:
    for kernel, count in ((5, 1), (3, 2), (7, 1), (3, 3)):
        net = on_meta(stack, kernel, count, 16)
        assert net(torch.empty(1, 16, 9, 9, device="meta")).shape == (1, 16, 9, 9)
        assert parameter_count(net) == count * (kernel**2 * 16**2 + 16)
        assert multiply_adds(net, (16, 9, 9)) == 81 * count * kernel**2 * 16**2


def test_stages_cost_the_same_if_channels_double_and_sizes_halve() -> None:
    costs = {multiply_adds(on_meta(stage, c, s), (c, s, s)) for c, s in ((64, 56), (128, 28), (256, 14))}
    assert costs == {2 * 9 * 64**2 * 56**2}
    assert on_meta(stage, 8, 6)(torch.empty(1, 8, 6, 6, device="meta")).shape == (1, 8, 3, 3)


def test_multiply_adds_of_inception_modules_with_and_without_bottlenecks() -> None:
    shape = (192, 28, 28)
    pixels = 28 * 28
    full, naive = on_meta(inception, "3a"), on_meta(inception, "3a", bottlenecks=False, pool_projection=False)
    by_hand = 192 * (64 + 96 + 16 + 32) + 9 * 96 * 128 + 25 * 16 * 32
    assert multiply_adds(full, shape) == pixels * by_hand
    assert multiply_adds(naive, shape) == pixels * 192 * (64 + 9 * 128 + 25 * 32)
    assert naive(torch.empty(1, *shape, device="meta")).shape == (1, 64 + 128 + 32 + 192, 28, 28)
    projected = on_meta(inception, "3a", bottlenecks=False)
    assert projected(torch.empty(1, *shape, device="meta")).shape == (1, 256, 28, 28)


def test_pooling_of_the_naive_module_keeps_all_input_channels() -> None:
    x = torch.randn(1, 192, 5, 5)
    assert torch.equal(inception(bottlenecks=False, pool_projection=False)(x)[:, -192:], F.max_pool2d(x, 3, 1, 1))


def test_inception_modules_have_the_shapes_of_googlenets() -> None:
    net = on_meta(googlenet)
    for name in TABLE_1:
        shapes = {key: tensor.shape for key, tensor in on_meta(inception, name).state_dict().items()}
        assert shapes == {key: t.shape for key, t in net.get_submodule(f"trunk.{name}").state_dict().items()}


def test_stems_are_the_first_layers_of_their_nets() -> None:
    images = torch.empty(1, 3, 224, 224, device="meta")
    assert on_meta(googlenet_stem)(images).shape == (1, 192, 28, 28)
    assert on_meta(vgg_16_stem)(images).shape == (1, 256, 28, 28)
    stem, whole = googlenet_stem(seed=2), googlenet(auxiliary=False, seed=2).stem
    assert state_sha256(stem.state_dict()) == state_sha256(whole.state_dict())
    net = on_meta(vgg, 16)
    assert isinstance(net, Classic)
    layers = list(on_meta(vgg_16_stem).named_children())
    assert [(n, repr(m)) for n, m in layers] == [(n, repr(m)) for n, m in net.named_children()][: len(layers)]


@pytest.mark.parametrize(("stride", "padding", "side"), [(1, 0, 26), (1, 1, 28), (2, 1, 14), (3, 1, 10)])
def test_sides_of_a_convolutions_map(stride: int, padding: int, side: int) -> None:
    net = on_meta(conv, 2, 5, 3, stride=stride, padding=padding)
    assert net(torch.empty(1, 2, 28, 28, device="meta")).shape == (1, 5, side, side)
    assert parameter_count(net) == 5 * (9 * 2 + 1)


def test_pooling_takes_the_largest_number_of_each_window() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert pool(2)(x).tolist() == [[[[5, 7], [13, 15]]]]


def test_blocks_of_figure_5_have_the_papers_weights_and_an_identity_shortcut() -> None:
    basic, bottleneck = on_meta(residual_block, "basic", 64), on_meta(residual_block, "bottleneck", 256)
    assert multiply_adds(basic, (64, 56, 56)) == 56 * 56 * 2 * 9 * 64 * 64
    assert multiply_adds(bottleneck, (256, 56, 56)) == 56 * 56 * (256 * 64 + 9 * 64 * 64 + 64 * 256)
    for kind in ("basic", "bottleneck"):
        block = residual_block(kind, 8).eval()
        for name, parameter in block.named_parameters():
            if "conv" in name:
                torch.nn.init.zeros_(parameter)
        x = torch.randn(2, 8, 4, 4)
        assert torch.equal(block(x), x.relu())
    with pytest.raises(UserError, match="multiple of 4"):
        residual_block("bottleneck", 66)
