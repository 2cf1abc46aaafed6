"""Make variables become flags."""

from __future__ import annotations

import os
import re
import subprocess

from conftest import REPO


def make(*arguments: str) -> str:
    """What make prints, whether or not a make runs these tests."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    out = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return out.stdout


def test_make_variables_become_flags() -> None:
    line = make(
        "-n", "degradation", "PROFILE=paper", "SEEDS=0-2", "ITERATIONS=9", "ARMS=plain-20", "DATASET=cifar10",
        "DATA_DIR=d", "DATA_MIRROR=m", "RUNS_DIR=r", "REPORTS_DIR=p", "DEVICES=cpu", "SLOTS=2", "PRECISION=fp32",
        "CHECKPOINT_SECONDS=5", "WANDB_MODE=offline",
    ).splitlines()[-1]  # fmt: skip
    assert line.partition(" run ")[2] == (
        "degradation --profile 'paper' --iterations '9' --seeds '0-2' --arms 'plain-20' --dataset 'cifar10' "
        "--data-dir 'd' --data-mirror 'm' --runs-dir 'r' --reports-dir 'p' --devices 'cpu' --slots '2' "
        "--precision 'fp32' --checkpoint-seconds '5' --wandb-mode 'offline'"
    )


def test_make_variables_of_clusters_become_flags() -> None:
    line = make(
        "-n", "degradation", "EXECUTOR=slurm", "RETRIES=1", "THREADS=4", "GPUS=2", "NODES=3", "PARTITION=p", "ACCOUNT=a",
        "TIME=1:00", "SIGNAL_SECONDS=60", "SBATCH=--mem=2G --qos=q", "SETUP=module load x", "DRY_RUN=1", "DATA_MIRROR=",
        "WANDB_MODE=",
    ).splitlines()[-1]  # fmt: skip
    assert line.partition(" run ")[2] == (
        "degradation --executor 'slurm' --retries '1' --threads '4' --gpus '2' --nodes '3' --partition 'p' --account 'a' "
        "--time '1:00' --signal-seconds '60' --sbatch='--mem=2G --qos=q' --setup='module load x' --dry-run"
    )


def test_make_report_of_the_reference_reads_and_writes_its_folder() -> None:
    line = make("-n", "report", "REFERENCE=1").splitlines()[-1]
    assert line.endswith(
        "report --every-budget --claims-in README.md --runs-dir reports/reference --reports-dir reports/reference"
    )


def test_make_status_takes_a_folder_of_runs() -> None:
    assert make("-n", "status", "RUNS_DIR=r").splitlines()[-1].endswith("resnet-repro status --runs-dir 'r'")


def test_make_help_lists_every_target_with_its_time() -> None:
    text = make("help")
    targets = re.findall(r"^([a-z][a-z-]*):", (REPO / "Makefile").read_text(), re.M)
    assert {"degradation", "test", "report", "sync", "benchmark", "lint", "help"} <= set(targets)
    for target in targets:
        assert re.search(rf"make {target} .*\(.*\)|make clean", text), target
