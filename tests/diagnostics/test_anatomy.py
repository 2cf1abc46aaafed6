"""Receptive fields, stages, and other measures of a network's structure."""

from __future__ import annotations

import pytest
import torch
from counted_nets import counts_of
from torch import Tensor, nn

from resnet_repro.claims.results import Results
from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.anatomy import measures, receptive_field
from resnet_repro.diagnostics.complexity import (
    build_on_meta,
    layer_costs,
)
from resnet_repro.diagnostics.structure import stage_ends
from resnet_repro.models.catalogue import NETS
from resnet_repro.models.fragments import stack


@pytest.mark.parametrize(("kernel", "count", "side"), [(3, 2, 5), (5, 1, 5), (3, 3, 7), (7, 1, 7)])
def test_the_receptive_field_is_the_extent_of_the_gradient(kernel: int, count: int, side: int) -> None:
    net = stack(kernel, count, channels=1)
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 1, 15, 15, requires_grad=True)
    net(image)[0, 0, 7, 7].backward()
    assert image.grad is not None
    rows, columns = torch.nonzero(image.grad[0, 0], as_tuple=True)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (side, side)
    assert measures(net, layer_costs(net, (1, 15, 15)), (1, 15, 15))["receptive_field"] == side


def test_receptive_fields_match_hand_calculations() -> None:
    assert receptive_field([]) == 1
    assert receptive_field([nn.Conv2d(1, 1, 3, stride=2), nn.MaxPool2d(3, stride=2)]) == 3 + 2 * 2
    assert receptive_field([nn.Conv2d(1, 1, 3, dilation=2)]) == 5
    with_shortcuts, without = (
        counts_of(build_on_meta(NETS[n].model, 10), (3, 32, 32)) for n in ("resnet-20", "plain-20")
    )
    # 7 convolutions at full size, 6 at half and 6 at a quarter; the first of a stage has the step of the previous stage.
    assert with_shortcuts["receptive_field"] == without["receptive_field"] == 1 + 2 * 8 + 4 * 6 + 8 * 5


@pytest.mark.parametrize(
    ("norm", "kept"), [("batch", 2 * 688), ("noisy", 2 * 688), ("layer", 0), ("instance", 0), ("group", 0)]
)
def test_only_batch_normalization_keeps_statistics(norm: str, kept: int) -> None:
    """plain-20 has a mean and a variance for each of 7·16 + 6·32 + 6·64 = 688 channels."""
    model = ModelSpec("cifar.cifar_net", {"kind": "plain", "depth": 20, "norm": norm})
    assert counts_of(build_on_meta(model, 10), (3, 32, 32))["running_statistics"] == kept


@pytest.mark.slow
def test_nets_with_branches_have_no_receptive_field(counted: Results) -> None:
    assert "receptive_field" not in counted.values["inception-3a"][0]
    assert counted.of("vgg-16", "receptive_field") == {0: 212}


def test_stages_end_at_the_last_map_of_each_size() -> None:
    assert stage_ends([(64, 8, 8), (32, 8, 8), (32, 4, 4), (96, 4, 4)]) == [(32, 8, 8), (96, 4, 4)]
    assert stage_ends([]) == []


class Scaled(nn.Module):
    """A block whose shortcut has parameters but no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.downsample = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x) + self.downsample(x)


def test_measures_of_a_net_with_growing_maps_and_fewer_channels() -> None:
    growing = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Scaled(), nn.Upsample(scale_factor=4), nn.Conv2d(8, 4, 2, stride=2)
    )
    values = counts_of(growing, (3, 8, 8))
    assert values["memory_peak_depth"] == 100
    assert values["early_memory_share"] == pytest.approx(100 * 8 * 64 / (2 * 8 * 64 + 4 * 256))
    assert (values["fc_layers"], values["fc_params_share"], values["conv_macs_share"]) == (0, 0, 100)
    assert (values["map_growths"], values["channel_drops"], values["channel_growth"]) == (1, 1, 0.5)
    assert values["identity_params"] == 16
    assert not {"pool_params", "fc_params_saved"} & set(values)


def test_measures_of_linear_layers_distinguish_pooling_and_flattening() -> None:
    def tail(*layers: nn.Module) -> dict[str, float]:
        return counts_of(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *layers), (1, 8, 8))

    flat = tail(nn.Flatten(), nn.Linear(256, 16), nn.Linear(16, 10))
    pooled = tail(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    assert (flat["fc_layers"], flat["fc_params_saved"]) == (2, 0)
    assert flat["fc_params_share"] == pytest.approx(100 * (257 * 16 + 17 * 10) / (40 + 257 * 16 + 17 * 10))
    assert flat["conv_macs_share"] == pytest.approx(100 * 64 * 36 / (64 * 36 + 256 * 16 + 160))
    assert (pooled["fc_layers"], pooled["pool_params"]) == (1, 0)
    assert pooled["fc_params_saved"] == pytest.approx(100 * 2520 / 2570)


def test_the_course_of_costs_from_layer_to_layer() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),  # 512 numbers, 80 parameters, 4,608 multiply-adds
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),  # 256 numbers, 1,168 parameters, 18,432 multiply-adds
        nn.Conv2d(16, 32, 1),  # 512 numbers, 544 parameters, 8,192 multiply-adds
        nn.Flatten(),
        nn.Linear(512, 10),  # 5,130 parameters
        nn.Linear(10, 1000),  # 11,000 parameters
    )
    values = counts_of(net, (1, 8, 8))
    assert (values["conv_memory_rises"], values["fc_params_rises"]) == (1, 1)
    assert (values["macs_peak_conv"], values["filters_data_peak_conv"]) == (2, 3)
    assert values["fc_jump"] == 5130 / 1168
    assert values["fc_inputs"] == 512
    pooled = 8 * 4 * 4 * 4
    assert values["operations"] == 4608 + 18_432 + 8192 + 5120 + 10_000 + pooled
    assert values["fc_memory_share"] == pytest.approx(100 * 1010 / (512 + 128 + 256 + 512 + 1010))


def test_a_part_without_parameters_has_no_shares_of_them() -> None:
    values = counts_of(nn.Sequential(nn.MaxPool2d(2)), (4, 8, 8))
    assert not {"fc_params_share", "conv_macs_share", "conv_memory_rises"} & set(values)
    assert (values["operations"], values["pool_params"], values["depth"]) == (4 * 4 * 4 * 4, 0, 0)
