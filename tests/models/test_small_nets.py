"""Networks for MNIST and Fashion-MNIST, and the four-layer net."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.inspect import forward_hooks, gradient_layers, main_path_layers


def net_of(builder: str, classes: int = 10, seed: int = 0, **options: object) -> nn.Module:
    return build(ModelSpec(builder, options), classes, seed)


@pytest.mark.parametrize(("kind", "parameters"), [("mlp", 203_530), ("cnn", 222_058), ("lenet", 44_426)])
def test_mnist_nets_have_the_published_parameter_counts(kind: str, parameters: int) -> None:
    assert parameter_count(net_of("mnist.mnist_net", kind=kind)) == parameters


def test_pooling_decides_how_large_the_linear_layer_of_mnist_nets_is() -> None:
    # Two 3×3 convolutions and two halvings leave 5×5 of 28×28 pixels; 5×5, 5×5 and 4×4 convolutions alone leave 17×17.
    pooled_cnn = (9 + 1) * 4 + (9 * 4 + 1) * 8 + (8 * 5 * 5 + 1) * 48 + 49 * 10
    lenet = (25 + 1) * 6 + (25 * 6 + 1) * 16 + (16 * 16 + 1) * 120 + (120 * 17 * 17 + 1) * 84 + 85 * 10
    for kind, pooling, parameters in (("cnn", True, pooled_cnn), ("lenet", False, lenet)):
        net = net_of("mnist.mnist_net", kind=kind, pooling=pooling)
        assert parameter_count(net) == parameters
        assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    for kind, pooling in (("cnn", False), ("lenet", True), ("mlp", False)):
        as_written, explicit = (
            net_of("mnist.mnist_net", kind=kind),
            net_of("mnist.mnist_net", kind=kind, pooling=pooling),
        )
        images = torch.randn(2, 1, 28, 28)
        assert torch.equal(as_written(images), explicit(images))
    with pytest.raises(UserError, match="no maps to pool"):
        net_of("mnist.mnist_net", kind="mlp", pooling=True)


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    images = torch.randn(4, 1, 28, 28)
    probabilities, logits = (
        net_of("mnist.mnist_net", kind="lenet", output=output)(images) for output in ("probabilities", "logits")
    )
    torch.testing.assert_close(probabilities, logits.softmax(1))
    assert not torch.allclose(logits.sum(1), torch.ones(4))


def test_mnist_nets_have_pytorchs_default_initialization() -> None:
    torch.manual_seed(0)
    weight = net_of("mnist.mnist_net", kind="mlp").get_parameter("layers.1.weight")
    assert weight.abs().max() <= 1 / 28
    assert weight.std().item() == pytest.approx(nn.Linear(784, 256).weight.std().item(), rel=0.01)


@pytest.mark.parametrize(
    ("width", "options", "layers"),
    [(8, {}, 50), (8, {"block": "basic"}, 34), (8, {"blocks": 1}, 14), (8, {"blocks": 2}, 26)],
)
def test_fashion_resnet_has_the_layers_of_its_blocks(width: int, options: dict, layers: int) -> None:
    net = net_of("fashion.fashion_resnet", width=width, **options)
    assert len(main_path_layers(net)) == layers
    block_channels = net.get_submodule("layer3.0")(torch.zeros(1, 2 * width, 14, 14)).shape
    assert block_channels == (1, 4 * width, 7, 7)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_four_layers_nets_differ_only_in_their_activation(name: str) -> None:
    net, relu = net_of("four_layers.four_layers", activation=name), net_of("four_layers.four_layers", activation="relu")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), relu.parameters(), strict=True))
    assert [layer for layer, _ in gradient_layers(net)] == ["conv1", "conv2", "fc1", "fc2"]
    images = torch.randn(3, 3, 32, 32)
    assert torch.equal(net(images), relu(images)) == (name == "relu")


@pytest.mark.parametrize("depth", [4, 16])
def test_convolution_stacks_have_their_depth_and_end_on_maps_of_two_pixels(depth: int) -> None:
    net = net_of("conv_stack.conv_stack", depth=depth, activation="tanh")
    assert len(gradient_layers(net)) == depth
    images, sizes = torch.zeros(1, 3, 32, 32), []
    with forward_hooks(gradient_layers(net), lambda key, module, x, output: sizes.append(output.shape[-1])):
        net(images)
    assert sizes == [side for side in (32, 16, 8, 4) for _ in range(depth // 4)]
    fan = 9 * (32 + 32)
    weight = net.get_parameter(f"convs.{depth - 1}.weight")
    assert weight.abs().max() <= math.sqrt(6 / fan) and weight.var().item() == pytest.approx(2 / fan, rel=0.05)


def test_dropout_is_active_in_training_mode_only() -> None:
    net = net_of("four_layers.four_layers", activation="relu", dropout=0.5)
    images = torch.randn(8, 3, 32, 32)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


def test_gradient_layers_are_convolutions_and_linear_layers_if_several() -> None:
    residual = net_of("cifar.cifar_net", kind="resnet", depth=8, shortcut="B")
    assert all(isinstance(layer, nn.Conv2d) for _, layer in gradient_layers(residual))
    assert [name for name, _ in gradient_layers(net_of("mnist.mnist_net", kind="mlp"))] == ["layers.1", "layers.3"]
    with_heads = net_of("googlenet.small_googlenet", auxiliary=True, width=8)
    without = net_of("googlenet.small_googlenet", auxiliary=False, width=8)
    assert [name for name, _ in gradient_layers(with_heads)] == [name for name, _ in gradient_layers(without)]
