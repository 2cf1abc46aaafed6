"""Networks of the catalogue, counted for tests."""

from __future__ import annotations

from functools import cache

from torch import nn

from resnet_repro.diagnostics.anatomy import measures
from resnet_repro.diagnostics.complexity import (
    LayerCost,
    build_on_meta,
    layer_costs,
    totals,
)
from resnet_repro.models.catalogue import NETS

# Networks that claims refer to and that are quick to count.
COUNTED = (
    "lenet-5", "alexnet", "vgg-16", "zfnet", "googlenet", "plain-34", "resnet-34", "resnet-34-A", "resnet-50",
    "plain-56", "resnet-56", "vgg-16-without-conv3-3", "googlenet-stem", "vgg-16-stem", "two-3x3", "one-5x5", "three-3x3",
    "one-7x7", "stage-64-on-224", "stage-128-on-112", "stage-256-on-56", "inception-3a",
    "inception-3a-without-bottlenecks", "vgg-19", "resnet-152", "plain-20", "conv-1x1", "conv-3x3-stride-1",
    "conv-3x3-stride-2", "conv-3x3-stride-3", "pool-2x2", "mnist-conv-padding-0", "mnist-conv-padding-1",
    "mnist-conv-8-channels", "mnist-cnn", "mnist-lenet", "block-basic-64", "block-bottleneck-256", "impl-d-original",
    "impl-d-preact", "impl-d-plain",
)  # fmt: skip


@cache
def rows_of(name: str) -> list[LayerCost]:
    net = NETS[name]
    return layer_costs(build_on_meta(net.model, net.classes), net.shape)


def counts_of(net: nn.Module, shape: tuple[int, int, int]) -> dict[str, float]:
    rows = layer_costs(net, shape)
    return totals(rows) | measures(net, rows, shape)
