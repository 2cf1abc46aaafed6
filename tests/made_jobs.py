"""Executors and jobs for tests that run small scripts instead of trainings."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from resnet_repro.launch import ExecutorSpec, Job, LaunchOptions, Load, executor_for


def executor(options: LaunchOptions, runs_dir: Path, spread: bool = False):
    return executor_for(ExecutorSpec(options, "fp32", runs_dir, "study-quick", spread))


THIRD_TIME = """
    import pathlib, sys
    folder = pathlib.Path(sys.argv[1])
    tries = folder / "tries"
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) < 3:
        sys.exit(5)
    (folder / "done").touch()
"""


def job(folder: Path, script: str, **fields: object) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    return Job(folder.name, argv, folder / "log.txt", folder / "done", **fields)  # type: ignore[arg-type]


SMALL_LOAD = Load(2e10, 9 * 2**28)  # resnet-56 at batch 128: 2.25 GiB


CPU = LaunchOptions("slurm", "cpu", threads=2, retries=1)
