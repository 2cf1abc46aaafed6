"""Normalization layers: averages, scales and shifts."""

from __future__ import annotations

import pytest
import torch

from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.errors import UserError
from resnet_repro.models.cifar import Norm, cifar_net
from resnet_repro.models.norms import NoisyBatchNorm, had_one_value, has_noise, norm_factory, redraw_noise
from resnet_repro.models.recompute import frozen_statistics
from resnet_repro.models.weights import state_sha256


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


@pytest.mark.parametrize(("images", "sizes"), [(10, (4, 3, 3)), (12, (4, 4, 4))])
def test_groups_are_normalized_as_batches_of_their_own(images: int, sizes: tuple[int, ...]) -> None:
    """Ten images over four: groups of four, three and three, each normalized by torch alone."""
    norm, x = norm_factory("batch", statistics_over=4)(3), 3 + 2 * torch.randn(images, 3, 4, 5)
    groups = x.split(sizes)
    alone = [torch.nn.BatchNorm2d(3, momentum=1.0) for _ in groups]
    expected = torch.cat([one(group) for one, group in zip(alone, groups, strict=True)])
    assert torch.allclose(norm(x), expected, atol=1e-6)
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    means = torch.stack([group.mean((0, 2, 3)) for group in groups])
    variances = torch.stack([group.var((0, 2, 3), correction=1) for group in groups])
    assert torch.allclose(norm.running_mean, 0.1 * means.mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * variances.mean(0), atol=1e-6)
    assert int(norm.num_batches_tracked or 0) == 1


def test_a_batch_of_one_group_is_normalized_bit_for_bit_as_without_groups() -> None:
    grouped, whole = (cifar_net("resnet", 8, statistics_over=over, seed=1) for over in (64, None))
    images = torch.randn(64, 3, 8, 8)
    assert torch.equal(grouped(images), whole(images))
    assert state_sha256(grouped.state_dict()) == state_sha256(whole.state_dict())
    for net in (grouped, whole):
        net.eval()
    assert torch.equal(grouped(images[:7]), whole(images[:7]))


def test_groups_leave_frozen_statistics_alone() -> None:
    net = cifar_net("plain", 8, statistics_over=2)
    before = state_sha256(net.state_dict())
    with frozen_statistics(net):
        net(torch.randn(6, 3, 8, 8))
    assert state_sha256(net.state_dict()) == before


@pytest.mark.parametrize(("norm", "over"), [("group", 4), ("batch", 1), ("none", 64)])
def test_statistics_over_images_need_batch_normalization(norm: Norm, over: int) -> None:
    with pytest.raises(UserError, match=f"statistics_over {over} with norm {norm}"):
        cifar_net("plain", 20, norm=norm, statistics_over=over)


def test_noise_scales_and_shifts_channels_in_training_only() -> None:
    noisy, plain = NoisyBatchNorm(4), torch.nn.BatchNorm2d(4)
    x = torch.randn(8, 4, 6, 6)
    assert torch.equal(noisy(x), plain(x)), "there is no noise before the first draw"
    redraw_noise(noisy, torch.Generator().manual_seed(3))
    output = noisy(x)
    means, deviations = output.mean((0, 2, 3)), output.std((0, 2, 3), correction=0)
    assert (means.abs() > 1e-3).all() and (means.abs() < 0.5).all() and len(set(means.tolist())) == 4
    assert ((deviations - 1).abs() > 1e-3).all() and ((deviations - 1).abs() < 0.2501).all()
    plain(x)
    assert noisy.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(noisy.eval()(x), plain.eval()(x))


def test_noise_is_uniform_and_follows_the_generator() -> None:
    net = cifar_net("plain", 20, norm="noisy")
    assert has_noise(net) and not has_noise(cifar_net("plain", 20))
    draws = []
    for seed in (1, 2, 1):
        redraw_noise(net, torch.Generator().manual_seed(seed))
        modules = [m for m in net.modules() if isinstance(m, NoisyBatchNorm)]
        draws.append(torch.cat([torch.cat([m.noise_shift, m.noise_scale]).flatten() for m in modules]))
    assert torch.equal(draws[0], draws[2]) and not (draws[0] == draws[1]).any()
    shifts = torch.cat([m.noise_shift.flatten() for m in modules])  # 7·16 + 6·32 + 6·64 = 688 draws
    scales = torch.cat([m.noise_scale.flatten() for m in modules])
    # Uniform between -a and a: mean 0 and variance a²/3. Four standard errors.
    for values, centre, width in ((shifts, 0.0, 0.5), (scales, 1.0, 0.25)):
        assert len(values) == 688
        assert abs(values.mean() - centre) < 4 * width / (3 * 688) ** 0.5
        assert abs(values.var() / (width**2 / 3) - 1) < 4 * (0.8 / 688) ** 0.5
