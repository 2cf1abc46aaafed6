"""What arms measure beyond errors: shifting inputs, modes that differ, features; and what memory decides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import QUARTER, make_settings, prepare_run
from test_training import run_here

from resnet_repro.config.arm import Arm
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.sources import obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics import representations as features
from resnet_repro.diagnostics.representations import Features, places, probe_error, recovery_r2
from resnet_repro.diagnostics.watch import Subject
from resnet_repro.diagnostics.watches import InputShift, Modes, make_watches
from resnet_repro.files import read_rows
from resnet_repro.models import build
from resnet_repro.records.record import read_record
from resnet_repro.training import memory
from resnet_repro.training.memory import choose_activations
from resnet_repro.training.start import Skip

CPU = torch.device("cpu")


def subject(folder: Path, data: Path, arm: Arm) -> Subject:
    arrays = obtain("standin-tiny", data, None, lambda text: None)
    settings = make_settings(data, 20, arm)
    return Subject(settings, folder, InMemoryData(arrays, arm.recipe, 0, 1, CPU), CPU)


def test_the_shift_of_an_input_is_measured_in_its_own_spread(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("plain", 8, HE15_CIFAR, watch=("inputs",))
    watch = InputShift(subject(tmp_path, tiny_data, arm))
    watch.tables[0].rewind(-1)
    net = build(arm.model, 10, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    watch.along(net, 0)
    watch.along(net, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert {float(row["mean_shift"]) for row in read_rows(tmp_path / "inputs.csv")} == {0.0}
    seen: list[torch.Tensor] = []
    first = net.get_submodule("layer1.0.conv1")
    handle = first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    images = torch.cat([x for x, _ in watch.subject.data.batches("train", 500)])
    net.train()
    net(images)
    with torch.no_grad():
        net.bn1.bias += 5.0  # type: ignore[operator]  far from the ReLU's corner: every input rises by nearly 5
    net(images)
    handle.remove()
    watch.along(net, 2)
    row = next(r for r in read_rows(tmp_path / "inputs.csv") if (r["iteration"], r["layer"]) == ("2", "2"))
    old, new = (x.mean((0, 2, 3)) for x in seen)
    spread = seen[0].var((0, 2, 3), correction=0).mean().sqrt()
    assert float(row["mean_shift"]) == pytest.approx(float((new - old).square().mean().sqrt() / spread), rel=1e-3)
    assert watch.finish(net)["input_mean_shift"] > 0


@pytest.mark.parametrize(("norm", "depends"), [("batch", True), ("group", False), ("layer", False), ("none", False)])
def test_only_batch_statistics_make_a_class_depend_on_the_mode(
    norm: str, depends: bool, tiny_data: Path, tmp_path: Path
) -> None:
    arm = cifar_arm("plain", 8, replace(HE15_CIFAR, batch_size=4), norm=norm, watch=("modes",))
    net = build(arm.model, 10, seed=0)
    change = Modes(subject(tmp_path, tiny_data, arm)).finish(net)["mode_change"]
    assert (change > 1) if depends else (change == 0)
    assert net.training


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
    arm = cifar_arm("plain", 8, HE15_CIFAR, length=0, watch=("features",))
    watch = make_watches(subject(tmp_path, tiny_data, arm))["features"]
    assert isinstance(watch, Features)
    asked: list[tuple[str, int]] = []
    data, batches = watch.subject.data, InMemoryData.batches

    def spy(self: InMemoryData, split: str, limit: int | None = None, size: int | None = None):
        asked.append((split, limit or data.images(split)))
        return batches(self, split, limit, size)

    monkeypatch.setattr(InMemoryData, "batches", spy)
    sizes: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        features, "recovery_r2", lambda x, y, parts: sizes.append((len(x), len(y), *parts)) or (0.0, 1.0)
    )
    with torch.inference_mode():
        watch._recovered(build(arm.model, 10, seed=0))
    assert set(sizes) == {(1_499, 1_499, 833, 166, 500)}
    assert set(asked) == {("train", 999), ("test", 500)}


def test_features_look_after_the_first_convolution_and_every_block(tiny_data: Path, tmp_path: Path) -> None:
    arm = cifar_arm("resnet", 8, HE15_CIFAR, length=0, watch=("features",))
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
    arm = cifar_arm("plain", 8, QUARTER, length=0, watch=("features",))
    watch = make_watches(subject(tmp_path, tiny_data, arm))["features"]
    assert isinstance(watch, Features)
    net = build(arm.model, 10, seed=0)
    first = watch.finish(net)
    table = (tmp_path / "features.csv").read_text()
    with (tmp_path / "features.csv").open("a") as file:
        file.write("0,9,cut")
    assert watch.finish(net) == first
    assert (tmp_path / "features.csv").read_text() == table


GIB = 2**30


@pytest.mark.parametrize(
    ("wanted", "total", "share", "expected"),
    [
        ("auto", 24 * GIB, 1.0, "stored"),
        ("auto", 2**20, 1.0, "recomputed"),
        ("auto", 64 * 2**20, 1.0, "stored"),
        ("auto", 64 * 2**20, 0.1, "recomputed"),
        ("recomputed", 24 * GIB, 1.0, "recomputed"),
        ("stored", 2**20, 1.0, "stored"),
    ],
)
def test_measured_memory_decides_on_recomputation(
    wanted: str, total: int, share: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda device: total)
    monkeypatch.setattr(memory, "free_memory", lambda device: 24 * GIB)
    net = build(cifar_arm("resnet", 8, HE15_CIFAR).model, 10, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    batch = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    choice, measured = choose_activations(wanted, net, batch, "fp32", share)
    assert choice == expected
    assert 5 * 2**20 < measured < 30 * 2**20
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_1202_layers_are_recomputed_however_large_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """He15's batch of 128 takes several GiB more than a run is to have on a CPU; 110 layers are far from it."""
    monkeypatch.setattr(memory, "total_memory", lambda device: 512 * GIB)
    monkeypatch.setattr(memory, "PROBE_IMAGES", 1)  # bytes are proportional to images, and so is the time
    batch = torch.randn(128, 3, 32, 32), torch.arange(128) % 10
    found = {}
    for depth in (110, 1202):
        with torch.device("meta"):
            net = build(cifar_arm("resnet", depth, HE15_CIFAR).model, 10, seed=0)
        found[depth] = choose_activations("auto", net.to_empty(device="cpu"), batch, "bf16", 1.0)
    assert [found[depth][0] for depth in (110, 1202)] == ["stored", "recomputed"]
    assert found[1202][1] > memory.CPU_LIMIT > 4 * found[110][1]


def test_what_does_not_fit_is_skipped_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**29)
    net = build(cifar_arm("resnet", 8, HE15_CIFAR).model, 10, seed=0)
    with pytest.raises(Skip, match=r"takes about 1\.0 GiB, and 0\.5 GiB are free"):
        choose_activations("stored", net, (torch.randn(16, 3, 32, 32), torch.arange(16) % 10), "fp32", 1.0)


def test_a_recomputing_run_is_the_storing_run_to_the_bit(tiny_data: Path, tmp_path: Path) -> None:
    found = {}
    for activations in ("stored", "recomputed"):
        arm = cifar_arm("resnet", 20, QUARTER, activations=activations)
        folder = prepare_run(tmp_path / activations, make_settings(tiny_data, 3, arm, evaluate_every=3), tiny_data)
        assert run_here(folder) == "finished"
        found[activations] = json.loads((folder / "record.json").read_text())
        found[activations]["metrics"] = (folder / "metrics.csv").read_text()
    for key in ("weights_sha256", "final", "metrics", "activation_mib"):
        assert found["stored"][key] == found["recomputed"][key], key
    assert [found[key]["activations"] for key in ("stored", "recomputed")] == ["stored", "recomputed"]
    assert found["stored"]["peak_memory_mib"] > 100


def test_a_stretch_is_timed_and_not_scored(tiny_data: Path, tmp_path: Path) -> None:
    settings = make_settings(tiny_data, 20, stretch=3)
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    record = read_record(folder)
    assert record is not None
    assert (record.data["iterations"], record.data["final"], record.value("test_error")) == (3, {}, None)
    assert record.data["training_seconds"] > 0
    assert [row["learning_rate"] for row in read_rows(folder / "metrics.csv")] == ["0.1"] * 3
