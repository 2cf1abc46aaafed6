"""A tiny degradation study for tests of clusters, and its results on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import cli_process

ARMS = ("plain-20", "plain-56", "resnet-20", "resnet-56")
FILES = ("weights.safetensors", "metrics.csv", "gradients.csv", "responses.csv")


def command(data: Path, folder: Path, *more: str) -> list[str]:
    return [
        "run", "degradation", "--dataset", "standin-tiny", "--iterations", "8", "--arms", ",".join(ARMS),
        "--data-dir", str(data), "--runs-dir", str(folder / "runs"), "--reports-dir", str(folder / "reports"),
        "--checkpoint-seconds", "0", *more,
    ]  # fmt: skip


def folder_of(folder: Path, arm: str) -> Path:
    return folder / "runs" / "degradation" / "8it-standin-tiny" / arm / "seed0"


def steps_of(folder: Path) -> int:
    try:
        return json.loads((folder / "progress.json").read_text()).get("step", 0)
    except (OSError, ValueError):
        return 0


def wait_until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


def study_by_this_machine(tiny_data: Path, folder: Path) -> Path:
    """Run the study in `folder` with the local executor, one thread per run."""
    process = cli_process(*command(tiny_data, folder, "--slots", "2"))
    assert process.returncode == 0, process.stderr
    return folder


def assert_same_bits(study: Path, reference: Path) -> None:
    for arm in ARMS:
        for name in FILES:
            file, expected = (folder_of(folder, arm) / name for folder in (study, reference))
            assert file.read_bytes() == expected.read_bytes(), f"{arm} {name}"
