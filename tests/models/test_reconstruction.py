"""Stacks on fixed feature maps: what they can represent, and the relative error."""

from __future__ import annotations

from typing import Literal, cast

import pytest
import torch
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.blocks import BasicBlock
from resnet_repro.models.heads import training_loss
from resnet_repro.models.inspect import main_path_layers
from resnet_repro.models.reconstruction import (
    PERTURBATION,
    FixedMaps,
    Reconstruction,
    ReconstructionNet,
    Target,
    reconstruction_net,
)

TARGETS: tuple[Target, ...] = ("identity", "perturbed", "permuted")
LABELS = torch.zeros(64, dtype=torch.int64)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Correlated pixels, as those of pictures: other inputs have no channels of different variance."""
    noise = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return noise + 2 * noise.mean((2, 3), keepdim=True) + noise.flip(1)


def measured(kind: str, depth: int, target: Target, images: Tensor, seed: int = 0) -> ReconstructionNet:
    net = reconstruction_net(cast(Literal["plain", "residual"], kind), depth, target, seed=seed)
    net.fixed.measure([(images[:40], LABELS[:40]), (images[40:], LABELS[40:])])
    return net.eval()


def blocks(net: ReconstructionNet) -> list[BasicBlock]:
    return [cast(BasicBlock, block) for block in net.layer1]


def pass_through(conv: nn.Conv2d, norm: nn.Module) -> None:
    """Make a layer the identity on non-negative inputs."""
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.dirac_(conv.weight)
    with torch.no_grad():
        norm.weight.fill_((1 + norm.eps) ** 0.5)  # undoes the running statistics, which are 0 and 1


def test_the_relative_error_is_0_for_the_target_and_1_for_its_mean() -> None:
    target = (
        torch.randn(500, 4, 3, 3, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 2, 3, 4])[None, :, None, None]
        + torch.arange(4.0)[None, :, None, None]
    )
    mean = target.mean((0, 2, 3), keepdim=True)
    variance = (target - mean).square().mean()
    assert Reconstruction(target, target, variance).relative_error() == 0
    assert Reconstruction(mean.expand_as(target), target, variance).relative_error() == pytest.approx(1)
    assert Reconstruction(2 * mean - target, target, variance).relative_error() == pytest.approx(4)


def test_the_relative_error_of_least_squares_is_one_minus_r_squared() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10_000, generator=generator)
    y = 3 * x + 4 * torch.randn(10_000, generator=generator)  # a correlation of 3/5
    design = torch.stack([x, torch.ones_like(x)], 1)
    fitted = design @ torch.linalg.lstsq(design, y[:, None]).solution[:, 0]
    correlation = torch.corrcoef(torch.stack([x, y]))[0, 1]
    shape = (100, 1, 10, 10)
    error = Reconstruction(fitted.view(shape), y.view(shape), y.var(correction=0)).relative_error()
    assert float(error) == pytest.approx(1 - float(correlation) ** 2, rel=1e-4)
    assert float(error) == pytest.approx(16 / 25, abs=0.02)


@pytest.mark.parametrize("target", TARGETS)
def test_statistics_of_the_maps_and_the_target_are_measured(target: Target, images: Tensor) -> None:
    fixed = FixedMaps(target, seed=3)
    fixed.measure([(images, LABELS)])
    x, y = fixed(images)
    assert x.shape == y.shape == (64, 16, 8, 8)
    assert x.min() == 0 and y.min() == 0
    response = (fixed._response(images) - fixed.mean) / fixed.std
    torch.testing.assert_close(response.mean((0, 2, 3)), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(response.var((0, 2, 3), correction=0), torch.ones(16), atol=1e-4, rtol=0)
    assert float(fixed.variance) == pytest.approx(float(y.var((0, 2, 3), correction=0).mean()), rel=1e-5)
    with pytest.raises(ValueError, match="no batches"):
        fixed.measure([])


def test_targets_are_at_their_distances_from_the_input(images: Tensor) -> None:
    errors = {}
    for target in TARGETS:
        net = measured("plain", 2, target, images)
        x, y = net.fixed(images)
        errors[target] = Reconstruction(x, y, net.fixed.variance).relative_error().item()
    assert errors["identity"] == 0
    # ReLU cuts off the perturbation where the sum is negative.
    assert PERTURBATION**2 / 2 < errors["perturbed"] < PERTURBATION**2
    assert errors["permuted"] > 1


def test_residual_stacks_with_zero_scales_are_the_identity(images: Tensor) -> None:
    net = measured("residual", 8, "identity", images)
    assert net(images).relative_error() > 0.1
    for block in blocks(net):
        nn.init.zeros_(cast(nn.BatchNorm2d, block.bn2).weight)
    for mode in (False, True):
        net.train(mode)
        assert net(images).relative_error() == 0


def test_plain_stacks_can_be_the_identity_in_evaluation_mode(images: Tensor) -> None:
    net = measured("plain", 8, "identity", images)
    for block in blocks(net):
        pass_through(block.conv1, block.bn1)
        pass_through(block.conv2, block.bn2)
    assert net(images).relative_error() < 1e-10
    net.train()  # batch statistics other than 0 and 1 shift and scale every channel
    assert net(images).relative_error() > 0.01


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("target", ["perturbed", "permuted"])
def test_both_kinds_can_represent_the_other_targets(kind: str, target: Target, images: Tensor) -> None:
    net = measured(kind, 4, target, images)
    first, last = blocks(net)
    fixed = net.fixed
    for block in (first, last):
        pass_through(block.conv1, block.bn1)
        pass_through(block.conv2, block.bn2)
    bias = cast(nn.BatchNorm2d, last.bn2).bias
    with torch.no_grad():
        if kind == "residual":
            nn.init.zeros_(cast(nn.BatchNorm2d, first.bn2).weight)
            nn.init.zeros_(last.conv2.weight)
        if target == "perturbed":
            last.conv2.weight += fixed.perturbing_scale[:, None] * fixed.perturbing_kernel
            bias -= (fixed.perturbing_scale * fixed.perturbing_mean).flatten()
        else:
            shifted = torch.zeros_like(last.conv2.weight)
            nn.init.dirac_(shifted)
            shifted = shifted.roll(1, dims=0)
            if kind == "residual":
                shifted -= nn.init.dirac_(torch.empty_like(shifted))
            last.conv2.weight.copy_(shifted)
    assert net(images).relative_error() < 1e-8


def test_both_kinds_share_their_kernels_and_their_maps() -> None:
    plain, residual = (reconstruction_net(kind, 8, seed=5) for kind in ("plain", "residual"))
    assert plain.state_dict().keys() == residual.state_dict().keys()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, residual.state_dict()[name]), name
    other = reconstruction_net("plain", 8, seed=6)
    assert not torch.equal(plain.fixed.kernel, other.fixed.kernel)
    layers = main_path_layers(plain)
    assert len(layers) == 8, "the fixed convolutions are no layers of the stack"
    assert not any(parameter.shape[1:2] == (3,) for parameter in plain.parameters())
    drawn = plain.fixed.perturbing_kernel / plain.fixed.perturbing_kernel.std()
    assert not torch.allclose(drawn, layers[0][1].weight / layers[0][1].weight.std(), atol=0.1)


def test_the_loss_of_a_reconstruction_is_its_relative_error(images: Tensor) -> None:
    net = measured("plain", 2, "identity", images)
    loss, logits = training_loss(net(images), LABELS)
    assert logits is None and loss == net(images).relative_error()
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plain", 3), "invalid depth 3: expected an even number of at least 2"),
        (("plain", 0), "invalid depth 0"),
        (("resnet", 2), "resnet"),
        (("plain", 2, "zero"), "zero"),
    ],
)
def test_invalid_stacks_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reconstruction_net(*arguments)
