"""Error summary of failed runs for the console: one line per reason, and whether user input was the cause."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.parsing import listed
from resnet_repro.records.layout import LOG

SAID = "resnet-repro: "  # starts the log line in which a run states a user error
NO_SPACE = 74  # exit code of a run whose disk is full, in case its log cannot say so
LAST_LINES = 80  # at the end of the output of an attempt: those in which it tells its end
NEXT_ATTEMPT = "--- started again ---"  # line of a log between the outputs of two attempts


@dataclass(frozen=True)
class EndedRun:
    """A run of a study after the executor has returned."""

    name: str
    """Arm and seed, e.g. "plain-20 seed 0"."""
    folder: Path
    """The run's folder."""
    outcome: str
    """One of `launch.job.Outcome`."""
    lost: Sequence[str] = ()
    """What belongs at the end of the run's log, which could not be written."""

    @property
    def reason(self) -> str:
        """Why the run failed, in one line."""
        return self.lost[-1].removeprefix(SAID) if self.lost else failure_reason(self.folder)

    @property
    def is_bad_input(self) -> bool:
        """Whether a failed run states a user error as its reason."""
        lines = self.lost[-1:] or _log_lines(self.folder)
        return f"{SAID}{self.reason}" in lines


def no_space(place: Path | str) -> str:
    """The line of a command or a run that ends because the disk of a file or a folder is full."""
    return (
        f"{SAID}{place} cannot be written ({os.strerror(errno.ENOSPC)}): make room, and run the same command to resume"
    )


def is_no_space(error: BaseException | None) -> bool:
    """Whether an error, or one that it followed from, says that a disk or a quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def failure_lines(runs: Sequence[EndedRun]) -> list[str]:
    """One line per failure reason with its runs, then a line with the runs that were blocked by failed runs."""
    failed: dict[str, list[EndedRun]] = {}
    for run in runs:
        if run.outcome == "failed":
            failed.setdefault(run.reason, []).append(run)
    lines = []
    for reason, alike in failed.items():
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        lines.append(f"{listed([run.name for run in alike])} failed: {reason} (see {alike[0].folder / LOG}{more})")
    blocked = [run.name for run in runs if run.outcome == "blocked"]
    if len(blocked) == 1:
        lines.append(f"{blocked[0]} was not started: a run that it depends on failed")
    elif blocked:
        lines.append(f"{listed(blocked)} were not started: runs that they depend on failed")
    return lines


def are_bad_input(runs: Sequence[EndedRun]) -> bool:
    """Whether at least one run failed and all failed runs state a user error in their logs."""
    failed = [run for run in runs if run.outcome == "failed"]
    return bool(failed) and all(run.is_bad_input for run in failed)


def _log_lines(folder: Path) -> list[str]:
    """The lines of the last attempt in a run's log."""
    try:
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(f"\n{NEXT_ATTEMPT}\n")[2].strip().splitlines()


def failure_reason(folder: Path) -> str:
    """The user error in the log of a failed run, or else the log's last line.

    torchrun prints lines of its own after a user error, so the user error need not be the last line.
    """
    lines = _log_lines(folder)
    user_errors = [line.removeprefix(SAID) for line in lines[-LAST_LINES:] if line.startswith(SAID)]
    reason = (user_errors or lines or ["no output"])[-1]
    if "busy or unavailable" in reason:  # CUDA's message for a GPU in exclusive-process mode
        reason += " (the GPU allows one process at a time: use SLOTS=1, or set its compute mode to DEFAULT)"
    return reason
