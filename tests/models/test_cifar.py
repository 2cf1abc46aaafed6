"""CIFAR family of He15 section 4.2: parameter counts, layers, shortcuts."""

from __future__ import annotations

import pytest
import torch
from measured_nets import on_meta

from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.complexity import describe, parameter_count
from resnet_repro.errors import UserError
from resnet_repro.models.blocks import PadShortcut
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.impl_d import residual_net
from resnet_repro.models.inspect import main_path_convolutions
from resnet_repro.models.weights import map_keys, state_sha256


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
def test_parameter_counts_equal_table_6(depth: int, exact: int, table_6: float) -> None:
    count = parameter_count(on_meta(cifar_net, "resnet", depth))
    assert count == exact
    digits = 2 if table_6 < 1 else 1
    assert round(count / 1e6, digits) == table_6
    assert parameter_count(on_meta(cifar_net, "plain", depth)) == exact


@pytest.mark.parametrize("depth", [20, 32, 56, 110])
def test_depth_counts_convolutions_and_the_linear_layer(depth: int) -> None:
    net = on_meta(cifar_net, "resnet", depth)
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


@pytest.mark.parametrize(("depth", "nearest"), [(21, "20 or 26"), (55, "50 or 56"), (2, "8"), (-4, "8"), (7, "8")])
def test_invalid_depths_are_rejected_with_the_nearest_valid_ones(depth: int, nearest: str) -> None:
    for builder, kind in ((cifar_net, "plain"), (residual_net, "original")):
        with pytest.raises(UserError, match=rf"depth {depth}: .* {nearest}$"):
            builder(kind, depth)  # type: ignore[arg-type]


def test_residual_blocks_add_their_input_and_plain_blocks_do_not() -> None:
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


def test_weights_of_other_cifar_resnets_load_strictly() -> None:
    source = cifar_net("resnet", 20, shortcut="B", seed=5)
    renamed = {
        "module." + key.replace("fc.", "linear.").replace("downsample", "shortcut"): value
        for key, value in source.state_dict().items()
    }
    net = cifar_net("resnet", 20, shortcut="B", seed=6)
    net.load_state_dict(map_keys(renamed))
    assert state_sha256(net.state_dict()) == state_sha256(source.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.bias"} <= set(net.state_dict())


def test_prefixes_of_wrappers_are_removed_from_keys() -> None:
    state = {"module._orig_mod." + key: value for key, value in cifar_net("plain", 8).state_dict().items()}
    assert map_keys(state).keys() == cifar_net("plain", 8).state_dict().keys()
