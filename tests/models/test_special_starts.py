"""Special first weights of the CIFAR family: identity, orthogonal kernels, weak branches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.cifar import CifarNet, cifar_net

BLOCKS = 2  # of each stage of a net of 14 layers


def stage(net: CifarNet, number: int) -> nn.Sequential:
    return net.get_submodule(f"layer{number}")  # type: ignore[return-value]


def rectified(size: int, channels: int = 16, side: int = 16) -> Tensor:
    """Rectified normal maps (N, C, H, W) whose scale differs between the channels."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(0.2, 3, channels).view(1, -1, 1, 1)
    return torch.relu(torch.randn(size, channels, side, side, generator=generator)) * scales


@pytest.mark.parametrize("init", ["dirac", "identity"])
def test_a_dirac_stage_with_untouched_statistics_passes_a_non_negative_input_on(init: str) -> None:
    """With mean 0 and variance 1, each of the four normalizations divides by √(1 + ε), then adds its shift."""
    net = cifar_net("plain", 14, init=init, seed=1).eval()  # type: ignore[arg-type]
    x, factor = rectified(2), (1 + 1e-5) ** -0.5
    expected = x
    for _ in range(2 * BLOCKS):
        expected = expected * factor + (0.683332 if init == "identity" else 0.0)  # 1/√(π−1)
    assert torch.allclose(stage(net, 1)(x), expected, rtol=1e-5, atol=0)


def test_an_identity_stage_passes_rectified_normal_maps_on_up_to_a_factor_per_channel() -> None:
    """In training mode: batch normalization divides each channel by its standard deviation, and the shift restores its mean."""
    net = cifar_net("plain", 56, init="identity", seed=1).train()
    x = rectified(32)
    with torch.no_grad():
        y = stage(net, 1)(x)
    expected = x / x.std((0, 2, 3), correction=0, keepdim=True)
    assert (y - expected).abs().max() < 0.1 < expected.max()
    assert correlation(x, y) > 0.999


def test_without_the_shift_most_of_the_signal_is_cut_off() -> None:
    net = cifar_net("plain", 56, init="dirac", seed=1).train()
    x = rectified(32)
    with torch.no_grad():
        y = stage(net, 1)(x)
    assert (y > 0).float().mean() < 0.2 < 0.4 < (x > 0).float().mean()
    assert correlation(x, y) < 0.9


def correlation(x: Tensor, y: Tensor) -> float:
    """The lowest correlation between the values of a channel in x and in y."""
    pairs = zip(x.transpose(0, 1).flatten(1), y.transpose(0, 1).flatten(1), strict=True)
    return min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs)


def test_orthogonal_kernels_keep_the_norm_of_every_pixel() -> None:
    net = cifar_net("plain", 14, init="orthogonal", seed=1)
    for number, channels in ((1, 16), (2, 32), (3, 64)):
        conv = stage(net, number)[1].conv1
        x = torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            y = conv(x)  # type: ignore[operator]
        assert torch.allclose(y.norm(dim=1), x.norm(dim=1), rtol=1e-4)
        assert not torch.allclose(y, x, atol=0.1), "a rotation, not the identity"


def test_orthogonal_kernels_differ_between_layers_and_seeds_and_repeat_with_the_seed() -> None:
    net, again, other = (cifar_net("plain", 14, init="orthogonal", seed=seed) for seed in (1, 1, 2))
    first = net.state_dict()["layer1.0.conv1.weight"]
    assert torch.equal(first, again.state_dict()["layer1.0.conv1.weight"])
    assert not torch.equal(first, net.state_dict()["layer1.0.conv2.weight"])
    assert not torch.equal(first, other.state_dict()["layer1.0.conv1.weight"])


@pytest.mark.parametrize("init", ["dirac", "identity", "orthogonal"])
def test_layers_that_change_the_number_of_channels_are_he_s(init: str) -> None:
    net, he = cifar_net("plain", 14, init=init, seed=1), cifar_net("plain", 14, seed=1)  # type: ignore[arg-type]
    changed = {name for name, weight in net.state_dict().items() if not torch.equal(weight, he.state_dict()[name])}
    within = {f"layer{s}.{b}.conv{c}.weight" for s in (1, 2, 3) for b in range(BLOCKS) for c in (1, 2)}
    within -= {"layer2.0.conv1.weight", "layer3.0.conv1.weight"}
    shifts = {name.replace("conv", "bn").replace("weight", "bias") for name in within}
    assert changed == (within | shifts if init == "identity" else within)


def test_a_last_scale_of_zero_leaves_the_shortcuts_alone() -> None:
    x = rectified(2)
    for scale in (0.0, 0.1, 1.0):
        net, usual = (cifar_net("resnet", 14, seed=1, last_scale=last).eval() for last in (scale, None))
        block = stage(usual, 1)[0]
        branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))  # type: ignore[operator]
        assert torch.allclose(stage(net, 1)[0](x), torch.relu(x + scale * branch), atol=1e-5)
    unchanged = cifar_net("resnet", 14, seed=1, last_scale=1.0)
    for name, weight in cifar_net("resnet", 14, seed=1).state_dict().items():
        assert torch.equal(unchanged.state_dict()[name], weight), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "plain", "init": "zero"}, "initialization 'zero'.*he, dirac, identity"),
        ({"kind": "plain", "last_scale": 0.0}, "last_scale .*plain net"),
        ({"kind": "resnet", "span": 1, "last_scale": 0.0}, "last_scale .*span 1"),
        ({"kind": "resnet", "norm": "none", "last_scale": 0.0}, "last_scale .*norm none.*batch"),
        ({"kind": "plain", "norm": "group", "init": "identity"}, "identity .*norm group.*batch"),
    ],
)
def test_starts_that_a_net_cannot_have_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cifar_net(depth=14, **options)
