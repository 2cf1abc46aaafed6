"""Normalization layers: averages, scales and shifts."""

from __future__ import annotations

import pytest
import torch

from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.models.cifar import Norm, cifar_net
from resnet_repro.models.norms import had_one_value, norm_factory


def test_norm_none_has_no_normalization_layers() -> None:
    net = cifar_net("plain", 20, norm="none")
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    assert parameter_count(net) == 269_722 - 2 * sum((7 * 16, 6 * 32, 6 * 64))


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group"])
def test_all_normalizations_scale_and_shift_each_channel(norm: Norm) -> None:
    net = cifar_net("resnet", 8, norm=norm)
    assert parameter_count(net) == parameter_count(cifar_net("resnet", 8))
    assert {"layer1.0.bn1.weight", "layer1.0.bn1.bias"} <= set(net.state_dict())
    assert torch.equal(net.conv1.weight, cifar_net("resnet", 8).conv1.weight)


@pytest.mark.parametrize(("norm", "over"), [("layer", (1, 2, 3)), ("instance", (2, 3)), ("batch", (0, 2, 3))])
def test_normalizations_average_over_their_dimensions(norm: str, over: tuple[int, ...]) -> None:
    x = 3 + 2 * torch.randn(4, 16, 8, 8)
    out = norm_factory(norm)(16)(x)
    expected = (x - x.mean(over, keepdim=True)) / (x.var(over, correction=0, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(out, expected, atol=1e-5)


def test_group_normalization_has_eight_groups_of_adjacent_channels() -> None:
    x = torch.randn(2, 16, 8, 8)
    groups = x.view(2, 8, 2, 8, 8)
    expected = (groups - groups.mean((2, 3, 4), keepdim=True)) / (
        groups.var((2, 3, 4), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    assert torch.allclose(norm_factory("group")(16)(x), expected.view_as(x), atol=1e-5)


def test_frozen_normalization_only_scales_and_shifts() -> None:
    x = 3 + 2 * torch.randn(4, 16, 8, 8)
    norm = norm_factory("frozen")(16)
    with torch.no_grad():
        norm.weight.fill_(2.0)  # type: ignore[operator]
        norm.bias.fill_(1.0)  # type: ignore[operator]
    for training in (True, False):
        assert torch.allclose(norm.train(training)(x), 1 + 2 * x / 1.001**0.5, atol=1e-5)
    assert not norm.running_mean.any()  # type: ignore[operator]


def test_batch_tf_has_tensorflows_defaults() -> None:
    norm = norm_factory("batch-tf")(3)
    x = 5 + torch.randn(8, 3, 4, 4)
    norm.train()(x)
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.eps == 1e-3
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, 0.01 * x.mean((0, 2, 3)))


@pytest.mark.parametrize("name", ["batch", "batch-tf"])
def test_one_value_per_channel_is_normalized_by_the_running_statistics(name: str) -> None:
    """One image with a map of 1 × 1 has no variance. All other batches are normalized as by torch, bit for bit."""
    norm = norm_factory(name)(3)
    assert isinstance(norm, torch.nn.BatchNorm2d)
    reference = torch.nn.BatchNorm2d(3, eps=norm.eps, momentum=norm.momentum)
    for shape in ((4, 3, 2, 2), (1, 3, 2, 1), (2, 3, 1, 1)):
        images = torch.randn(shape)
        assert torch.equal(norm(images), reference(images))
    assert not had_one_value(norm)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    image = torch.randn(1, 3, 1, 1, requires_grad=True)
    output = norm(image)
    assert had_one_value(norm)
    assert torch.equal(output, reference.eval()(image))
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())
    output.sum().backward()
    assert norm.weight.grad is not None and torch.isfinite(norm.weight.grad).all()
