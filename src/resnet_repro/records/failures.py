"""Runs that failed, as the console tells of them: each reason once, and whether it was the input's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnet_repro.records.layout import LOG

SAID = "resnet-repro: "  # before the sentence in a run's log that says why it failed
NAMED = 12  # runs that a line names
LAST_LINES = 80  # of a log, that the last attempt has written


def failure_lines(names: Sequence[str], folders: Sequence[Path], outcomes: Sequence[str]) -> list[str]:
    """A line for each reason with the runs that failed for it, then one with those that were not started for want of them."""
    failed: dict[str, list[tuple[str, Path]]] = {}
    blocked = []
    for name, folder, outcome in zip(names, folders, outcomes, strict=True):
        if outcome == "failed":
            failed.setdefault(failure_reason(folder), []).append((name, folder))
        elif outcome == "blocked":
            blocked.append(name)
    lines = []
    for reason, runs in failed.items():
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        lines.append(f"{_listed([name for name, _ in runs])} failed: {reason} (see {runs[0][1] / LOG}{more})")
    if len(blocked) == 1:
        lines.append(f"{blocked[0]} was not started: the run that it starts from has failed")
    elif blocked:
        lines.append(f"{_listed(blocked)} were not started: the runs that they start from have failed")
    return lines


def are_bad_input(folders: Sequence[Path]) -> bool:
    """Whether all of the failed runs in these folders ended on what the user can mend, as they say in their logs."""
    return bool(folders) and all(_said_itself(folder) for folder in folders)


def _said_itself(folder: Path) -> bool:
    try:
        lines = (folder / LOG).read_text(errors="replace").splitlines()
    except OSError:
        return False
    return f"{SAID}{failure_reason(folder)}" in lines


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def failure_reason(folder: Path) -> str:
    """What a failed run said of it, else the last line that it printed; torchrun's own lines come after either."""
    try:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    said = [line.removeprefix(SAID) for line in lines[-LAST_LINES:] if line.startswith(SAID)]
    reason = (said or lines or ["it printed nothing"])[-1]
    if "busy or unavailable" in reason:  # CUDA's words for a card in exclusive-process mode
        reason += " (the GPU takes one process at a time: take SLOTS=1, or have its compute mode set to DEFAULT)"
    return reason
