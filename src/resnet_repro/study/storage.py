"""Disk space of runs, by experiment and budget. Implements `resnet-repro runs`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from resnet_repro.errors import UserError, os_reason
from resnet_repro.parsing import plural
from resnet_repro.records.layout import RECORD
from resnet_repro.terminal import aligned, amount

HEADER = ("experiment", "budget", "runs", "finished", "size")


def storage_lines(names: Sequence[str], runs_dir: Path) -> list[str]:
    """The space that runs take, as lines of text: one for each experiment and budget, and for other folders.

    names: experiments to show; empty: all folders. Raises UserError for a name without a folder.
    """
    for name in names:
        if not (runs_dir / name).is_dir():
            raise UserError(
                f"{runs_dir} has no runs of {name!r}: expected one of {', '.join(experiments_in(runs_dir))}"
            )
    rows, total = [], 0
    for experiment in names or experiments_in(runs_dir):
        for budget in folders_in(runs_dir / experiment):
            folders = list(budget.glob("*/seed*"))
            size = size_of(budget)
            ended = sum((folder / RECORD).exists() for folder in folders)
            rows.append((experiment, budget.name, str(len(folders)), str(ended), amount(size)))
            total += size
    others = [] if names else [f for f in folders_in(runs_dir) if f.name not in experiments_in(runs_dir)]
    for folder in others:
        size = size_of(folder)
        rows.append((folder.name, "", "", "", amount(size)))
        total += size
    if not rows:
        return [f"{runs_dir} holds no runs"]
    rows.append(("all", "", "", "", amount(total)))
    return aligned([HEADER, *rows], left=2)


def experiments_in(runs_dir: Path) -> list[str]:
    """The names of the folders that hold runs."""
    return [folder.name for folder in folders_in(runs_dir) if any(folder.glob("*/*/seed*"))]


def folders_in(folder: Path) -> list[Path]:
    """The visible folders inside a folder, sorted by name. Raises UserError if it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({os_reason(error)}): check its permissions") from error


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files below a folder. Links count as themselves; vanished files as nothing."""
    if path.is_dir() and not path.is_symlink():
        return sum(map(_size, _files(path)))
    return _size(path)


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # a run has just replaced it
        return 0


def items_text(count: int, size: int) -> str:
    """Format a number of items and their size, e.g. "3 items, 7.2 MB"."""
    return f"{plural(count, 'item')}, {amount(size)}"
