"""Make variables and targets, and the commands that they run."""

from __future__ import annotations

import os
import re
import subprocess

from conftest import REPO, cli

from resnet_repro.design.registry import experiment_names


def make(*arguments: str) -> str:
    """The output of make, independent of a make that runs these tests."""
    inherited = ("MAKE", "MFLAGS", "DATA_MIRROR")  # make also reads its variables from the environment
    environment = {key: value for key, value in os.environ.items() if not key.startswith(inherited)}
    out = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return out.stdout


def test_every_flag_of_run_is_a_make_variable() -> None:
    flags = set(re.findall(r"^  --([a-z-]+)", cli("run", "--help").stdout, re.M)) - {"no-report"}
    variables = {flag.upper().replace("-", "_") for flag in flags}
    assert set(make("help").rpartition(":\n")[2].split()) == variables
    (line,) = make("-n", "degradation", *(f"{name}=1" for name in variables)).splitlines()[-1:]
    assert set(re.findall(r"--([a-z-]+)", line)) == flags


def test_make_variables_become_values_of_flags() -> None:
    line = make(
        "-n", "plain-vs-resnet", "PROFILE=paper", "SEEDS=0-2", "DATA_DIR=a b", "WANDB_MODE=", "GPUS=0", "DRY_RUN=1",
        "SBATCH=--mem=2G --qos=q", "SETUP=module load x",
    ).splitlines()[-1]  # fmt: skip
    assert line.partition(" run ")[2] == (
        "plain-vs-resnet --profile 'paper' --seeds '0-2' --data-dir 'a b' --gpus '0' --sbatch='--mem=2G --qos=q' "
        "--setup='module load x' --dry-run"
    )
    assert make("-n", "degradation", "DRY_RUN=0", "WANDB_MODE=").splitlines()[-1].endswith(" run degradation ")


def test_make_report_reference_reads_and_writes_reports_reference() -> None:
    line = make("-n", "report", "REFERENCE=1").splitlines()[-1]
    assert line.endswith("report --every-budget --runs-dir reports/reference --reports-dir reports/reference")


def test_make_status_passes_runs_dir() -> None:
    assert make("-n", "status", "RUNS_DIR=r").splitlines()[-1].endswith("resnet-repro status --runs-dir 'r'")


def test_make_help_lists_every_target_with_its_duration() -> None:
    text = make("help")
    (phony,) = re.findall(r"^\.PHONY: (.*\\\n.*)$", (REPO / "Makefile").read_text(), re.M)
    for target in (set(re.findall(r"[a-z-]+", phony)) - {"clean"}) | set(experiment_names()):
        assert re.search(rf"^  make {target} .*\(.*\)", text, re.M), target
