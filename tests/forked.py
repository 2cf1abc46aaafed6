"""Runs in processes forked from a server that has already imported torch and Lightning, which takes 7 seconds.

A forked process behaves like `python -m resnet_repro.training.train_run`: it can be killed or asked to stop, and shares
no state with the process of the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

TRAIN_RUN = "resnet_repro.training.train_run"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([TRAIN_RUN])

WAIT_SECONDS = 240


def _main(folder: str, log: str, environment: Mapping[str, str], stdin: Connection) -> None:
    from resnet_repro.training import monitor, train_run

    monitor.PROGRESS_SECONDS = 0.0  # write progress after every step
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, file in enumerate((stdin.fileno(), out, out)):
        os.dup2(file, number)
    stdin.close()  # the duplicate on standard input remains open
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(train_run.main([folder]))


class Forked:
    """The part of subprocess.Popen that the tests and the launcher use."""

    def __init__(self, folder: Path | str, log: Path | str, environment: Mapping[str, str]) -> None:
        reader, self.stdin = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_main, args=(str(folder), str(log), dict(environment), reader))
        self._process.start()
        reader.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = WAIT_SECONDS) -> int:
        """Wait for the exit code. Raises subprocess.TimeoutExpired after `timeout` seconds.

        Without a limit, a run that waits for another process that is gone would block the tests for half an hour.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"run {self.pid}", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def popen(argv: Sequence[str], *, stdout, env: Mapping[str, str], **others: object) -> Forked | subprocess.Popen:
    """Replace subprocess.Popen in the launcher: fork runs, and start other commands as usual."""
    if list(argv[1:3]) != ["-m", TRAIN_RUN]:
        return subprocess.Popen(argv, stdout=stdout, env=env, **others)  # type: ignore[call-overload]
    (folder,) = argv[3:]
    return Forked(folder, stdout.name, env)
