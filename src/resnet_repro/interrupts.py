"""Ctrl-C in the command line: one line and an exit code from the first import to the last, never a traceback."""

import os
import signal
import sys

INTERRUPTED = 130
LINE = "interrupted: run the same command to resume"


def is_command_line() -> bool:
    """Whether this process is the command line of the project, not a program that imports the package."""
    return os.path.basename((sys.argv or [""])[0]) == "resnet-repro" or "resnet_repro.cli" in sys.orig_argv


def end_at_once() -> None:
    """Let SIGINT end the process at once: while modules are imported, and after the command has done its work.

    An exception would be a traceback there, or get lost. A process that was started with SIGINT ignored stays so.
    """
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end):
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Let SIGINT raise KeyboardInterrupt, so that the command can clean up."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: object) -> None:
    os.write(2, f"{LINE}\n".encode())
    os._exit(INTERRUPTED)
