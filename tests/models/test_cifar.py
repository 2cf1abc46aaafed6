"""The CIFAR family of He15 section 4.2: parameter counts, layers, shortcuts, norms, initialization, names of weights."""

from __future__ import annotations

import pytest
import torch

from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.complexity import describe, parameter_count
from resnet_repro.errors import UserError
from resnet_repro.models.blocks import PadShortcut
from resnet_repro.models.cifar import CifarNet, Kind, cifar_net
from resnet_repro.models.inspect import main_path_convolutions
from resnet_repro.models.weights import state_sha256


def on_meta(kind: Kind, depth: int) -> CifarNet:
    """The network's shapes, without memory for its weights."""
    with torch.device("meta"):
        return CifarNet(kind, depth, "A", "batch", 10)


@pytest.mark.parametrize(
    ("depth", "exact", "table_6"),
    [
        (20, 269_722, 0.27),
        (32, 464_154, 0.46),
        (44, 658_586, 0.66),
        (56, 853_018, 0.85),
        (110, 1_727_962, 1.7),
        (1202, 19_421_274, 19.4),
    ],
)
def test_parameters_are_those_of_table_6(depth: int, exact: int, table_6: float) -> None:
    count = parameter_count(on_meta("resnet", depth))
    assert count == exact
    digits = 2 if table_6 < 1 else 1
    assert round(count / 1e6, digits) == table_6
    assert parameter_count(on_meta("plain", depth)) == exact


@pytest.mark.parametrize("depth", [20, 32, 56, 110])
def test_the_name_tells_the_number_of_layers(depth: int) -> None:
    net = on_meta("resnet", depth)
    assert len(main_path_convolutions(net)) + 1 == depth
    spec = ModelSpec("cifar.cifar_net", {"kind": "resnet", "depth": depth, "shortcut": "B"})
    assert describe(spec, 10, (3, 32, 32))["layers"] == depth


def test_multiply_adds_of_resnet_20() -> None:
    # by hand: 32²·3·16·9 + 6·32²·16²·9 + 16²·(16·32+5·32²)·9 + 8²·(32·64+5·64²)·9 + 640
    expected = (
        9 * (32**2 * 3 * 16 + 6 * 32**2 * 16**2 + 16**2 * (16 * 32 + 5 * 32**2) + 8**2 * (32 * 64 + 5 * 64**2)) + 640
    )
    assert describe(ModelSpec("cifar.cifar_net", {"kind": "resnet", "depth": 20}), 10, (3, 32, 32)) == {
        "layers": 20,
        "parameters": 269_722,
        "trainable_parameters": 269_722,
        "multiply_adds": expected,
    }


@pytest.mark.parametrize(("depth", "nearest"), [(21, "20 and 26"), (55, "50 and 56"), (2, "8"), (-4, "8"), (7, "8")])
def test_other_depths_are_refused_with_the_nearest(depth: int, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"depth {depth} .* {nearest}$"):
        cifar_net("plain", depth)


@pytest.mark.parametrize("options", [{"kind": "dense"}, {"shortcut": "D"}, {"norm": "l2"}, {"span": 3}])
def test_unknown_options_are_refused(options: dict) -> None:
    with pytest.raises(UserError, match="take one of"):
        cifar_net(**({"kind": "resnet", "depth": 8} | options))


def test_twins_share_their_initial_weights_and_seeds_do_not() -> None:
    plain, residual = cifar_net("plain", 20, seed=3), cifar_net("resnet", 20, seed=3)
    assert state_sha256(plain.state_dict()) == state_sha256(residual.state_dict())
    assert state_sha256(plain.state_dict()) != state_sha256(cifar_net("plain", 20, seed=4).state_dict())
    projections = cifar_net("resnet", 20, shortcut="C", seed=3).state_dict()
    assert all(torch.equal(value, projections[key]) for key, value in plain.state_dict().items())


def test_he_initialization_has_variance_two_over_fan_in() -> None:
    weight = cifar_net("resnet", 56, seed=0).layer3[5].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.002)


def test_option_a_subsamples_and_pads_both_sides_with_zeros() -> None:
    x = torch.randn(2, 16, 8, 8)
    y = PadShortcut(16, 32, 2)(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize(("shortcut", "projections"), [("A", 0), ("B", 2), ("C", 9)])
def test_shortcut_options(shortcut: str, projections: int) -> None:
    net = cifar_net("resnet", 20, shortcut=shortcut)  # type: ignore[arg-type]
    assert sum(key.endswith("downsample.0.weight") for key in net.state_dict()) == projections
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_residual_block_adds_its_input_and_a_plain_one_does_not() -> None:
    x = torch.rand(1, 16, 8, 8)
    for kind, expected in (("resnet", x), ("plain", torch.zeros_like(x))):
        block = cifar_net(kind, 8).eval().layer1[0]  # type: ignore[arg-type]
        torch.nn.init.zeros_(block.bn2.weight)
        assert torch.equal(block(x), expected)


def test_shortcuts_around_single_layers() -> None:
    single, double = cifar_net("resnet", 20, span=1, seed=3), cifar_net("resnet", 20, seed=3)
    assert state_sha256(single.state_dict()) == state_sha256(double.state_dict())
    block, x = single.eval().layer1[0], torch.rand(1, 16, 8, 8)
    torch.nn.init.zeros_(block.bn2.weight)  # type: ignore[arg-type]
    middle = torch.relu(block.bn1(block.conv1(x)) + x)  # type: ignore[operator]
    assert torch.equal(block(x), middle)
    torch.nn.init.zeros_(block.bn1.weight)  # type: ignore[arg-type]
    assert torch.equal(block(x), x)
    halving = single.layer2[0]
    torch.nn.init.zeros_(halving.bn1.weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(halving.bn2.weight)  # type: ignore[arg-type]
    assert torch.equal(halving(x), PadShortcut(16, 32, 2)(x))


@pytest.mark.parametrize("options", [{"kind": "plain"}, {"kind": "resnet", "shortcut": "C"}])
def test_single_layer_shortcuts_of_no_kind_are_refused(options: dict) -> None:
    with pytest.raises(UserError, match="span 1 does not go with"):
        cifar_net(**options, depth=8, span=1)
