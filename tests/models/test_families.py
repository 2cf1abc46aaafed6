"""Properties common to all network families: logits, initialization, shortcuts, invalid options."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from measured_nets import on_meta
from torch import nn

from resnet_repro.config.arm import ModelSpec
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.blocks import PadShortcut
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.heads import training_loss
from resnet_repro.models.imagenet import imagenet_net
from resnet_repro.models.impl_d import PoolShortcut
from resnet_repro.models.weights import state_sha256

HE_INITIALIZED: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("cifar.cifar_net", {"kind": "resnet", "depth": 8, "shortcut": "C"}, (3, 32, 32)),
    ("classics.lenet_5", {}, (1, 32, 32)),
    ("classics.small_vgg", {"width": 8}, (1, 28, 28)),
    ("fashion.fashion_resnet", {"width": 8}, (1, 28, 28)),
    ("fashion.fashion_resnet", {"width": 8, "block": "basic"}, (1, 28, 28)),
    ("googlenet.small_googlenet", {"auxiliary": True, "width": 8}, (3, 32, 32)),
    ("googlenet.small_googlenet", {"auxiliary": False, "width": 8}, (3, 32, 32)),
    ("he16.he16_net", {"kind": "preact", "depth": 8}, (3, 32, 32)),
    ("he16.he16_net", {"kind": "preact", "depth": 11, "block": "bottleneck"}, (3, 32, 32)),
    ("imagenet.imagenet_net", {"kind": "plain", "depth": 18}, (3, 32, 32)),
]
OTHERS: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("four_layers.four_layers", {"activation": "tanh"}, (3, 32, 32)),
    ("impl_d.plain_net", {"depth": 8}, (3, 32, 32)),
    ("impl_d.residual_net", {"kind": "original", "depth": 8}, (3, 32, 32)),
    *(("mnist.mnist_net", {"kind": kind}, (1, 28, 28)) for kind in ("mlp", "cnn", "lenet")),
]


@pytest.mark.parametrize(("builder", "options", "shape"), HE_INITIALIZED + OTHERS)
def test_logits_are_float32_and_every_parameter_gets_a_gradient(builder: str, options: dict, shape: tuple) -> None:
    net = build(ModelSpec(builder, options), 5, seed=1)
    images = torch.randn(2, *shape)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.eval()(images)
        output = net.train()(images)
    assert (logits.shape, logits.dtype) == ((2, 5), torch.float32)
    loss, _ = training_loss(output, torch.tensor([1, 3]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(("builder", "options", "shape"), HE_INITIALIZED + OTHERS)
def test_initial_weights_depend_on_the_seed(builder: str, options: dict, shape: tuple) -> None:
    digests = [state_sha256(build(ModelSpec(builder, options), 5, seed).state_dict()) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("builder", "options", "shape"), HE_INITIALIZED)
def test_he_initialization_has_mean_0_and_variance_2_over_fan_in(builder: str, options: dict, shape: tuple) -> None:
    for name, layer in build(ModelSpec(builder, options), 5, seed=1).named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is None or not layer.bias.any()
            count, std = layer.weight.numel(), (2 / layer.weight[0].numel()) ** 0.5
            if count > 2000 and not name.startswith("heads"):  # within five standard errors
                assert layer.weight.mean().item() == pytest.approx(0, abs=5 * std / count**0.5)
                assert layer.weight.std().item() == pytest.approx(std, rel=5 / (2 * count) ** 0.5)


@pytest.mark.parametrize("net_of", [partial(cifar_net, depth=20), partial(imagenet_net, depth=18, classes=10)])
def test_plain_and_residual_nets_share_their_initial_weights(net_of: Callable[..., nn.Module]) -> None:
    plain = net_of("plain", seed=3).state_dict()
    assert state_sha256(net_of("resnet", shortcut="A", seed=3).state_dict()) == state_sha256(plain)
    projections = net_of("resnet", shortcut="C", seed=3).state_dict()
    assert all(torch.equal(value, projections[key]) for key, value in plain.items())


@pytest.mark.parametrize(("builder", "depth", "counts"), [(cifar_net, 20, (0, 2, 9)), (imagenet_net, 50, (0, 4, 16))])
def test_shortcut_options_have_their_number_of_projections(
    builder: Callable[..., nn.Module], depth: int, counts: tuple[int, ...]
) -> None:
    for option, projections in zip("ABC", counts, strict=True):
        net = on_meta(builder, "resnet", depth, option, classes=7)
        assert sum(key.endswith("downsample.0.weight") for key in net.state_dict()) == projections
        assert net(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("shortcut", [PadShortcut(16, 32, 2), PoolShortcut(16, 32)])
def test_parameter_free_shortcuts_subsample_and_pad_with_zeros(shortcut: nn.Module) -> None:
    x = torch.randn(2, 16, 8, 8)
    y = shortcut(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


@pytest.mark.parametrize(
    ("builder", "options", "problem"),
    [
        ("cifar.cifar_net", {"kind": "dense", "depth": 8}, "kind 'dense'"),
        ("cifar.cifar_net", {"kind": "resnet", "depth": 8, "shortcut": "D"}, "shortcut option 'D'"),
        ("cifar.cifar_net", {"kind": "resnet", "depth": 8, "norm": "l2"}, "norm 'l2'"),
        ("cifar.cifar_net", {"kind": "resnet", "depth": 8, "span": 3}, "span 3"),
        ("cifar.cifar_net", {"kind": "plain", "depth": 8, "span": 1}, "span 1 .* plain"),
        ("cifar.cifar_net", {"kind": "resnet", "depth": 8, "span": 1, "shortcut": "C"}, "span 1 .* option C"),
        ("classics.alexnet", {"variant": "two towers"}, "variant 'two towers'"),
        ("classics.small_vgg", {"width": 0}, "width 0"),
        ("classics.vgg", {"depth": 11}, "depth 11"),
        ("fashion.fashion_resnet", {"width": 6}, "width 6"),
        ("fashion.fashion_resnet", {"width": 8, "block": "wide"}, "block 'wide'"),
        ("four_layers.four_layers", {"activation": "gelu"}, "activation 'gelu'"),
        ("four_layers.four_layers", {"activation": "relu", "dropout": 1.0}, r"dropout 1\.0"),
        ("fragments.inception", {"module": "6a"}, "module '6a'"),
        ("fragments.stack", {"kernel": 3, "count": 0, "channels": 8}, "count 0"),
        ("fragments.stack", {"kernel": 4, "count": 1, "channels": 8}, "kernel 4"),
        ("fragments.stage", {"channels": 8, "size": 7}, "size 7"),
        ("googlenet.small_googlenet", {"width": 0}, "width 0"),
        ("googlenet.small_googlenet", {"width": 20}, "width 20"),
        ("he16.he16_net", {"kind": "dense", "depth": 110}, "kind 'dense'"),
        ("he16.he16_net", {"kind": "preact", "depth": 110, "block": "wide"}, "block 'wide'"),
        ("he16.he16_net", {"kind": "preact", "depth": 111}, r"depth 111(?=.*6n\+2)"),
        ("he16.he16_net", {"kind": "preact", "depth": 111, "block": "bottleneck"}, r"depth 111(?=.*9n\+2)"),
        ("imagenet.imagenet_net", {"kind": "dense"}, "kind 'dense'"),
        ("imagenet.imagenet_net", {"depth": 20}, "depth 20"),
        ("imagenet.imagenet_net", {"shortcut": "D"}, "shortcut option 'D'"),
        ("imagenet.imagenet_net", {"stride_at": "7x7"}, "stride_at '7x7'"),
        ("impl_d.plain_net", {"depth": 5}, "depth 5"),
        ("impl_d.plain_net", {"statistics": "none"}, "statistics 'none'"),
        ("impl_d.residual_net", {"kind": "plain"}, "kind 'plain'"),
        ("impl_d.residual_net", {"kind": "preact", "statistics": "none"}, "statistics 'none'"),
        ("mnist.mnist_net", {"kind": "vgg"}, "kind 'vgg'"),
        ("mnist.mnist_net", {"kind": "mlp", "output": "odds"}, "output 'odds'"),
        ("transfer.transfer_net", {"output": "softmax"}, "output 'softmax'"),
        ("transfer.transfer_net", {"statistics": "none"}, "statistics 'none'"),
    ],
)
def test_invalid_options_are_rejected_with_the_expected_values(builder: str, options: dict, problem: str) -> None:
    with pytest.raises(UserError, match=rf"\b{problem}.*: \w+"):
        build(ModelSpec(builder, options), 10, 0)
