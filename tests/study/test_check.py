"""Checks of a machine: each finds what is wrong, and says what to do."""

from __future__ import annotations

import re
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import cli

from resnet_repro.data.arrays import canonical, load
from resnet_repro.data.catalogue import CATALOGUE, STANDIN_TINY
from resnet_repro.data.sources import DataSources
from resnet_repro.study import check
from resnet_repro.study.check import Finding


def only(findings) -> Finding:
    (finding,) = findings
    return finding


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes seconds, and has tests of its own. Nor does a mirror of the user count."""
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setattr("resnet_repro.training.device_check.compared_compiled", lambda device: [])


def test_a_machine_in_order_passes(tmp_path: Path) -> None:
    process = cli("check", "--devices", "cpu", "--runs-dir", tmp_path / "runs", "--data-dir", tmp_path / "data")
    assert process.returncode == 0, process.stdout
    lines = process.stdout.splitlines()
    assert lines[0].split() == ["check", "result"] and "─" not in process.stdout
    (gradients,) = [line for line in lines if line.startswith("gradients, cpu, fp32")]
    assert " ok " in gradients and "as on the CPU in float64" in gradients
    assert any("CIFAR-10" in line and "the first run downloads 170 MB" in line for line in lines)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_a_failed_check_gives_exit_code_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "resnet_repro.training.device_check.trouble", lambda device, precision: f"{device} computes wrong gradients"
    )
    process = cli("check", "--devices", "cpu", "--runs-dir", tmp_path, "--data-dir", tmp_path)
    assert process.returncode == 1
    assert re.search(r"^gradients, cpu, fp32 +failed +cpu computes wrong gradients$", process.stdout, re.M)


def test_versions_are_compared_with_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check.pinned()["torch"] and "pytest" not in check.pinned()
    monkeypatch.setattr(check, "pinned", lambda: {"numpy": np.__version__})
    assert only(check.versions_installed()).result == "ok"
    monkeypatch.setattr(check, "pinned", lambda: {"numpy": "0.1", "no-such-package": "1"})
    finding = only(check.versions_installed())
    assert finding.result == "warning"
    assert f"numpy {np.__version__}, not 0.1; no-such-package missing, not 1" in finding.text
    assert "pip install -c constraints.txt" in finding.text


@pytest.mark.parametrize(("free", "result"), [(5e9, "ok"), (1e9, "warning"), (5e7, "failed")])
def test_room_on_disk(free: float, result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    runs, data = check.room_on_disk(tmp_path / "runs", tmp_path / "data")
    assert (runs.result, data.result) == (result, result)
    assert result == "ok" or "use another RUNS_DIR" in runs.text
    (tmp_path / "file").touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert {finding.result for finding in check.room_on_disk(tmp_path, tmp_path)} == {"failed"}


def test_data_are_checked_by_their_digests(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up data set with the images of the tiny stand-in; then one pixel of it changes."""
    source = load(STANDIN_TINY, tiny_data / "cache" / STANDIN_TINY.name)
    assert source is not None
    digests = {name: canonical(split)[1] for name, split in (("train", source.train), ("test", source.test))}
    facts = replace(
        STANDIN_TINY, name="made", title="Made", standin=False, digests=digests, url="https://example.org/made"
    )
    monkeypatch.setattr(check, "CATALOGUE", {"made": facts})
    monkeypatch.setitem(CATALOGUE, "made", facts)
    folder = tmp_path / "cache" / "made"
    shutil.copytree(source.folder, folder)
    sources = DataSources(tmp_path)
    assert only(check.data_at_hand(sources)) == Finding(
        "data, Made", "ok", f"in {folder}, with the digests of the catalogue"
    )
    images = np.load(folder / "train_images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(folder / "train_images.npy", images)
    finding = only(check.data_at_hand(sources))
    assert finding.result == "failed" and f"delete {folder}" in finding.text
    missing = only(check.data_at_hand(DataSources(tmp_path, str(tmp_path / "nowhere"))))
    assert missing.result == "failed", "a damaged cache is reported, whatever the mirror is"
    shutil.rmtree(folder)
    assert "DATA_MIRROR=" in only(check.data_at_hand(DataSources(tmp_path, str(tmp_path / "nowhere")))).text


def test_the_mode_of_weights_and_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "metrics.csv" in only(check.curves_recorded("disabled")).text
    assert only(check.curves_recorded("offline")).text == "runs are recorded offline"
    asked: list[bool] = []

    def server(is_asked: bool) -> None:
        asked.append(is_asked)

    monkeypatch.setattr("resnet_repro.tracking.server.server_of_this_machine", server)
    auto, online = only(check.curves_recorded("auto")), only(check.curves_recorded("online"))
    assert auto.result == "ok" and "recorded offline (no API key is configured; run wandb login)" in auto.text
    assert online.result == "warning" and asked == [False, True]
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    assert only(check.curves_recorded("auto")).result == "warning"


def test_limits_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = shutil.disk_usage(tmp_path)._replace(total=64 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 4096))
    shared, files = check.limits_of_processes(tmp_path)
    assert shared.result == "warning" and "--shm-size=8g" in shared.text
    assert files.result == "warning" and "ulimit -n 4096" in files.text
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert only(check.limits_of_processes(tmp_path / "none")) == Finding("open files", "ok", "no limit")


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_repro.training.device_check.compared", lambda device: [])
    monkeypatch.setattr(
        "resnet_repro.hardware.gpu_trouble", lambda: "the driver is too old: install driver 580 or newer"
    )
    driver, *_ = check.devices_compute("cpu")
    assert driver.result == "warning" and "580" in driver.text and "runs use cpu" in driver.text
    monkeypatch.setattr("resnet_repro.hardware.gpu_trouble", lambda: None)
    monkeypatch.setattr(check, "gpu_facts", lambda query: ["580.65"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver, *_ = check.devices_compute("cpu")
    assert driver.result == "warning" and "does not see this machine's GPU (driver 580.65)" in driver.text
