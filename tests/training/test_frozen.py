"""Runs with a frozen backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import torch
from conftest import make_settings, prepare_run
from made_reports import count
from made_results import judge
from torch import nn
from trained_runs import diagnostic_context, run_here

from resnet_repro.config.arm import Arm, ModelSpec, Start, Weights
from resnet_repro.config.families import imagenet_arm
from resnet_repro.config.recipes import BLOG_E_TRANSFER_CORRECTED, PRETRAINING
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.models.pretrained import file_sha256
from resnet_repro.models.transfer import TransferNet
from resnet_repro.records.entries import Parent, WeightsFrom
from resnet_repro.records.record import collect, read_record
from resnet_repro.report.verdicts import results_of
from resnet_repro.tables import read_rows, series
from resnet_repro.training.load import load_run
from resnet_repro.training.start import first_weights

pytestmark = pytest.mark.slow

RECIPE = replace(BLOG_E_TRANSFER_CORRECTED, learning_rate=1e-2, train_images=500)


FROZEN = Arm(
    "frozen",
    ModelSpec("transfer.transfer_net", {"depth": 18, "frozen": True, "statistics": "running"}),
    RECIPE,
    start=Start("pretrained", "backbone"),
)


def run_of(arm: Arm, weights: Path, data: Path, folder: Path) -> Path:
    settings = make_settings(
        data, 8, arm, experiment="transfer", resolution=32, weights=Weights(weights.name, file_sha256(weights))
    )
    prepared = prepare_run(folder, settings, data, weights=str(weights))
    assert run_here(prepared) == "finished"
    return prepared


def test_features_computed_once_train_the_same_head(
    resnet18_file: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    features = TransferNet.features

    def counted(self: TransferNet, x: torch.Tensor) -> torch.Tensor:
        batches.append(len(x))
        return features(self, x)

    monkeypatch.setattr(TransferNet, "features", counted)
    once = run_of(replace(FROZEN, features="once"), resnet18_file, tiny_data, tmp_path / "once")
    assert sum(batches) == 500 + 500 + 4 + 1 + 2, (
        "each split once, plus images that measure memory and count operations"
    )
    each = run_of(FROZEN, resnet18_file, tiny_data, tmp_path / "each")
    assert sum(batches) > 3_000
    curves = [series(read_rows(folder / "metrics.csv"), "running_train_loss")[1] for folder in (once, each)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    records = [read_record(folder) for folder in (once, each)]
    for metric in ("train_loss", "test_loss"):
        assert records[0].value(metric) == pytest.approx(records[1].value(metric), rel=1e-4)
    # The backbone counts forward alone: for each image once, or for each image of each of 8 steps.
    epoch = [min(RECIPE.batch_size, 500 - first) for first in range(0, 500, RECIPE.batch_size)]
    trained = sum(epoch[step % len(epoch)] for step in range(8))
    assert records[0].operations is not None and records[1].operations is not None
    assert records[1].operations / records[0].operations == pytest.approx(trained / 500, rel=0.01)
    record = records[0]
    assert record.weights_from == WeightsFrom("resnet18.pth", substitute=False) and record.parent is None
    assert record.model.trainable_parameters == 5_130
    assert record.dataset.used["train"] == 500


def test_a_weights_file_with_another_checksum_is_rejected(resnet18_file: Path, tiny_data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({}, other)
    settings = make_settings(tiny_data, 8, FROZEN, resolution=32, weights=Weights("resnet18.pth", "0" * 64))
    folder = prepare_run(tmp_path, settings, tiny_data, weights=str(other))
    with pytest.raises(UserError, match=r"other\.pth does not hold .*resnet18\.pth"):
        run_here(folder)


def test_trained_parameters_are_counted_on_the_networks(tmp_path: Path) -> None:
    transfer = load_experiment("transfer")
    (claim,) = [claim for claim in transfer.claims if claim.name == "T4"]
    for network in transfer.networks:
        count(tmp_path, transfer, network, "quick")
    records = collect(tmp_path, "transfer", "quick")
    judgement = judge(claim, results_of(records))
    assert judgement.verdict == "supported"
    judgement = judge(claim, results_of([record for record in records if record.arm != "frozen-counted"]))
    assert (judgement.verdict, judgement.reason) == ("not tested", "runs are missing")


def test_a_backbone_may_come_from_a_run_on_other_classes(tiny_data: Path, tmp_path: Path) -> None:
    """The parent's data count as other data once its record names another digest."""
    recipe = replace(PRETRAINING, batch_size=4, train_images=4)
    parent_arm = imagenet_arm("resnet", 18, recipe, name="half-pretrained")
    parent = make_settings(tiny_data, 1, parent_arm, experiment="transfer", resolution=32)
    parent_folder = prepare_run(tmp_path, parent, tiny_data)
    assert run_here(parent_folder) == "finished"
    record = read_record(parent_folder)
    msgspec.structs.replace(record, settings=replace(record.settings, dataset_digest="0" * 64)).write()

    def start(how: Literal["copy", "other classes"]) -> tuple[nn.Module, Parent | None]:
        arm = replace(FROZEN, start=Start("half-pretrained", how))
        settings = replace(parent, arm=arm)
        folder = parent_folder.parents[1] / arm.name / "seed0"
        return first_weights(folder, settings, diagnostic_context(tmp_path, tiny_data, arm).data)

    net, source = start("other classes")
    assert source and (source.arm, source.weights_sha256) == ("half-pretrained", record.weights_sha256)
    begun, trained = net.state_dict(), load_run(parent_folder).state_dict()
    same = {key for key in trained if torch.equal(begun[key], trained[key])}
    assert trained.keys() - same <= {"fc.weight", "fc.bias"} and "conv1.weight" in same
    with pytest.raises(UserError, match="trained on other data"):
        start("copy")
