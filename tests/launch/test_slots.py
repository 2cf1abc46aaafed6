"""Devices, slots and options: which runs go where, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_jobs import executor

from resnet_repro.errors import UserError
from resnet_repro.launch import LaunchOptions
from resnet_repro.launch.slots import parse_devices, plan_slots


@pytest.mark.parametrize(
    ("wanted", "best", "gpus", "devices"),
    [
        ("auto", "cpu", 0, ["cpu"]),
        ("auto", "mps", 0, ["mps"]),
        ("auto", "cuda", 3, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", "cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1,cuda:3", "cuda", 4, ["cuda:1", "cuda:3"]),
        ("2,0,2", "cuda", 4, ["cuda:2", "cuda:0"]),
        ("cpu", "cuda", 8, ["cpu"]),
    ],
)
def test_devices(wanted: str, best: str, gpus: int, devices: list[str]) -> None:
    assert parse_devices(wanted, best, gpus) == devices


@pytest.mark.parametrize(("wanted", "gpus"), [("cuda", 0), ("cuda:4", 4), ("tpu", 4), ("", 4), ("mps", 0), ("0", 0)])
def test_devices_that_are_not_there_are_refused(wanted: str, gpus: int) -> None:
    with pytest.raises(UserError, match="DEVICES="):
        parse_devices(wanted, "cuda" if gpus else "cpu", gpus)


def test_one_slot_a_gpu_or_more_each_seeing_its_own() -> None:
    slots = plan_slots(["cuda:0", "cuda:1"], None, runs=10, cores=16)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "1"]
    slots = plan_slots(["cuda:0", "cuda:1"], 3, runs=10, cores=16)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "0", "0", "1", "1", "1"]
    assert {slot.threads for slot in slots} == {2}
    slots = plan_slots(["cuda:0", "cuda:1"], None, runs=10, cores=4, visible="5, GPU-abc")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["5", "GPU-abc"]


@pytest.mark.parametrize(
    ("cores", "runs", "slots", "expected"),
    [
        (2, 5, None, (2, 1)),
        (8, 4, None, (4, 2)),
        (8, 1, None, (1, 8)),
        (2, 5, 1, (1, 2)),
        (1, 5, None, (1, 1)),
        (2, 5, 4, (4, 1)),
    ],
)
def test_a_cpu_is_shared_out_by_cores(cores: int, runs: int, slots: int | None, expected: tuple[int, int]) -> None:
    planned = plan_slots(["cpu"], slots, runs, cores)
    assert (len(planned), planned[0].threads) == expected
    assert all(slot.environment["OMP_NUM_THREADS"] == str(expected[1]) for slot in planned)
    assert all(slot.environment["CUDA_VISIBLE_DEVICES"] == "" for slot in planned)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (LaunchOptions("local", threads=2), "THREADS=2 does not go with EXECUTOR=local.*EXECUTOR=ray or slurm"),
        (LaunchOptions("ray", slots=2), "SLOTS=2 does not go with EXECUTOR=ray.*EXECUTOR=local"),
        (LaunchOptions("slurm", gpu_share=0.5), "GPU_SHARE=0.5 does not go with EXECUTOR=slurm"),
        (LaunchOptions("ray", partition="p"), "PARTITION=p does not go with EXECUTOR=ray.*EXECUTOR=slurm"),
        (LaunchOptions("local", dry_run=True), "DRY_RUN=True does not go with EXECUTOR=local"),
        (LaunchOptions("ray", "cuda:0"), "DEVICES='cuda:0' does not go with EXECUTOR=ray"),
        (LaunchOptions("slurm", "mps", dry_run=True), "DEVICES='mps' does not go with EXECUTOR=slurm"),
        (LaunchOptions("slurm", "cpu", gpus=2, dry_run=True), "GPUS=2 does not go with DEVICES=cpu"),
        (LaunchOptions("slurm", gpus=2, dry_run=True), "GPUS=2 NODES=1 does not go with runs that take one device"),
    ],
)
def test_what_does_not_go_together_is_refused(options: LaunchOptions, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        executor(options, tmp_path)
