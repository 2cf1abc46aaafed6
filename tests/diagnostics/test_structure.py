"""Structure of networks: depth, activation functions, branches, pooling, stages."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resnet_repro.diagnostics.complexity import build_on_meta
from resnet_repro.diagnostics.structure import structure, watched_pass
from resnet_repro.models.catalogue import NETS


def structure_of(net: nn.Module, shape: tuple[int, int, int]) -> dict[str, float]:
    return structure(watched_pass(net, shape), shape)


def of_catalogue(name: str) -> dict[str, float]:
    net = NETS[name]
    return structure_of(build_on_meta(net.model, net.classes), net.shape)


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("lenet-5", 5),
        ("alexnet", 8),
        ("vgg-16", 16),
        ("vgg-19", 19),
        ("googlenet", 22),  # Szegedy et al. 2015, section 5
        ("plain-20", 20),
        ("resnet-34", 34),
        ("resnet-50-he15", 50),
        ("resnet-56", 56),
    ],
)
def test_depth_is_the_number_in_the_name_or_paper(name: str, depth: int) -> None:
    assert of_catalogue(name)["depth"] == depth


@pytest.mark.slow
def test_the_deepest_nets_are_walked_without_recursion() -> None:
    assert of_catalogue("resnet-1202")["depth"] == 1202


class Forked(nn.Module):
    """Three branches, of one, three and two layers with weights, and a projection as the shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 4, 1)
        self.first, self.second, self.third = (nn.Conv2d(a, 4, 3, padding=1) for a in (2, 4, 4))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.after = nn.Conv2d(2, 4, 1, bias=False)
        self.downsample = nn.Conv2d(2, 4, 1)
        self.fc = nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        long = self.third(torch.tanh(self.second(self.first(x).relu())))
        out = self.one(x) + long + self.after(self.pool(x)) + self.downsample(x)
        return self.fc(torch.sigmoid(nn.functional.relu(out, inplace=True)).mean((2, 3)))


def test_branches_activations_and_depth_of_a_net_that_forks() -> None:
    values = structure_of(Forked(), (2, 6, 6))
    assert (values["depth"], values["branches"]) == (4, 3)
    assert (values["relus"], values["activations"]) == (2, 4)
    assert (values["conv_layers"], values["pool_layers"], values["max_pools"]) == (5, 1, 0)
    assert (values["smallest_conv_kernel"], values["largest_conv_kernel"]) == (1, 3)
    assert (values["overlapping_pools"], values["halving_pools"]) == (1, 0)


def test_stages_and_pooling_of_a_sequence() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 24, 5, stride=2, padding=2),
        nn.MaxPool2d(3, stride=2),
        nn.Flatten(),
        nn.Linear(24, 2),
    )
    values = structure_of(net, (3, 12, 12))
    assert [values[f"stage{place}_convs"] for place in (1, 2, 3, 4)] == [2, 0, 1, 0]
    assert [values[f"stage{place}_growth"] for place in (2, 3, 4)] == [1, 3, 1]
    assert values["stages"] == 2
    assert (values["pool_layers"], values["overlapping_pools"], values["halving_pools"]) == (2, 1, 1)
    assert values["pool_channel_changes"] == 0
    assert (values["last_channels"], values["last_side"], values["input_side"]) == (24, 1, 12)
    assert (values["largest_conv_stride"], values["smallest_conv_padding"], values["largest_pool_kernel"]) == (2, 1, 3)


def test_the_net_itself_is_left_as_it_is() -> None:
    net = Forked().train()
    structure_of(net, (2, 6, 6))
    assert net.training and all(parameter.grad is None for parameter in net.parameters())
