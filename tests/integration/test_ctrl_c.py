"""Ctrl-C at any time, from the start of the process on: one line, exit code 130."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BEFORE_PYTHON = (-signal.SIGINT, "")  # the interpreter has not taken over the signal yet
IN_ONE_LINE = (130, "interrupted: run the same command to resume\n")


@pytest.mark.parametrize("delay", [0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0, 2.0])
def test_ctrl_c_while_the_command_starts_is_one_line(delay: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "resnet_repro.cli", "run", "degradation", "--dataset", "standin"],
        cwd=tmp_path,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) in (IN_ONE_LINE, BEFORE_PYTHON)


def test_a_program_that_imports_the_package_keeps_its_handler() -> None:
    code = "import signal, resnet_repro.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
