"""Devices, slots and launch options: parsing, planning, incompatible options."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_jobs import executor

from resnet_repro.errors import UserError
from resnet_repro.launch import ExecutorSpec, LaunchOptions, executor_for
from resnet_repro.launch.options import slurm_seconds
from resnet_repro.launch.slots import parse_devices, plan_slots


@pytest.mark.parametrize(
    ("text", "best", "gpus", "devices"),
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
def test_device_names_are_parsed(text: str, best: str, gpus: int, devices: list[str]) -> None:
    assert parse_devices(text, best, gpus) == devices


@pytest.mark.parametrize(
    ("text", "gpus", "message"),
    [
        ("cuda", 0, "GPU.*DEVICES=cpu"),
        ("cuda:4", 4, "DEVICES 'cuda:4'.*GPU 4.*4 GPUs"),
        ("tpu", 4, "DEVICES 'tpu'"),
        ("", 4, "DEVICES ''"),
        ("mps", 0, "MPS.*DEVICES=cpu"),
        ("0", 0, "DEVICES '0'.*GPU 0.*0 GPUs"),
    ],
)
def test_missing_devices_are_rejected(text: str, gpus: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_devices(text, "cuda" if gpus else "cpu", gpus)


def test_each_slot_sees_only_its_gpu() -> None:
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
def test_cpu_slots_share_the_cores(cores: int, runs: int, slots: int | None, expected: tuple[int, int]) -> None:
    planned = plan_slots(["cpu"], slots, runs, cores)
    assert (len(planned), planned[0].threads) == expected
    assert all(slot.environment["OMP_NUM_THREADS"] == str(expected[1]) for slot in planned)
    assert all(slot.environment["CUDA_VISIBLE_DEVICES"] == "" for slot in planned)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LaunchOptions("local", threads=2), "THREADS=2 .*EXECUTOR=local.*EXECUTOR=ray or slurm"),
        (LaunchOptions("ray", slots=2), "SLOTS=2 .*EXECUTOR=ray.*EXECUTOR=local"),
        (LaunchOptions("slurm", gpu_share=0.5), "GPU_SHARE=0.5 .*EXECUTOR=slurm.*EXECUTOR=ray"),
        (LaunchOptions("ray", partition="p"), "PARTITION=p .*EXECUTOR=ray.*EXECUTOR=slurm"),
        (LaunchOptions("local", gpus=0), "GPUS=0 .*EXECUTOR=local.*EXECUTOR=slurm"),
        (LaunchOptions("ray", gpus=0), "GPUS=0 .*EXECUTOR=ray.*EXECUTOR=slurm"),
        (LaunchOptions("local", setup=""), "SETUP= .*EXECUTOR=local.*EXECUTOR=slurm"),
        (LaunchOptions("ray", "cuda:0"), "DEVICES='cuda:0' .*EXECUTOR=ray"),
        (LaunchOptions("slurm", "mps", dry_run=True), "DEVICES='mps' .*EXECUTOR=slurm"),
        (LaunchOptions("slurm", "cpu", gpus=2, dry_run=True), "GPUS=2 .*DEVICES=cpu"),
        (LaunchOptions("slurm", "cuda", gpus=0, dry_run=True), "GPUS=0 .*DEVICES=cuda"),
        (LaunchOptions("slurm", gpus=2, dry_run=True), "GPUS=2 .*one device"),
        (LaunchOptions("slurm", gpus=2, nodes=3, dry_run=True), "GPUS=2 NODES=3 .*one device"),
        (LaunchOptions("ray", "cpu", gpu_share=0.5), "GPU_SHARE=0.5 .*DEVICES=cuda"),
        (LaunchOptions("local", "tpu"), "DEVICES 'tpu'"),
        (LaunchOptions("ray", "tpu"), "DEVICES 'tpu'"),
        (LaunchOptions("slurm", "tpu", dry_run=True), "DEVICES 'tpu'"),
        (LaunchOptions("slurm", time="tomorrow", dry_run=True), "TIME 'tomorrow': .*4:00:00"),
        (LaunchOptions("slurm", time="2", dry_run=True), "TIME=2 .*120 seconds"),
        (LaunchOptions("slurm", time="1:00:00", signal_seconds=3600, dry_run=True), "TIME=1:00:00 .*3600 seconds"),
        (LaunchOptions("slurm", partition="gpu\nrm -rf x", dry_run=True), "PARTITION 'gpu"),
        (LaunchOptions("slurm", account="", dry_run=True), "ACCOUNT ''"),
        (LaunchOptions("slurm", sbatch="--mem=2G\nx", dry_run=True), "SBATCH '--mem=2G"),
    ],
)
def test_incompatible_executor_options_are_rejected(options: LaunchOptions, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        executor(options, tmp_path)


@pytest.mark.parametrize("name", ["local", "ray", "slurm"])
@pytest.mark.parametrize("precision", ["fp8", "fp16", "", "BF16"])
def test_every_executor_rejects_an_unknown_precision(name: str, precision: str, tmp_path: Path) -> None:
    spec = ExecutorSpec(LaunchOptions(name, dry_run=name == "slurm"), precision, tmp_path, "study-quick")
    with pytest.raises(UserError, match=f"precision {precision!r}: expected one of auto, bf16, fp32"):
        executor_for(spec)


def test_slots_do_not_apply_to_slurm_runs_on_several_gpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"SLOTS=2 .*several GPUs or nodes"):
        executor(LaunchOptions("slurm", slots=2, gpus=4, dry_run=True), tmp_path, spread=True)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("30", 1800), ("30:15", 1815), ("4:00:00", 14_400), ("2-0", 172_800), ("1-2:30", 95_400), ("1-2:30:05", 95_405),
        ("UNLIMITED", 0), ("0", 0), ("", None), ("4h", None), ("1:2:3:4", None), ("-5", None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_time_limits_are_read_as_sbatch_does(time: str, seconds: int | None) -> None:
    assert slurm_seconds(time) == seconds
