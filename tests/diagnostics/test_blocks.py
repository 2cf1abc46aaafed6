"""Leaving out single blocks of a network."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import QUARTER
from torch import nn
from trained_runs import diagnostic_context

from resnet_repro.config.families import cifar_arm
from resnet_repro.diagnostics.along_training import make_diagnostics
from resnet_repro.diagnostics.blocks import block_diagnostics
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.models import build
from resnet_repro.models.blocks import PadShortcut
from resnet_repro.tables import read_rows

CUT_SHORTCUTS = {"layer2.0": PadShortcut(16, 32, 2), "layer3.0": PadShortcut(32, 64, 2)}
SAME_SIZE = ["layer1.0", "layer1.1", "layer2.1", "layer3.1"]


def cut(net: nn.Module, name: str) -> nn.Module:
    """A copy of the network from which a block is removed; its shortcut stays if it changes the size."""
    rest = deepcopy(net)
    stage, _, index = name.partition(".")
    blocks = list(rest.get_submodule(stage).children())
    blocks[int(index) : int(index) + 1] = (
        [nn.Sequential(CUT_SHORTCUTS[name], nn.ReLU())] if name in CUT_SHORTCUTS else []
    )
    setattr(rest, stage, nn.Sequential(*blocks))
    return rest


def varied(kind: str) -> nn.Module:
    """An untrained net in evaluation mode whose blocks all matter: its normalization has statistics of noise."""
    net = build(cifar_arm(kind, 14, QUARTER).model, 10, seed=0)
    with torch.no_grad():
        for _ in range(30):
            net.train()(torch.randn(32, 3, 32, 32))
    return net.eval()


@pytest.mark.parametrize(("kind", "left_out"), [("plain", SAME_SIZE), ("resnet", sorted([*SAME_SIZE, *CUT_SHORTCUTS]))])
def test_errors_are_those_of_networks_without_the_block(
    kind: str, left_out: list[str], tiny_data: Path, tmp_path: Path
) -> None:
    context = diagnostic_context(tmp_path, tiny_data, cifar_arm(kind, 14, QUARTER, length=0, watch=("blocks",)))
    net = varied(kind)
    diagnostics = make_diagnostics(context)["blocks"].finish(net)
    rows = read_rows(tmp_path / "blocks.csv")
    assert [row["name"] for row in rows] == ["all", *left_out]

    def error(of: nn.Module) -> float:
        return evaluate(of, context.data.batches("test"), context.device, "fp32").error

    expected = {"all": error(net)} | {name: error(cut(net, name)) for name in left_out}
    assert {row["name"]: float(row["error"]) for row in rows} == pytest.approx(expected)
    assert len(set(expected.values())) > 1
    assert {row["name"] for row in rows if row["changes_size"] == "1"} == set(left_out) & set(CUT_SHORTCUTS)
    increases = sorted(expected[name] - expected["all"] for name in SAME_SIZE)
    assert diagnostics["block_loss"] == pytest.approx((increases[1] + increases[2]) / 2)


def test_shares_are_of_what_the_network_has_learned() -> None:
    assert block_diagnostics(10.0, [30.0, 12.0, 90.0], classes=10) == {"block_loss": 20.0, "block_share": 25.0}
    assert block_diagnostics(91.0, [90.0], classes=10) == {"block_loss": -1.0}, "it has learned nothing"
    assert block_diagnostics(10.0, [], classes=10) == {}


def test_a_network_without_blocks_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    context = diagnostic_context(tmp_path, tiny_data, cifar_arm("plain", 8, QUARTER, watch=("blocks",)))
    with pytest.raises(ValueError, match="no blocks"):
        make_diagnostics(context)["blocks"].finish(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)))
