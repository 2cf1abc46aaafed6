"""Networks of He16 and impl-D: parameter counts, first and last units, shortcuts, frozen batch normalization."""

from __future__ import annotations

import pytest
import torch
from measured_nets import on_meta
from torch import Tensor, nn

from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.diagnostics.responses import layer_responses
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.he16 import PreActBasicBlock, PreActBottleneck, he16_net
from resnet_repro.models.impl_d import Block, PoolShortcut, impl_d_net
from resnet_repro.models.inspect import main_path_convolutions
from resnet_repro.models.weights import state_sha256

CPU = torch.device("cpu")


def bottleneck_parameters(n: int, preact: bool) -> int:
    """Parameters counted by hand: convolutions, scale and shift of normalizations, projections, linear layer."""
    total, inputs = 3 * 16 * 9 + (0 if preact else 2 * 16), 16
    for width in (16, 32, 64):
        outputs = 4 * width
        for unit in range(n):
            total += inputs * width + 9 * width * width + width * outputs
            total += 2 * (inputs + 2 * width) if preact else 2 * (2 * width + outputs)
            if unit == 0:
                total += inputs * outputs + (0 if preact else 2 * outputs)
            inputs = outputs
    return total + (2 * 256 if preact else 0) + 256 * 10 + 10


@pytest.mark.parametrize("kind", ["original", "preact"])
@pytest.mark.parametrize(("depth", "millions"), [(164, 1.7), (1001, 10.2)])
def test_parameters_and_weights_equal_he16(kind: str, depth: int, millions: float) -> None:
    net = on_meta(he16_net, kind, depth, "bottleneck")
    assert parameter_count(net) == bottleneck_parameters((depth - 2) // 9, kind == "preact")
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert round(sum(layer.weight.numel() for layer in layers) / 1e6, 1) == millions
    assert len(main_path_convolutions(net)) + 1 == depth


def test_basic_nets_have_the_parameters_of_he15() -> None:
    assert parameter_count(he16_net("preact", 110)) == parameter_count(cifar_net("resnet", 110))
    original = he16_net("original", 20, seed=3)
    assert state_sha256(original.state_dict()) == state_sha256(cifar_net("resnet", 20, seed=3).state_dict())


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_only_first_units_of_stages_share_their_first_activation(block: str) -> None:
    net = he16_net("preact", 6 * 2 + 2 if block == "basic" else 9 * 2 + 2, block).eval()  # type: ignore[arg-type]
    for stage in ("layer1", "layer2", "layer3"):
        first, second = net.get_submodule(f"{stage}.0"), net.get_submodule(f"{stage}.1")
        assert isinstance(first, PreActBasicBlock | PreActBottleneck)
        x = torch.randn(2, first.bn1.num_features, 8, 8)
        nn.init.constant_(first.bn1.bias, 0.5)
        for unit in (first, second):  # the residual branch gives zero
            nn.init.zeros_(main_path_convolutions(unit)[-1][1].weight)
        assert torch.equal(first(x), first.downsample(torch.relu(first.bn1(x))))
        y = torch.randn_like(first(x))
        assert torch.equal(second(y), y)  # including negative values


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_preact_nets_have_no_relu_after_conv1_and_an_extra_one_at_the_end(block: str) -> None:
    net = he16_net("preact", 20, block).eval()  # type: ignore[arg-type]
    inputs_of: dict[str, Tensor] = {}

    def record(name: str):
        return lambda module, inputs: inputs_of.update({name: inputs[0]})

    for name in ("layer1", "fc"):
        net.get_submodule(name).register_forward_pre_hook(record(name))
    outputs: list[Tensor] = []
    net.layer3.register_forward_hook(lambda m, inputs, output: outputs.append(output))  # type: ignore[union-attr]
    images = torch.randn(2, 3, 32, 32)
    net(images)
    assert torch.equal(inputs_of["layer1"], net.conv1(images))  # type: ignore[operator]
    assert (outputs[0] < 0).any()
    assert torch.allclose(inputs_of["fc"], torch.relu(net.bn_last(outputs[0])).mean((2, 3)))  # type: ignore[operator]


def test_bottlenecks_have_stride_and_projection_as_in_he16() -> None:
    unit = he16_net("preact", 20, "bottleneck").get_submodule("layer2.0")
    strides = [conv.stride for _, conv in main_path_convolutions(unit)]
    assert strides == [(2, 2), (1, 1), (1, 1)]
    assert isinstance(unit.downsample, nn.Conv2d)
    assert unit.downsample.stride == (2, 2)
    assert isinstance(he16_net("preact", 20, "bottleneck").get_submodule("layer1.1").downsample, nn.Identity)


@pytest.mark.parametrize("kind", ["plain", "original", "preact"])
def test_impl_d_nets_have_32_layers_with_biases_and_xavier_weights(kind: str) -> None:
    net = impl_d_net(kind, seed=1)  # type: ignore[arg-type]
    convolutions = main_path_convolutions(net)
    assert len(convolutions) + 1 == 32
    for _, conv in convolutions:
        assert conv.bias is not None
        assert not conv.bias.any()
        limit = (6 / (9 * (conv.in_channels + conv.out_channels))) ** 0.5
        assert limit * 0.9 < conv.weight.abs().max().item() <= limit
    assert torch.equal(net.conv1.weight, impl_d_net("plain", seed=1).conv1.weight)


@pytest.mark.parametrize("kind", ["plain", "original", "preact"])
def test_frozen_statistics_ignore_the_batch_and_batch_statistics_do_not(kind: str) -> None:
    """Frozen, the output for an image is the same in training and evaluation mode, and independent of the batch."""
    images = 5 * torch.rand(8, 3, 32, 32)
    frozen = impl_d_net(kind, 8)  # type: ignore[arg-type]
    expected = frozen.eval()(images[:1])
    assert torch.allclose(frozen.train()(images)[:1], expected, atol=1e-5)
    assert not any(tensor.any() for key, tensor in frozen.state_dict().items() if "running_mean" in key)
    corrected = impl_d_net(kind, 8, "batch").train()  # type: ignore[arg-type]
    assert not torch.allclose(corrected(images)[:1], corrected.eval()(images[:1]), atol=1e-3)
    assert any(tensor.any() for key, tensor in corrected.state_dict().items() if "running_mean" in key)


def test_impl_d_preact_shortcuts_pass_the_raw_input() -> None:
    x = torch.randn(2, 16, 8, 8)
    for stride, channels in ((1, 16), (2, 32)):
        block = Block("preact", 16, channels, stride, "frozen")
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)  # type: ignore[arg-type]
        expected = x if stride == 1 else PoolShortcut(16, 32)(x)
        assert torch.equal(block(x), expected)  # including negative values: no ReLU after the addition


def test_impl_d_has_no_relu_after_the_last_preact_block() -> None:
    net = impl_d_net("preact", 8).eval()
    outputs: list[Tensor] = []
    net.layer3.register_forward_hook(lambda m, inputs, output: outputs.append(output))
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(net(images), net.fc(outputs[0].mean((2, 3))))
    assert (outputs[0] < 0).any()
    plain = impl_d_net("plain", 8).eval()
    plain.layer3.register_forward_hook(lambda m, inputs, output: outputs.append(output))
    plain(images)
    assert (outputs[1] >= 0).all()


def test_responses_are_taken_after_normalization_or_after_the_convolution() -> None:
    images = torch.randn(4, 3, 32, 32)
    batches = [(images, torch.zeros(4))]
    for net, module in (
        (cifar_net("resnet", 8), "layer1.0.bn1"),
        (cifar_net("plain", 8, norm="none"), "layer1.0.conv1"),
        (he16_net("preact", 8), "layer1.0.conv1"),
        (he16_net("original", 11, "bottleneck"), "layer1.0.bn1"),
        (impl_d_net("original", 8), "layer1.0.bn1"),
        (impl_d_net("preact", 8), "layer1.0.conv1"),
    ):
        outputs: list[Tensor] = []
        handle = net.get_submodule(module).register_forward_hook(
            lambda m, inputs, output, outputs=outputs: outputs.append(output)
        )
        responses = dict(layer_responses(net, batches, CPU, "fp32"))
        handle.remove()
        assert len(responses) == len(main_path_convolutions(net))
        assert responses["layer1.0.conv1"] == pytest.approx(outputs[0].std(correction=0).item(), rel=1e-4)
