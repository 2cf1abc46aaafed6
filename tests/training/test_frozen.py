"""Runs with a frozen backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_settings, prepare_run
from made_reports import count
from made_results import judge
from trained_runs import run_here

from resnet_repro.config.arm import Arm, ModelSpec, Start, Weights
from resnet_repro.config.recipes import BLOG_E_TRANSFER_CORRECTED
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.files import read_rows, series
from resnet_repro.models.pretrained import file_sha256
from resnet_repro.models.transfer import TransferNet
from resnet_repro.records.record import WeightsFrom, collect, read_record
from resnet_repro.report.verdicts import results_of

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
    assert sum(batches) == 500 + 500 + 4 + 1, "each split once, plus images that measure memory and count operations"
    each = run_of(FROZEN, resnet18_file, tiny_data, tmp_path / "each")
    assert sum(batches) > 3_000
    curves = [series(read_rows(folder / "metrics.csv"), "running_train_loss")[1] for folder in (once, each)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    records = [read_record(folder) for folder in (once, each)]
    for metric in ("train_loss", "test_loss"):
        assert records[0].value(metric) == pytest.approx(records[1].value(metric), rel=1e-4)
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
