"""Files in the working directory do not replace modules of the processes that commands start, nor do Python's variables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_jobs import job

from resnet_repro.launch.local import run_pool
from resnet_repro.launch.slots import Slot
from resnet_repro.processes import child_environment
from resnet_repro.tracking import mirror

NAMES = ("random", "torch", "json", "wandb", "numpy", "pytorch_lightning", "queue")


@pytest.fixture
def full_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files named like modules, each of which ends the process that imports it."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__file__} was imported')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("python_path", [None, "{src}", "{src}:", ":{src}"])
def test_runs_import_no_module_of_the_working_directory(
    python_path: str | None, full_of_modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if python_path is not None:
        entries = os.environ.get("PYTHONPATH", "").strip(":") or "/nowhere"
        monkeypatch.setenv("PYTHONPATH", python_path.format(src=entries))
    script = "import json, pathlib, queue, random, sys; (pathlib.Path(sys.argv[1]) / 'done').touch()"
    one = job(full_of_modules / "run", script)
    assert run_pool([one], [Slot("cpu", "cpu", 1)], lambda: None) == ["done"], one.log.read_text()


def test_processes_of_a_process_import_none_either(full_of_modules: Path) -> None:
    inner = [sys.executable, "-m", "json.tool", "--help"]
    code = f"import subprocess, sys; sys.exit(subprocess.run({inner!r}, stdout=subprocess.DEVNULL).returncode)"
    assert subprocess.run([sys.executable, "-c", code], env=child_environment()).returncode == 0


def test_upload_process_imports_none(full_of_modules: Path) -> None:
    process = mirror.start_process(full_of_modules / "log", "offline", full_of_modules, 1.0)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    assert b"recording offline" in process.stdout.read()
    assert process.wait(300) == 0, (full_of_modules / "log" / mirror.LOG).read_text()


@pytest.mark.slow
def test_a_study_runs_beside_such_files(full_of_modules: Path, tiny_data: Path) -> None:
    script = Path(sys.executable).with_name("resnet-repro")
    if not script.exists():
        pytest.skip("the console script is not installed")
    done = subprocess.run(
        [script, "run", "degradation", "--dataset", "standin-tiny", "--iterations", "1", "--arms", "plain-20",
         "--data-dir", tiny_data, "--no-report"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout


def test_pythons_variables_neither_hold_nor_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PYTHONINSPECT, a process waits for input after its last line."""
    monkeypatch.setenv("PYTHONINSPECT", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    script = "import pathlib, sys, warnings; warnings.warn('old'); (pathlib.Path(sys.argv[1]) / 'done').touch()"
    one = job(tmp_path / "run", script)
    process = one.start(Slot("cpu", "cpu", 1))
    assert process.wait(30) == 0 and one.marker.exists(), one.log.read_text()
