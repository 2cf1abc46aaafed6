"""Ctrl-C at any time after the first line of the package: one line, exit code 130."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# As `python -m resnet_repro.cli`, with a line once the package has begun to load.
START = """
import sys
sys.orig_argv.append("resnet_repro.cli")
import resnet_repro
print("begun", flush=True)
from resnet_repro.cli import main
sys.exit(main(["run", "degradation", "--dataset", "standin"]))
"""


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 4.0])
def test_ctrl_c_while_the_command_starts_is_one_line(delay: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert (process.returncode, stderr) == (130, "interrupted: run the same command to resume\n")


def test_a_program_that_imports_the_package_keeps_its_handler() -> None:
    code = "import signal, resnet_repro.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
