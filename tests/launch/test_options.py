"""Options of executors that contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_jobs import executor

from resnet_repro.errors import UserError
from resnet_repro.launch import LaunchOptions


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
