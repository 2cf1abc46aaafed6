"""Runs that failed, as the console tells of them: each reason once, and whether it was the input's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.records.layout import LOG

SAID = "resnet-repro: "  # before the sentence in a run's log that says why it failed
NAMED = 12  # runs that a line names
LAST_LINES = 80  # of a log, that the last attempt has written


@dataclass(frozen=True)
class EndedRun:
    """A run of a study and how it ended, see `launch.job.Outcome`."""

    name: str
    folder: Path
    outcome: str


def failure_lines(runs: Sequence[EndedRun]) -> list[str]:
    """A line for each reason with the runs that failed for it, then one with those that were not started for want of them."""
    failed: dict[str, list[EndedRun]] = {}
    for run in runs:
        if run.outcome == "failed":
            failed.setdefault(failure_reason(run.folder), []).append(run)
    lines = []
    for reason, alike in failed.items():
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        lines.append(f"{_listed([run.name for run in alike])} failed: {reason} (see {alike[0].folder / LOG}{more})")
    blocked = [run.name for run in runs if run.outcome == "blocked"]
    if len(blocked) == 1:
        lines.append(f"{blocked[0]} was not started: the run that it starts from has failed")
    elif blocked:
        lines.append(f"{_listed(blocked)} were not started: the runs that they start from have failed")
    return lines


def are_bad_input(runs: Sequence[EndedRun]) -> bool:
    """Whether runs failed, all of them on what the user can mend, as they say in their logs."""
    failed = [run.folder for run in runs if run.outcome == "failed"]
    return bool(failed) and all(f"{SAID}{failure_reason(folder)}" in _log_lines(folder) for folder in failed)


def _log_lines(folder: Path) -> list[str]:
    try:
        return (folder / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def failure_reason(folder: Path) -> str:
    """What a failed run said of it, else the last line that it printed; torchrun's own lines come after either."""
    lines = _log_lines(folder)
    said = [line.removeprefix(SAID) for line in lines[-LAST_LINES:] if line.startswith(SAID)]
    reason = (said or lines or ["it printed nothing"])[-1]
    if "busy or unavailable" in reason:  # CUDA's words for a card in exclusive-process mode
        reason += " (the GPU takes one process at a time: take SLOTS=1, or have its compute mode set to DEFAULT)"
    return reason
