"""Nets for MNIST and Fashion-MNIST."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_repro.config.arm import ModelSpec
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.inspect import gradient_layers, main_path_layers


def net_of(builder: str, classes: int = 10, seed: int = 0, **options: object) -> nn.Module:
    return build(ModelSpec(builder, options), classes, seed)


def size_of(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("kind", "parameters"), [("mlp", 203_530), ("cnn", 222_058), ("lenet", 44_426)])
def test_mnists_nets_have_the_published_parameters(kind: str, parameters: int) -> None:
    net = net_of("mnist.mnist_net", kind=kind)
    assert size_of(net) == parameters
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_as_written_the_loss_is_given_probabilities() -> None:
    images = torch.randn(4, 1, 28, 28)
    written, corrected = (net_of("mnist.mnist_net", kind="lenet", output=out) for out in ("probabilities", "logits"))
    torch.testing.assert_close(written(images), corrected(images).softmax(1))
    assert not torch.allclose(corrected(images).sum(1), torch.ones(4))


def test_default_weights_are_pytorchs_and_come_from_the_seed() -> None:
    net, again, other = (net_of("mnist.mnist_net", kind="mlp", seed=seed) for seed in (3, 3, 4))
    torch.manual_seed(0)
    reference = nn.Linear(784, 256)
    weight = dict(net.named_parameters())["layers.1.weight"]
    assert weight.abs().max() <= 1 / 28
    assert float(weight.std()) == pytest.approx(float(reference.weight.std()), rel=0.01)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert not torch.equal(weight, dict(other.named_parameters())["layers.1.weight"])


@pytest.mark.parametrize(("width", "block", "layers"), [(8, "bottleneck", 50), (8, "basic", 34)])
def test_fashions_resnet_has_the_layers_of_its_name(width: int, block: str, layers: int) -> None:
    net = net_of("fashion.fashion_resnet", width=width, block=block)
    assert len(main_path_layers(net)) == layers
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    block_channels = net.get_submodule("layer3.0")(torch.zeros(1, 2 * width, 14, 14)).shape
    assert block_channels == (1, 4 * width, 7, 7)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_the_four_layers_differ_in_their_activation_alone(name: str) -> None:
    net, relu = net_of("four_layers.four_layers", activation=name), net_of("four_layers.four_layers", activation="relu")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), relu.parameters(), strict=True))
    assert [layer for layer, _ in gradient_layers(net)] == ["conv1", "conv2", "fc1", "fc2"]
    images = torch.randn(3, 3, 32, 32)
    assert net(images).shape == (3, 10)
    assert torch.equal(net(images), relu(images)) == (name == "relu")


def test_dropout_stands_before_the_linear_layers_in_training_only() -> None:
    net = net_of("four_layers.four_layers", activation="relu", dropout=0.5)
    images = torch.randn(8, 3, 32, 32)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


@pytest.mark.parametrize(
    ("builder", "options", "sentence"),
    [
        ("mnist.mnist_net", {"kind": "vgg"}, "unknown kind 'vgg': take one of mlp, cnn, lenet"),
        ("mnist.mnist_net", {"kind": "mlp", "output": "odds"}, "unknown output 'odds'"),
        ("fashion.fashion_resnet", {"width": 6}, "width 6 has no quarter"),
        ("fashion.fashion_resnet", {"width": 8, "block": "wide"}, "unknown block 'wide'"),
        ("four_layers.four_layers", {"activation": "gelu"}, "unknown activation 'gelu'"),
        ("four_layers.four_layers", {"activation": "relu", "dropout": 1.0}, "dropout 1.0 is no chance"),
    ],
)
def test_unknown_options_are_refused(builder: str, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        net_of(builder, **options)


def test_watched_are_the_convolutions_and_where_nets_are_deep_in_them_the_linear_layers() -> None:
    residual = net_of("cifar.cifar_net", kind="resnet", depth=8, shortcut="B")
    assert all(isinstance(layer, nn.Conv2d) for _, layer in gradient_layers(residual))
    assert [name for name, _ in gradient_layers(net_of("mnist.mnist_net", kind="mlp"))] == ["layers.1", "layers.3"]
    headed = net_of("googlenet.small_googlenet", auxiliary=True, width=8)
    bare = net_of("googlenet.small_googlenet", auxiliary=False, width=8)
    assert [name for name, _ in gradient_layers(headed)] == [name for name, _ in gradient_layers(bare)]
