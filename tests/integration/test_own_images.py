"""Class folders and weights of the user on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import REPO, cli
from made_folders import make_folders, save

from resnet_repro.distributed import DistContext
from resnet_repro.launch.slots import one_of_group, plan_slots
from resnet_repro.records.failures import failure_reason


def record_in(runs: Path, experiment: str, budget: str, arm: str) -> dict:
    return json.loads((runs / experiment / budget / arm / "seed0" / "record.json").read_text())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with ten training and five validation images each. One image of each split is unreadable."""
    root = make_folders(tmp_path_factory.mktemp("flowers") / "My Flowers", train=10, test=5)
    for file in ("train/ant/0.png", "val/bee/1.png"):
        (root / file).write_bytes(b"broken")
    return root


@pytest.mark.slow
def test_two_processes_train_together_on_class_folders(folders: Path, tmp_path: Path) -> None:
    flags = f"--arms resnet-18 --iterations 2 --resolution 32 --broken skip --runs-dir {tmp_path}/runs"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "resnet_repro.cli", "run", "plain-vs-resnet", "--dataset", str(folders), *flags.split()),
        *("--reports-dir", str(tmp_path / "reports"), "--precision", "fp32", "--data-dir", str(tmp_path / "data")),
    ]
    ended = subprocess.run(command, cwd=REPO, env=os.environ, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:] + ended.stdout
    assert ended.stdout.count("report: ") == 1 and ended.stdout.count("I1 ") == 1
    record = record_in(tmp_path / "runs", "plain-vs-resnet", "2it-32px-folders-my-flowers", "resnet-18")
    assert (record["processes"], record["status"]) == (2, "finished")
    data = record["dataset"]
    assert data["class_images"] == {name: {"train": 10, "test": 5} for name in ("ant", "bee")}
    assert data["broken_images"] == 2 and set(data["broken"]) == {"train/ant/0.png", "val/bee/1.png"}
    assert (record["final"]["train_images"], data["train_images"], data["test_images"]) == (19, 20, 10)
    errors = record["final"]["test_error"] * 9 / 100, record["final"]["test_error_10crop"] * 9 / 100
    assert errors == pytest.approx([round(error) for error in errors])


@pytest.mark.slow
def test_run_with_a_batch_of_one_image_finishes_and_says_what_it_left_out(tmp_path: Path) -> None:
    """257 images make a batch of 256 and one of a single image, whose last maps have one pixel at 32 pixels."""
    root = make_folders(tmp_path / "ants", train=128, test=3, val="valid")
    save(root / "train" / "ant" / "more.png")
    (root / "train" / "bee" / "a.HEIC").write_bytes(b"x")
    (root / "dev").mkdir()
    flags = (
        f"--arms resnet-18 --iterations 2 --resolution 32 --runs-dir {tmp_path}/runs --reports-dir {tmp_path}/reports"
    )
    ended = cli(
        *("run", "plain-vs-resnet", "--dataset", root, "--precision", "fp32", "--data-dir", tmp_path / "data"),
        *flags.split(),
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "1 .heic in " in ended.stdout and "dev in " in ended.stdout and "a step has one image" in ended.stdout
    record = record_in(tmp_path / "runs", "plain-vs-resnet", "2it-32px-folders-ants", "resnet-18")
    assert (record["status"], record["lone_steps"], record["dataset"]["left_out"]) == ("finished", 1, {".heic": 1})
    assert record["dataset"]["used"] == {"train": 257, "test": 6}


@pytest.mark.slow
def test_transfer_uses_class_folders_and_a_file_of_weights(folders: Path, tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "mine.pth")
    arguments = [
        *("run", "transfer", "--arms", "frozen-as-written,frozen-corrected", "--resolution", "32", "--broken", "skip"),
        *("--dataset", folders, "--weights", tmp_path / "mine.pth", "--runs-dir", tmp_path / "runs"),
        *("--reports-dir", tmp_path / "reports", "--data-dir", tmp_path / "data", "--precision", "fp32"),
    ]
    ended = cli(*arguments)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "SUBSTITUTE WEIGHTS" not in ended.stdout
    budget = "quick-32px-folders-my-flowers"
    records = [
        record_in(tmp_path / "runs", "transfer", budget, f"frozen-{kind}") for kind in ("as-written", "corrected")
    ]
    for record in records:
        assert record["weights_from"] == {"name": "mine.pth", "substitute": False}
        assert record["model"]["trainable_parameters"] == 2 * 513
        assert record["iterations"] == 6  # six epochs, as the 474 steps on 10,000 images
        assert record["recipe"]["train_images"] == 0 and record["dataset"]["used"]["train"] == 20
    assert records[1]["feature_seconds"] > 0
    assert not (tmp_path / "runs" / "transfer" / budget / "pretrained").exists()


def test_failure_reason_of_a_torchrun_log_is_found(tmp_path: Path) -> None:
    lines = ["resnet-repro: an older reason", *["..."] * 90, "resnet-repro: a.png cannot be read", "Traceback", "====="]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    assert failure_reason(tmp_path) == "a.png cannot be read"
    (tmp_path / "log.txt").write_text("\n".join([*lines[:91], "KeyError: 3"]))
    assert failure_reason(tmp_path) == "KeyError: 3"


def test_spread_run_uses_all_gpus_and_divides_the_cores() -> None:
    (slot,) = plan_slots(["cuda:0", "cuda:2"], None, runs=4, cores=16, visible="4,5,6", spread=True)
    assert (slot.processes, slot.threads, slot.workers, slot.environment["CUDA_VISIBLE_DEVICES"]) == (2, 8, 8, "4,6")
    with pytest.raises(ValueError, match="SLOTS=2"):
        plan_slots(["cuda:0", "cuda:1"], 2, runs=4, cores=16, spread=True)
    (slot,) = plan_slots(["cuda:1"], None, runs=4, cores=16, spread=True)
    assert (slot.processes, slot.environment["CUDA_VISIBLE_DEVICES"]) == (1, "1")
    assert len(plan_slots(["cpu"], None, runs=4, cores=2, spread=True)) == 2
    slot = one_of_group("cuda", DistContext(5, 8, 1, 4), cores=32)
    assert (slot.processes, slot.threads, "CUDA_VISIBLE_DEVICES" in slot.environment) == (1, 8, False)
