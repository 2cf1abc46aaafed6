"""Costs of architectures: layer by layer against the lecture, in total against torchvision, and sums of costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision.models as reference
from counted_nets import rows_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.anatomy import measures
from resnet_repro.diagnostics.complexity import (
    LayerCost,
    build_on_meta,
    describe,
    layer_costs,
    parameter_count,
    totals,
    training_operations,
)
from resnet_repro.models.catalogue import NETS, catalogued
from resnet_repro.models.fragments import stack
from resnet_repro.models.heads import training_loss

# (layer, output, memory KiB, parameters, multiply-adds in millions): the lecture's table of AlexNet, plus the biases of
# linear layers. The lecture leaves them out: 37,749 k parameters for fc6.
LECTURE_ALEXNET = [
    ("conv1", (64, 56, 56), 784, 23_296, 73),
    ("pool1", (64, 27, 27), 182, 0, 0),
    ("conv2", (192, 27, 27), 547, 307_392, 224),
    ("pool2", (192, 13, 13), 127, 0, 0),
    ("conv3", (384, 13, 13), 254, 663_936, 112),
    ("conv4", (256, 13, 13), 169, 884_992, 150),
    ("conv5", (256, 13, 13), 169, 590_080, 100),
    ("pool5", (256, 6, 6), 36, 0, 0),
    ("fc6", (4096,), 16, 37_748_736 + 4096, 38),
    ("fc7", (4096,), 16, 16_777_216 + 4096, 17),
    ("fc8", (1000,), 4, 4_096_000 + 1000, 4),
]


def test_costs_of_alexnet_match_the_lecture_layer_by_layer() -> None:
    costs = [
        (row.name, row.output, round(row.memory_kib), row.params, round(row.macs / 1e6)) for row in rows_of("alexnet")
    ]
    assert costs == LECTURE_ALEXNET


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reference_name"),
    [
        ("alexnet-torchvision", "alexnet"),
        ("vgg-16", "vgg16"),
        ("vgg-19", "vgg19"),
        ("resnet-18", "resnet18"),
        ("resnet-34", "resnet34"),
        ("resnet-50", "resnet50"),
        ("resnet-101", "resnet101"),
        ("resnet-152", "resnet152"),
    ],
)
def test_costs_match_torchvision(name: str, reference_name: str) -> None:
    with torch.device("meta"):
        net: nn.Module = reference.get_model(reference_name)

    def layers(rows: list[LayerCost]) -> list[tuple[Any, ...]]:
        """All rows but the pooling in torchvision's VGGs that changes nothing."""
        rows = [row for row in rows if not (row.name == "avgpool" and row.output[-1] > 1)]
        return [(row.kind, row.output, row.params, row.macs) for row in rows]

    assert layers(rows_of(name)) == layers(layer_costs(net, (3, 224, 224)))
    published = reference.get_model_weights(reference_name)["IMAGENET1K_V1"].meta  # type: ignore[index]
    sums = totals(rows_of(name))
    assert sums["params"] == published["num_params"]
    assert sums["macs"] / 1e9 == pytest.approx(published["_ops"], abs=0.001)


def test_googlenet_differs_from_torchvision_in_kernels_and_normalization() -> None:
    """Torchvision has 3×3 kernels in the 5×5 branches, and a scale and a shift per channel instead of a bias."""
    rows = [row for row in rows_of("googlenet") if not row.in_heads]
    net = _googlenet(auxiliary=False)
    params, macs = sum(row.params for row in rows), totals(rows)["macs"]
    for row in rows:
        if row.kind != "conv":
            continue
        conv = net.get_submodule(row.name)
        assert isinstance(conv, nn.Conv2d)
        if conv.kernel_size == (5, 5):
            params -= conv.weight.numel() * 16 // 25
            macs -= row.macs * 16 // 25
        params += conv.out_channels  # minus a bias, plus a scale and a shift
    published = reference.get_model_weights("googlenet")["IMAGENET1K_V1"].meta  # type: ignore[index]
    assert params == published["num_params"] == 6_624_904
    assert macs == 1_498_376_192 and macs / 1e9 == pytest.approx(published["_ops"], abs=0.001)


def test_zfnet_has_a_smaller_first_kernel_and_more_filters_than_alexnet() -> None:
    values = {}
    for name in ("alexnet", "zfnet"):
        net = catalogued(name)
        model = build_on_meta(net.model, net.classes)
        values[name] = measures(model, rows_of(name), net.shape)
    assert [values["zfnet"][key] for key in ("first_kernel", "first_stride")] == [7, 2]
    assert [values["alexnet"][key] for key in ("first_kernel", "first_stride")] == [11, 4]
    assert [values["zfnet"][f"conv{place}_filters"] for place in (3, 4, 5)] == [512, 1024, 512]
    assert [values["alexnet"][f"conv{place}_filters"] for place in (3, 4, 5)] == [384, 256, 256]


def test_auxiliary_heads_are_summed_apart_from_the_trunk() -> None:
    rows = rows_of("googlenet")
    without = layer_costs(_googlenet(auxiliary=False), (3, 224, 224))
    assert [row for row in rows if not row.in_heads] == without
    sums = totals(rows)
    assert sums["heads_params"] == sum(
        channels * 128 + 128 + 2048 * 1024 + 1024 + 1024 * 1000 + 1000 for channels in (512, 528)
    )
    assert sums["heads_macs"] == sum(16 * channels * 128 + 2048 * 1024 + 1024 * 1000 for channels in (512, 528))
    assert sums["params"] + sums["heads_params"] == parameter_count(_googlenet(auxiliary=True))
    assert describe(NETS["googlenet"].model, 1000, (3, 224, 224)) == {
        "layers": 58, "parameters": 13_378_280, "trainable_parameters": 13_378_280, "multiply_adds": sums["macs"],
    }  # fmt: skip


def _googlenet(auxiliary: bool) -> nn.Module:
    return build_on_meta(ModelSpec("googlenet.googlenet", {"auxiliary": auxiliary}), 1000)


def test_pooling_is_counted_apart_from_multiply_adds() -> None:
    net = nn.Sequential(nn.MaxPool2d(3, stride=2), nn.AdaptiveAvgPool2d(2), nn.AvgPool2d((1, 2)))
    rows = layer_costs(net, (4, 11, 11))
    # 3×3 pixels for each of 5×5 outputs, 3×3 for each of 2×2, and 1×2 for each of 2×1.
    assert [row.macs for row in rows] == [4 * 25 * 9, 4 * 4 * 9, 4 * 2 * 2]
    sums = totals(rows)
    assert (sums["macs"], sums["params"]) == (0, 0)
    assert sums["pool_operations"] == 4 * (225 + 36 + 4)


def test_global_pooling_adds_every_pixel() -> None:
    rows = rows_of("resnet-20")
    assert [(row.name, row.kind, row.output, row.macs) for row in rows[-2:]] == [
        ("avgpool", "pool", (64, 1, 1), 64 * 8 * 8),
        ("fc", "fc", (10,), 640),
    ]


def test_normalization_has_parameters_and_works_in_place() -> None:
    rows = layer_costs(nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)), (3, 4, 4))
    assert [(row.kind, row.memory_kib, row.params, row.macs) for row in rows] == [
        ("conv", 0.5, 24, 384),
        ("norm", 0.0, 16, 0),
    ]


class Twice(nn.Module):
    """One convolution, applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


def test_shared_weights_count_once_and_their_multiply_adds_twice() -> None:
    rows = layer_costs(Twice(), (4, 8, 8))
    assert [(row.params, row.macs) for row in rows] == [(148, 9216), (0, 9216)]


def test_counting_does_not_change_the_net() -> None:
    net = stack(3, 1, channels=2).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    layer_costs(net, (2, 8, 8))
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_parameters_outside_of_counted_layers_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"^1 parameters .*not counted"):
        layer_costs(nn.Sequential(nn.Conv2d(1, 1, 1), nn.PReLU()), (1, 4, 4))


@pytest.mark.parametrize("name", [name for name in NETS if name[-3:] not in ("110", "202", "152")])
def test_multiply_adds_of_all_catalogued_nets_match_torchs_counter(name: str) -> None:
    net = NETS[name]
    rows = rows_of(name)
    assert totals(rows)["macs"] == describe(net.model, net.classes, net.shape)["multiply_adds"]
    assert next(row for row in reversed(rows) if not row.in_heads).output == (net.classes,)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (ModelSpec("mnist.mnist_net", {"kind": "cnn", "output": "logits", "pooling": True}), (1, 28, 28)),
        (ModelSpec("cifar.cifar_net", {"kind": "resnet", "depth": 8}), (3, 32, 32)),
        (
            ModelSpec("reconstruction.reconstruction_net", {"kind": "plain", "depth": 2, "target": "perturbed"}),
            (3, 32, 32),
        ),
        (ModelSpec("transfer.transfer_net", {"depth": 18, "frozen": True}), (3, 32, 32)),
    ],
    ids=lambda value: getattr(value, "builder", None),
)
def test_operations_of_a_step_are_those_that_torch_counts_with_a_backward_pass(
    spec: ModelSpec, shape: tuple[int, ...]
) -> None:
    net = build_on_meta(spec, 10).train()
    with FlopCounterMode(display=False) as counter:
        loss, _ = training_loss(
            net(torch.empty(2, *shape, device="meta")), torch.zeros(2, dtype=torch.long, device="meta")
        )
        loss.backward()
    assert training_operations(spec, 10, shape) == counter.get_total_flops() / 2


def test_operations_of_a_linear_head_on_features() -> None:
    head = training_operations(ModelSpec("transfer.transfer_net", {"depth": 18, "frozen": True}), 10, (512,))
    assert head == 2 * 2 * 512 * 10  # forward, and the gradient of the weights
