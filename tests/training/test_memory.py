"""Stored and recomputed activations, and runs that are timed only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import QUARTER, make_settings, prepare_run
from trained_runs import run_here

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.models import build
from resnet_repro.records.record import read_record
from resnet_repro.tables import read_rows
from resnet_repro.training import memory
from resnet_repro.training.memory import choose_activations
from resnet_repro.training.start import Skip

GIB = 2**30


@pytest.mark.parametrize(
    ("setting", "total", "share", "expected"),
    [
        ("auto", 24 * GIB, 1.0, "stored"),
        ("auto", 2**20, 1.0, "recomputed"),
        ("auto", 64 * 2**20, 1.0, "stored"),
        ("auto", 64 * 2**20, 0.1, "recomputed"),
        ("recomputed", 24 * GIB, 1.0, "recomputed"),
        ("stored", 2**20, 1.0, "stored"),
    ],
)
def test_activations_are_recomputed_if_they_exceed_the_share(
    setting: str, total: int, share: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda device: total)
    monkeypatch.setattr(memory, "free_memory", lambda device: 24 * GIB)
    net = build(cifar_arm("resnet", 8, HE15_CIFAR).model, 10, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    batch = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    choice, measured = choose_activations(setting, net, batch, "fp32", share)
    assert choice == expected
    assert 5 * 2**20 < measured < 30 * 2**20
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.slow
def test_1202_layers_are_recomputed_on_a_large_machine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With He15's batch of 128 they take several GiB more than the limit on a CPU; 110 layers are far below it."""
    monkeypatch.setattr(memory, "total_memory", lambda device: 512 * GIB)
    monkeypatch.setattr(memory, "PROBE_IMAGES", 1)  # bytes are proportional to images, and so is time
    batch = torch.randn(128, 3, 32, 32), torch.arange(128) % 10
    choices = {}
    for depth in (110, 1202):
        with torch.device("meta"):
            net = build(cifar_arm("resnet", depth, HE15_CIFAR).model, 10, seed=0)
        choices[depth] = choose_activations("auto", net.to_empty(device="cpu"), batch, "bf16", 1.0)
    assert [choices[depth][0] for depth in (110, 1202)] == ["stored", "recomputed"]
    assert choices[1202][1] > memory.CPU_LIMIT > 4 * choices[110][1]


def test_activations_that_do_not_fit_skip_the_run_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**29)
    net = build(cifar_arm("resnet", 8, HE15_CIFAR).model, 10, seed=0)
    with pytest.raises(Skip, match=r"1\.0 GiB.* 0\.5 GiB.* free"):
        choose_activations("stored", net, (torch.randn(16, 3, 32, 32), torch.arange(16) % 10), "fp32", 1.0)


@pytest.mark.slow
def test_recomputed_activations_give_the_same_bits_as_stored_ones(tiny_data: Path, tmp_path: Path) -> None:
    records = {}
    for activations in ("stored", "recomputed"):
        arm = cifar_arm("resnet", 20, QUARTER, activations=activations)
        folder = prepare_run(tmp_path / activations, make_settings(tiny_data, 3, arm, evaluate_every=3), tiny_data)
        assert run_here(folder) == "finished"
        records[activations] = json.loads((folder / "record.json").read_text())
        records[activations]["metrics"] = (folder / "metrics.csv").read_text()
    for key in ("weights_sha256", "final", "metrics", "activation_mib"):
        assert records["stored"][key] == records["recomputed"][key], key
    assert [records[key]["activations"] for key in ("stored", "recomputed")] == ["stored", "recomputed"]
    assert records["stored"]["peak_memory_mib"] > 100


def test_a_stretch_is_timed_and_not_scored(tiny_data: Path, tmp_path: Path) -> None:
    settings = make_settings(tiny_data, 20, stretch=3)
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    record = read_record(folder)
    assert (record.iterations, record.final, record.value("test_error")) == (3, {}, None)
    assert record.training_seconds > 0
    assert [row["learning_rate"] for row in read_rows(folder / "metrics.csv")] == ["0.1"] * 3


def test_a_full_container_has_no_memory_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_container_free", lambda: 0)
    assert memory.free_memory(torch.device("cpu")) == 0
    monkeypatch.setattr(memory, "_container_free", lambda: None)
    assert memory.free_memory(torch.device("cpu")) > 0
