"""Runs in processes of their own that are forked from one which has imported torch and Lightning already.

Importing them takes 7 seconds. The forked process does what `python -m resnet_repro.training.train_run` does, can be
killed and asked to stop like it, and shares nothing with the tests' process.
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

    monitor.PROGRESS_SECONDS = 0.0  # the tests see every step as it ends
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, file in enumerate((stdin.fileno(), out, out)):
        os.dup2(file, number)
    stdin.close()  # the copy on standard input is the one that counts
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(train_run.main([folder]))


class Forked:
    """The part of subprocess.Popen that the tests and the launcher use."""

    def __init__(self, folder: Path | str, log: Path | str, environment: Mapping[str, str]) -> None:
        theirs, self.stdin = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_main, args=(str(folder), str(log), dict(environment), theirs))
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = WAIT_SECONDS) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired: without limit, a run that waits for another one that is gone
        would keep the tests for half an hour.
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
    """subprocess.Popen as the launcher calls it: a run is forked, anything else is started as asked."""
    if list(argv[1:3]) != ["-m", TRAIN_RUN]:
        return subprocess.Popen(argv, stdout=stdout, env=env, **others)  # type: ignore[call-overload]
    (folder,) = argv[3:]
    return Forked(folder, stdout.name, env)
