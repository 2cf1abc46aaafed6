"""What the layers of a network hold: recovery of inputs, probes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import QUARTER, make_settings, prepare_run
from trained_runs import run_here

from resnet_repro.config.arm import Arm
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics import representations as features
from resnet_repro.diagnostics.along_training import make_diagnostics
from resnet_repro.diagnostics.diagnostic import DiagnosticContext
from resnet_repro.diagnostics.representations import Features, places, probe_error, recovery_r2
from resnet_repro.files import read_rows
from resnet_repro.models import build
from resnet_repro.records.record import read_record

CPU = torch.device("cpu")


def context(folder: Path, data: Path, arm: Arm) -> DiagnosticContext:
    arrays = obtain("standin-tiny", DataSources(data))
    settings = make_settings(data, 20, arm)
    return DiagnosticContext(settings, folder, InMemoryData(arrays, arm.recipe, 0, 1, CPU), CPU)


def test_recovery_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(1_200, 6)).astype(np.float32)
    mixed = targets @ rng.normal(size=(6, 20)).astype(np.float32)
    sizes = (800, 200, 200)
    assert recovery_r2(mixed, targets, sizes)[0] > 0.95
    assert recovery_r2(rng.normal(size=(1_200, 20)).astype(np.float32), targets, sizes)[0] < 0.05


def test_one_image_beyond_all_others_does_not_decide_a_recovery() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(1_200, 6)).astype(np.float32)
    features = targets @ rng.normal(size=(6, 20)).astype(np.float32)
    features[1_100] *= 1e4  # among the held-out ones
    assert recovery_r2(features, targets, (800, 200, 200))[0] > 0.9


def test_recovery_is_scored_on_images_that_chose_nothing() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5)).astype(np.float32)
    targets = features.copy()
    targets[200:] = -targets[200:]  # the held-out part says the opposite
    assert recovery_r2(features, targets, (150, 50, 100))[0] < -1


def test_probes_read_classes_that_are_there() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 600)
    telling = np.eye(10)[labels] + 0.1 * rng.normal(size=(600, 10))
    assert probe_error(telling[:400], labels[:400], telling[400:], labels[400:]) == 0
    noise = rng.normal(size=(600, 10))
    assert probe_error(noise[:400], labels[:400], noise[400:], labels[400:]) > 75


def test_recovery_is_scored_on_test_images(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training images are known to the net itself."""
    arm = cifar_arm("plain", 8, HE15_CIFAR, length=0, diagnostic=("features",))
    diagnostic = make_diagnostics(context(tmp_path, tiny_data, arm))["features"]
    assert isinstance(diagnostic, Features)
    asked: list[tuple[str, int]] = []
    data, batches = diagnostic.context.data, InMemoryData.batches

    def spy(self: InMemoryData, split: str, limit: int | None = None, size: int | None = None):
        asked.append((split, limit or data.images(split)))
        return batches(self, split, limit, size)

    monkeypatch.setattr(InMemoryData, "batches", spy)
    sizes: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        features, "recovery_r2", lambda x, y, parts: sizes.append((len(x), len(y), *parts)) or (0.0, 1.0)
    )
    with torch.inference_mode():
        diagnostic._recovered(build(arm.model, 10, seed=0))
    assert set(sizes) == {(1_499, 1_499, 833, 166, 500)}
    assert set(asked) == {("train", 999), ("test", 500)}


def test_features_look_after_the_first_convolution_and_every_block(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("resnet", 8, HE15_CIFAR, length=0, diagnostic=("features",))
    folder = prepare_run(tmp_path, make_settings(tiny_data, 0, arm), tiny_data)
    assert run_here(folder) == "finished"
    names = ["conv1", "layer1.0", "layer2.0", "layer3.0"]
    assert [name for name, _ in places(build(arm.model, 10, 0))] == names
    rows = read_rows(folder / "features.csv")
    assert [(row["name"], row["channels"]) for row in rows] == list(zip(names, ("16", "16", "32", "64"), strict=True))
    # The input is nearly all there after the first convolution, and less after three blocks.
    assert float(rows[0]["recovered"]) > max(0.5, float(rows[-1]["recovered"]))
    record = read_record(folder)
    assert record is not None
    probes = [float(row["probe_error"]) for row in rows]
    assert record.value("probe_drop") == pytest.approx(probes[0] - probes[-1])
    filters = read_rows(folder / "filters.csv")
    assert len(filters) == 16 * 3 * 3 * 3
    assert {row["name"] for row in read_rows(folder / "maps.csv")} == set(names)


def test_features_are_the_same_after_a_kill_in_their_middle(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("plain", 8, QUARTER, length=0, diagnostic=("features",))
    diagnostic = make_diagnostics(context(tmp_path, tiny_data, arm))["features"]
    assert isinstance(diagnostic, Features)
    net = build(arm.model, 10, seed=0)
    first = diagnostic.finish(net)
    table = (tmp_path / "features.csv").read_text()
    with (tmp_path / "features.csv").open("a") as file:
        file.write("0,9,cut")
    assert diagnostic.finish(net) == first
    assert (tmp_path / "features.csv").read_text() == table
