"""The lock of a file: one process holds it at a time, and the kernel takes it back however that process ends."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.5


@contextlib.contextmanager
def hold(path: Path, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Hold the lock of a file while the body runs; False where another process keeps it for so long. Raises OSError."""
    deadline = time.monotonic() + wait_seconds
    with path.open("w") as file:
        while not (is_held := _take(file, fcntl.LOCK_EX)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        yield is_held


def is_held(path: Path) -> bool | None:
    """Whether a process holds the lock; None where the file system does not tell.

    The lock asked for is a shared one, given back at once: two readers do not see each other, and a run that starts at
    that moment asks again.
    """
    try:
        with path.open("rb") as file:
            return not _take(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def _take(file: IO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
