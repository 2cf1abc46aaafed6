"""Recovery of inputs and linear probes on the layers of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import QUARTER, make_settings, prepare_run
from trained_runs import diagnostic_context, run_here

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics import representations as features
from resnet_repro.diagnostics.along_training import make_diagnostics
from resnet_repro.diagnostics.representations import Features, places, probe_error, projected, recovery_r2
from resnet_repro.models import build
from resnet_repro.records.record import read_record
from resnet_repro.tables import read_rows


def test_recovery_finds_targets_in_linear_features_but_not_in_noise() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(1_200, 6)).astype(np.float32)
    mixed = targets @ rng.normal(size=(6, 20)).astype(np.float32)
    sizes = (800, 200, 200)
    assert recovery_r2(mixed, targets, sizes)[0] > 0.95
    assert recovery_r2(rng.normal(size=(1_200, 20)).astype(np.float32), targets, sizes)[0] < 0.05


def test_one_image_with_extreme_features_does_not_decide_the_recovery() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(1_200, 6)).astype(np.float32)
    features = targets @ rng.normal(size=(6, 20)).astype(np.float32)
    features[1_100] *= 1e4  # a held-out image
    assert recovery_r2(features, targets, (800, 200, 200))[0] > 0.9


def test_recovery_is_scored_on_held_out_images_only() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5)).astype(np.float32)
    targets = features.copy()
    targets[200:] = -targets[200:]  # the opposite relation in the held-out part
    assert recovery_r2(features, targets, (150, 50, 100))[0] < -1


def test_probes_find_classes_in_features_but_not_in_noise() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 600)
    informative = np.eye(10)[labels] + 0.1 * rng.normal(size=(600, 10))
    assert probe_error(informative[:400], labels[:400], informative[400:], labels[400:]) == 0
    noise = rng.normal(size=(600, 10))
    assert probe_error(noise[:400], labels[:400], noise[400:], labels[400:]) > 75


def test_recovery_is_scored_on_test_images(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training images are not independent of the network, which was trained on them."""
    arm = cifar_arm("plain", 8, HE15_CIFAR, length=0, watch=("features",))
    diagnostic = make_diagnostics(diagnostic_context(tmp_path, tiny_data, arm))["features"]
    assert isinstance(diagnostic, Features)
    requests: list[tuple[str, int]] = []
    data, batches = diagnostic.context.data, InMemoryData.batches

    def spy(self: InMemoryData, split: str, limit: int | None = None, size: int | None = None):
        requests.append((split, limit or data.images(split)))
        return batches(self, split, limit, size)

    monkeypatch.setattr(InMemoryData, "batches", spy)
    sizes: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        features, "recovery_r2", lambda x, y, parts: sizes.append((len(x), len(y), *parts)) or (0.0, 1.0)
    )
    with torch.inference_mode():
        diagnostic._recovered(build(arm.model, 10, seed=0))
    assert set(sizes) == {(1_499, 1_499, 833, 166, 500)}
    assert set(requests) == {("train", 999), ("test", 500)}


def test_features_are_taken_after_the_first_convolution_and_each_block(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("resnet", 8, HE15_CIFAR, length=0, watch=("features",))
    folder = prepare_run(tmp_path, make_settings(tiny_data, 0, arm), tiny_data)
    assert run_here(folder) == "finished"
    names = ["conv1", "layer1.0", "layer2.0", "layer3.0"]
    assert [name for name, _ in places(build(arm.model, 10, 0))] == names
    rows = read_rows(folder / "features.csv")
    assert [(row["name"], row["channels"]) for row in rows] == list(zip(names, ("16", "16", "32", "64"), strict=True))
    # After the first convolution the input can be recovered almost completely, after three blocks less so.
    assert float(rows[0]["recovered"]) > max(0.5, float(rows[-1]["recovered"]))
    record = read_record(folder)
    probes = [float(row["probe_error"]) for row in rows]
    assert record.value("probe_drop") == pytest.approx(probes[0] - probes[-1])
    filters = read_rows(folder / "filters.csv")
    assert len(filters) == 16 * 3 * 3 * 3
    assert {row["name"] for row in read_rows(folder / "maps.csv")} == set(names)


def test_features_are_the_same_after_a_kill_while_they_are_written(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("plain", 8, QUARTER, length=0, watch=("features",))
    diagnostic = make_diagnostics(diagnostic_context(tmp_path, tiny_data, arm))["features"]
    assert isinstance(diagnostic, Features)
    net = build(arm.model, 10, seed=0)
    first = diagnostic.finish(net)
    table = (tmp_path / "features.csv").read_text()
    with (tmp_path / "features.csv").open("a") as file:
        file.write("0,9,cut")
    assert diagnostic.finish(net) == first
    assert (tmp_path / "features.csv").read_text() == table


def test_projections_are_fixed_and_have_sixteen_features() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 64)).astype(np.float32)
    assert projected(means).shape == (200, 16)
    assert np.array_equal(projected(means), projected(means.copy()))
    assert np.allclose(projected(means[:1] + means[1:2]), projected(means[:1]) + projected(means[1:2]), atol=1e-4)
    assert np.linalg.matrix_rank(projected(means[:, :16])) == 16, "nothing of sixteen channels is lost"


def test_the_probe_slope_is_that_of_the_errors_along_the_depth(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("resnet", 8, QUARTER, length=0, watch=("probes",))
    values = make_diagnostics(diagnostic_context(tmp_path, tiny_data, arm))["probes"].finish(build(arm.model, 10, 0))
    rows = read_rows(tmp_path / "probes.csv")
    assert [(row["name"], row["channels"]) for row in rows] == [
        ("conv1", "16"), ("layer1.0", "16"), ("layer2.0", "32"), ("layer3.0", "64"),
    ]  # fmt: skip
    errors = [float(row["probe_error"]) for row in rows]
    # Least squares at depths 0, 1/3, 2/3, 1: weights proportional to the distance from the centre.
    slope = sum((depth - 0.5) * error for depth, error in zip((0, 1 / 3, 2 / 3, 1), errors, strict=True)) / (5 / 9)
    assert values == {"probe_slope": pytest.approx(slope)}
