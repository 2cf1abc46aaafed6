"""The CIFAR family of He15 section 4.2: parameter counts, layers, shortcuts, norms, initialization, names of weights."""

from __future__ import annotations

import pytest
import torch

from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.complexity import describe, parameter_count
from resnet_repro.errors import UserError
from resnet_repro.models.blocks import PadShortcut
from resnet_repro.models.cifar import CifarNet, Kind, Norm, cifar_net
from resnet_repro.models.inspect import main_path_convolutions
from resnet_repro.models.norms import norm_factory
from resnet_repro.models.weights import map_keys, state_sha256


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


def test_without_normalization_there_is_none() -> None:
    net = cifar_net("plain", 20, norm="none")
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    assert parameter_count(net) == 269_722 - 2 * sum((7 * 16, 6 * 32, 6 * 64))


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group"])
def test_every_normalization_scales_and_shifts_each_channel(norm: Norm) -> None:
    net = cifar_net("resnet", 8, norm=norm)
    assert parameter_count(net) == parameter_count(cifar_net("resnet", 8))
    assert {"layer1.0.bn1.weight", "layer1.0.bn1.bias"} <= set(net.state_dict())
    assert torch.equal(net.conv1.weight, cifar_net("resnet", 8).conv1.weight)


@pytest.mark.parametrize(("norm", "over"), [("layer", (1, 2, 3)), ("instance", (2, 3)), ("batch", (0, 2, 3))])
def test_normalizations_average_over_what_they_are_named_for(norm: str, over: tuple[int, ...]) -> None:
    x = 3 + 2 * torch.randn(4, 16, 8, 8)
    out = norm_factory(norm)(16)(x)
    expected = (x - x.mean(over, keepdim=True)) / (x.var(over, correction=0, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(out, expected, atol=1e-5)


def test_group_normalization_has_eight_groups_of_neighbours() -> None:
    x = torch.randn(2, 16, 8, 8)
    groups = x.view(2, 8, 2, 8, 8)
    expected = (groups - groups.mean((2, 3, 4), keepdim=True)) / (
        groups.var((2, 3, 4), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    assert torch.allclose(norm_factory("group")(16)(x), expected.view_as(x), atol=1e-5)


def test_frozen_normalization_only_scales_and_shifts() -> None:
    x = 3 + 2 * torch.randn(4, 16, 8, 8)
    norm = norm_factory("frozen")(16)
    with torch.no_grad():
        norm.weight.fill_(2.0)  # type: ignore[operator]
        norm.bias.fill_(1.0)  # type: ignore[operator]
    for training in (True, False):
        assert torch.allclose(norm.train(training)(x), 1 + 2 * x / 1.001**0.5, atol=1e-5)
    assert not norm.running_mean.any()  # type: ignore[operator]


def test_tensorflows_batch_normalization_has_its_defaults() -> None:
    norm = norm_factory("batch-tf")(3)
    x = 5 + torch.randn(8, 3, 4, 4)
    norm.train()(x)
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.eps == 1e-3
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, 0.01 * x.mean((0, 2, 3)))


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


def test_weights_under_the_customary_names_load_strictly() -> None:
    source = cifar_net("resnet", 20, shortcut="B", seed=5)
    foreign = {
        "module." + key.replace("fc.", "linear.").replace("downsample", "shortcut"): value
        for key, value in source.state_dict().items()
    }
    net = cifar_net("resnet", 20, shortcut="B", seed=6)
    net.load_state_dict(map_keys(foreign))
    assert state_sha256(net.state_dict()) == state_sha256(source.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.bias"} <= set(net.state_dict())


def test_wrappers_prefixes_are_dropped() -> None:
    state = {"module._orig_mod." + key: value for key, value in cifar_net("plain", 8).state_dict().items()}
    assert map_keys(state).keys() == cifar_net("plain", 8).state_dict().keys()
