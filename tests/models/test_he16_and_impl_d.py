"""Networks of He16 and impl-D: parameter counts, first and last units, shortcuts, frozen batch normalization."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measured_nets import on_meta
from torch import Tensor, nn

from resnet_repro.data.catalogue import STANDIN_TINY
from resnet_repro.data.standin import generate
from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.diagnostics.responses import layer_responses
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.he16 import PreActBasicBlock, PreActBottleneck, he16_net
from resnet_repro.models.impl_d import PoolShortcut, ResidualBlock, SameConv2d, plain_net, residual_net
from resnet_repro.models.inspect import main_path_convolutions, main_path_layers
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


def impl_d(kind: str, depth: int | None = None, statistics: str = "frozen", seed: int = 0) -> nn.Module:
    """A net of impl-D, of the source's depth by default."""
    options: dict[str, Any] = {"statistics": statistics, "seed": seed, **({"depth": depth} if depth else {})}
    return plain_net(**options) if kind == "plain" else residual_net(kind, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "layers"), [("plain", 26), ("original", 32), ("preact", 32)])
def test_impl_d_nets_have_biases_and_xavier_weights(kind: str, layers: int) -> None:
    net = impl_d(kind, seed=1)
    weighted = main_path_layers(net)
    assert len(weighted) == layers
    for _, layer in weighted:
        assert layer.bias is not None
        assert not layer.bias.any()
        fans = (layer.weight[0].numel(), layer.weight[:, 0].numel())
        limit = (6 / sum(fans)) ** 0.5
        assert limit * 0.9 < layer.weight.abs().max().item() <= limit


def test_impl_d_residual_nets_share_their_weights_at_a_seed() -> None:
    nets = [main_path_layers(impl_d(kind, seed=1)) for kind in ("original", "preact")]
    for (name, layer), (other_name, other) in zip(*nets, strict=True):
        assert name == other_name
        assert torch.equal(layer.weight, other.weight)


@pytest.mark.parametrize("kind", ["plain", "original", "preact"])
def test_frozen_statistics_ignore_the_batch_and_batch_statistics_do_not(kind: str) -> None:
    """Frozen, the output for an image is the same in training and evaluation mode, and independent of the batch."""
    images = 5 * torch.rand(8, 3, 32, 32)
    frozen = impl_d(kind, 8)
    expected = frozen.eval()(images[:1])
    assert torch.allclose(frozen.train()(images)[:1], expected, atol=1e-5)
    assert not any(tensor.any() for key, tensor in frozen.state_dict().items() if "running_mean" in key)
    corrected = impl_d(kind, 8, "batch").train()
    assert not torch.allclose(corrected(images)[:1], corrected.eval()(images[:1]), atol=1e-3)
    means = [tensor for key, tensor in corrected.state_dict().items() if "running_mean" in key]
    assert all(tensor.any() for tensor in means)


def test_frozen_batch_normalization_has_tensorflows_epsilon() -> None:
    """Untrained, it divides by √(1 + 0.001)."""
    net = residual_net("original", 8)
    x = torch.randn(2, 16, 4, 4)
    assert torch.allclose(net.bn1(x), x / 1.001**0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", ["original", "preact"])
def test_impl_d_residual_nets_begin_with_a_normalization_and_a_relu(kind: str) -> None:
    net = residual_net(kind, 8).eval()  # type: ignore[arg-type]
    inputs: list[Tensor] = []
    net.layer1.register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
    images = torch.randn(2, 3, 32, 32)
    net(images)
    assert torch.equal(inputs[0], torch.relu(net.bn1(net.conv1(images))))


def test_impl_d_preact_shortcuts_pass_the_raw_input() -> None:
    x = torch.randn(2, 16, 8, 8)
    for stride, channels in ((1, 16), (2, 32)):
        block = ResidualBlock("preact", 16, channels, stride, "frozen")
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)  # type: ignore[arg-type]
        expected = x if stride == 1 else PoolShortcut(16, 32)(x)
        assert torch.equal(block(x), expected)  # including negative values: no ReLU after the addition


def test_impl_d_blocks_end_with_a_relu_only_in_the_original_net() -> None:
    images = torch.randn(2, 3, 32, 32)
    for kind in ("original", "preact"):
        net = residual_net(kind, 8).eval()  # type: ignore[arg-type]
        outputs: list[Tensor] = []
        net.layer3.register_forward_hook(lambda m, inputs, output, outputs=outputs: outputs.append(output))
        assert torch.allclose(net(images), net.fc(outputs[0].mean((2, 3))))
        assert bool((outputs[0] >= 0).all()) == (kind == "original")


def test_the_plain_net_of_impl_d_is_that_of_its_notebook() -> None:
    """A convolution without BN; 9, 9 and 5 blocks of 16, 32, 64 channels, each group before a pooling; two linear layers."""
    net = plain_net(seed=2).eval()
    assert [len(stage) for stage in (net.layer1, net.layer2, net.layer3)] == [9, 9, 5]
    images = 50 * torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):  # zero at first, which would hide where they are added
                parameter.uniform_(-0.5, 0.5)
        x = torch.relu(net.conv1(images))
        for stage in (net.layer1, net.layer2, net.layer3):
            for block in stage:
                out = F.conv2d(x, block.conv.weight, block.conv.bias, padding=1)  # type: ignore[arg-type]
                scale, shift = (value[:, None, None] for value in (block.bn.weight, block.bn.bias))  # type: ignore[index]
                x = torch.relu(scale * out / 1.001**0.5 + shift)
            x = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
        assert x.shape == (2, 64, 4, 4)
        hidden = x.flatten(1) @ net.fc1.weight.T + net.fc1.bias
        hidden = torch.relu(net.norm.weight * hidden / 1.001**0.5 + net.norm.bias)  # type: ignore[operator]
        expected = hidden @ net.fc2.weight.T + net.fc2.bias
        assert hidden.shape == (2, 1_000)
        assert torch.allclose(net(images), expected, rtol=1e-4, atol=1e-5)


def test_first_losses_on_raw_pixels_are_of_the_size_that_impl_d_logs() -> None:
    """Its notebook logs 441.7 (original), 208.4 (proposed) and 2.303 (plain) for the first batch; the nets vary by seed."""
    split = generate(STANDIN_TINY)["train"]
    images, labels = torch.from_numpy(split.images[:100]).float(), torch.from_numpy(split.labels[:100]).long()
    for seed in range(3):
        losses = {
            k: F.cross_entropy(impl_d(k, seed=seed)(images), labels).item() for k in ("original", "preact", "plain")
        }
        assert 50 < losses["original"] < 1_000
        assert 50 < losses["preact"] < 1_000
        assert losses["plain"] == pytest.approx(2.303, abs=0.005)


@pytest.mark.parametrize(("depth", "stages"), [(6, [1, 1, 1]), (8, [2, 2, 1]), (14, [4, 4, 3]), (20, [7, 7, 3])])
def test_reduced_plain_nets_keep_three_stages(depth: int, stages: list[int]) -> None:
    net = plain_net(depth)
    assert [len(stage) for stage in (net.layer1, net.layer2, net.layer3)] == stages
    assert len(main_path_layers(net)) == depth


@pytest.mark.parametrize(("size", "stride"), [(8, 1), (8, 2), (7, 2), (32, 2)])
def test_same_padding_is_that_of_tensorflow(size: int, stride: int) -> None:
    """Output i of SAME covers the pixels from i·stride - before on; before is half of the total padding, rounded down.

    A kernel whose only weight is 1, at (row, column), shows the pixel that each output sees there.
    """
    images = torch.arange(1.0, 1 + size * size).reshape(1, 1, size, size)
    out_size = -(-size // stride)
    before = max(0, (out_size - 1) * stride + 3 - size) // 2
    for row, column in ((0, 0), (1, 2), (2, 1)):
        conv = SameConv2d(1, 1, 3, stride=stride, bias=False)
        nn.init.zeros_(conv.weight)
        with torch.no_grad():
            conv.weight[0, 0, row, column] = 1
        out = conv(images)[0, 0]
        assert out.shape == (out_size, out_size)
        for i in range(out_size):
            for j in range(out_size):
                y, x = i * stride - before + row, j * stride - before + column
                expected = images[0, 0, y, x].item() if 0 <= y < size and 0 <= x < size else 0
                assert out[i, j].item() == expected
    if stride == 2 and size % 2 == 0:
        assert before == 0, "nothing is padded above and on the left"


def test_responses_are_taken_after_normalization_or_after_the_convolution() -> None:
    images = torch.randn(4, 3, 32, 32)
    batches = [(images, torch.zeros(4))]
    for net, module in (
        (cifar_net("resnet", 8), "layer1.0.bn1"),
        (cifar_net("plain", 8, norm="none"), "layer1.0.conv1"),
        (he16_net("preact", 8), "layer1.0.conv1"),
        (he16_net("original", 11, "bottleneck"), "layer1.0.bn1"),
        (residual_net("original", 8), "layer1.0.bn1"),
        (residual_net("preact", 8), "layer1.0.conv1"),
    ):
        outputs: list[Tensor] = []
        handle = net.get_submodule(module).register_forward_hook(
            lambda m, inputs, output, outputs=outputs: outputs.append(output)
        )
        responses = dict(layer_responses(net, batches, CPU, "fp32"))
        handle.remove()
        assert len(responses) == len(main_path_convolutions(net))
        assert responses["layer1.0.conv1"] == pytest.approx(outputs[0].std(correction=0).item(), rel=1e-4)
