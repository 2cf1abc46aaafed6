"""Small variants of large nets: float32 logits, initial weights, refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from resnet_repro.config.arm import ModelSpec
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.classics import alexnet, small_vgg, vgg
from resnet_repro.models.fragments import inception, stack, stage
from resnet_repro.models.googlenet import small_googlenet
from resnet_repro.models.heads import training_loss
from resnet_repro.models.imagenet import imagenet_net
from resnet_repro.models.weights import state_sha256

SMALL = [
    ("classics.lenet_5", {}, (1, 32, 32)),
    ("classics.small_vgg", {"width": 8}, (1, 28, 28)),
    ("googlenet.small_googlenet", {"auxiliary": True, "width": 8}, (3, 32, 32)),
    ("googlenet.small_googlenet", {"auxiliary": False, "width": 8}, (3, 32, 32)),
    ("imagenet.imagenet_net", {"kind": "plain", "depth": 18}, (3, 32, 32)),
]


@pytest.mark.parametrize(("builder", "options", "shape"), SMALL)
def test_small_nets_give_float32_logits_and_learn_in_every_layer(builder: str, options: dict, shape: tuple) -> None:
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


@pytest.mark.parametrize(("builder", "options", "shape"), SMALL[:3])
def test_initial_weights_are_hes_and_the_seeds(builder: str, options: dict, shape: tuple) -> None:
    nets = [build(ModelSpec(builder, options), 5, seed) for seed in (1, 1, 2)]
    digests = [state_sha256(net.state_dict()) for net in nets]
    assert digests[0] == digests[1] != digests[2]
    for layer in nets[0].modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > 2000:
            assert layer.weight.std().item() == pytest.approx((2 / layer.weight[0].numel()) ** 0.5, rel=0.1)
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    ("builder", "options", "named"),
    [
        (imagenet_net, {"kind": "dense"}, "kind 'dense'"),
        (imagenet_net, {"depth": 20}, "depth 20"),
        (imagenet_net, {"shortcut": "D"}, "option 'D'"),
        (imagenet_net, {"stride_at": "7x7"}, "stride '7x7'"),
        (alexnet, {"variant": "two towers"}, "variant 'two towers'"),
        (vgg, {"depth": 11}, "depth 11"),
        (small_vgg, {"width": 0}, "width 0"),
        (small_googlenet, {"width": 20}, "width 20"),
        (small_googlenet, {"width": 0}, "width 0"),
        (inception, {"module": "6a"}, "module '6a'"),
        (stack, {"kernel": 4, "count": 1, "channels": 8}, "kernel 4"),
        (stack, {"kernel": 3, "count": 0, "channels": 8}, "0 convolutions"),
        (stage, {"channels": 8, "size": 7}, "7 pixels"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_remedy(
    builder: Callable[..., nn.Module], options: dict, named: str
) -> None:
    with pytest.raises(UserError, match=f"{named}.*: take "):
        builder(**options)
