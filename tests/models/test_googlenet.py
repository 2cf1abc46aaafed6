"""GoogLeNet: map sizes of table 1, auxiliary heads."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from measured_nets import maps, multiply_adds, on_meta
from torch import Tensor, nn

from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.models.fragments import inception
from resnet_repro.models.googlenet import HEADS_AFTER, TABLE_1, GoogLeNet, googlenet, small_googlenet
from resnet_repro.models.heads import HEAD_WEIGHT, training_loss
from resnet_repro.models.inspect import main_path_convolutions
from resnet_repro.models.weights import state_sha256


def test_map_sizes_of_googlenet_equal_table_1() -> None:
    net = on_meta(googlenet, auxiliary=False)
    names = "stem " + " ".join(f"trunk.{name}" for name in TABLE_1)
    channels = [192, 256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert maps(net, (3, 224, 224), names) == list(zip(channels, 3 * [28] + 5 * [14] + 2 * [7], strict=True))
    kernels = [net.get_submodule(f"trunk.{name}.out_5x5").kernel_size for name in TABLE_1]
    assert kernels == 9 * [(5, 5)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


def test_map_sizes_and_cost_of_the_small_googlenet() -> None:
    net = on_meta(small_googlenet)
    names = "stem " + " ".join(f"trunk.{name}" for name in TABLE_1)
    channels = 3 * [32] + 5 * [64] + 2 * [128]
    assert maps(net, (3, 32, 32), names) == list(zip(channels, 3 * [32] + 5 * [16] + 2 * [8], strict=True))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert 30e6 < multiply_adds(net, (3, 32, 32)) < 40e6
    assert 30e6 < multiply_adds(on_meta(small_googlenet, auxiliary=False), (3, 32, 32)) < 40e6


def test_heads_of_googlenet_equal_section_5() -> None:
    with torch.device("meta"):
        net = googlenet().train()
        outputs = net(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(output.shape) for output in outputs] == 3 * [(2, 1000)]
    heads = sum(128 * channels + 128 + 1024 * 128 * 16 + 1024 + 1000 * 1024 + 1000 for channels in (512, 528))
    assert parameter_count(net) == 6_998_552 + heads
    assert [m.p for m in net.heads.modules() if isinstance(m, nn.Dropout)] == [0.7, 0.7]


def test_heads_have_outputs_in_training_mode_only() -> None:
    net, bare = small_googlenet(seed=1), small_googlenet(auxiliary=False, seed=1)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = net.eval()(images)
        assert isinstance(logits, Tensor)
        outputs = net.train()(images)
        assert isinstance(outputs, tuple)
        assert [tuple(output.shape) for output in outputs] == 3 * [(2, 10)]
        for other in (outputs[0], bare.train()(images), bare.eval()(images)):
            assert torch.equal(other, logits)  # the trunk has no dropout
        assert not torch.allclose(outputs[1], outputs[2])


@pytest.mark.parametrize("builder", [small_googlenet, googlenet])
def test_other_weights_do_not_depend_on_heads(builder: Callable[..., GoogLeNet]) -> None:
    with_heads, without = builder(classes=10, seed=5).state_dict(), builder(auxiliary=False, classes=10, seed=5)
    trunk = {key: value for key, value in with_heads.items() if not key.startswith("heads.")}
    assert {key.split(".")[1] for key in with_heads.keys() - trunk.keys()} == set(HEADS_AFTER)
    assert state_sha256(trunk) == state_sha256(without.state_dict())
    assert state_sha256(builder(auxiliary=False, classes=10, seed=6).state_dict()) != state_sha256(trunk)


def test_heads_are_after_4a_and_4d_and_not_on_the_main_path() -> None:
    assert [list(TABLE_1).index(name) + 1 for name in HEADS_AFTER] == [3, 6]
    net = small_googlenet()
    assert [name for name, _ in main_path_convolutions(net)] == [
        name for name, _ in main_path_convolutions(small_googlenet(auxiliary=False))
    ]
    # The gradient of a head reaches the modules before it.
    _, *head_logits = net.train()(torch.randn(4, 3, 32, 32))
    for name, output in zip(HEADS_AFTER, head_logits, strict=True):
        net.zero_grad()
        output.sum().backward(retain_graph=True)
        reached = [module for module in TABLE_1 if net.get_submodule(f"trunk.{module}.out_3x3").weight.grad is not None]
        assert reached == list(TABLE_1)[: list(TABLE_1).index(name) + 1]


def test_inception_module_concatenates_its_branches() -> None:
    module, x = inception("3a"), torch.randn(1, 192, 5, 5)
    out = module(x)
    assert out.shape == (1, 256, 5, 5)
    out_5x5 = F.conv2d(x, module.red_5x5.weight, module.red_5x5.bias).relu()  # type: ignore[union-attr]
    out_5x5 = F.conv2d(out_5x5, module.out_5x5.weight, module.out_5x5.bias, padding=2).relu()
    pooled = F.conv2d(F.max_pool2d(x, 3, 1, 1), module.out_pool.weight, module.out_pool.bias).relu()  # type: ignore[union-attr]
    for expected, begin, end in (
        (F.conv2d(x, module.out_1x1.weight, module.out_1x1.bias).relu(), 0, 64),
        (out_5x5, 192, 224),
        (pooled, 224, 256),
    ):
        assert torch.allclose(out[:, begin:end], expected, atol=1e-5)


def test_training_loss_adds_each_head_with_weight_0_3() -> None:
    logits, first, second = torch.randn(3, 6, 4).unbind()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])

    def by_hand(scores: Tensor) -> Tensor:
        return -sum(scores[i].log_softmax(0)[label] for i, label in enumerate(labels)) / 6  # type: ignore[return-value]

    loss, returned = training_loss((logits, first, second), labels)
    assert returned is logits
    assert loss.item() == pytest.approx((by_hand(logits) + 0.3 * (by_hand(first) + by_hand(second))).item(), rel=1e-5)
    assert HEAD_WEIGHT == 0.3
    loss, returned = training_loss(logits, labels)
    assert returned is logits
    assert loss.item() == pytest.approx(by_hand(logits).item(), rel=1e-5)


def test_initial_loss_of_heads_is_that_of_guessing() -> None:
    net = small_googlenet(auxiliary=True, width=16)
    torch.manual_seed(0)
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    _, *heads = net(images)
    for logits in heads:
        assert float(F.cross_entropy(logits, labels)) == pytest.approx(math.log(10), abs=0.1)


@pytest.mark.parametrize("heads", [True, False])
def test_initialization_of_caffe_has_half_of_hes_variance_and_positive_biases(heads: bool) -> None:
    net = small_googlenet(heads, width=32, initialization="caffe", seed=4)
    last = {"fc", *(f"heads.{name}.fc2" for name in HEADS_AFTER)}
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            assert layer.bias is not None and torch.equal(
                layer.bias, torch.full_like(layer.bias, 0.0 if name in last else 0.2)
            )
            assert layer.weight.abs().max() <= math.sqrt(3 / fan_in)
            if layer.weight.numel() > 5_000:
                assert layer.weight.var().item() == pytest.approx(1 / fan_in, rel=0.05)


def test_trunk_initialized_as_by_caffe_does_not_depend_on_heads() -> None:
    bare = small_googlenet(False, initialization="caffe", seed=5).state_dict()
    headed = small_googlenet(True, initialization="caffe", seed=5).state_dict()
    assert all(torch.equal(value, headed[key]) for key, value in bare.items())
