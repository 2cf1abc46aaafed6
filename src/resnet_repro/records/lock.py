"""File locks. One process holds a lock at a time; the kernel releases it when that process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from resnet_repro.errors import UserError, os_reason

POLL_SECONDS = 0.5


@contextlib.contextmanager
def hold(path: Path, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Hold the lock of a file while the body runs.

    Yields False if another process still holds the lock after `wait_seconds`. Raises UserError on a file system without
    locks, and OSError.
    """
    deadline = time.monotonic() + wait_seconds
    with path.open("w", encoding="utf-8") as file:
        try:
            while not (is_held := _take(file, fcntl.LOCK_EX)) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise UserError(
                    f"{path.parent} lies on a file system without file locks ({os_reason(error)}): mount it with "
                    "flock, or use another folder for runs and data"
                ) from error
            raise
        yield is_held


def is_held(path: Path) -> bool | None:
    """Whether a process holds the lock; None if it cannot be read, e.g. on a file system without locks.


    The check takes a shared lock and releases it at once, so concurrent readers do not see each other. A run that
    starts at that moment tries again.
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
