"""Deletion of what no report and no further run needs. Implements `resnet-repro runs --prune`.

Records and tables of ended runs are never deleted, nor anything of a run that is active, waiting or silent.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.design.registry import PUBLISHED, load_experiment, registry
from resnet_repro.errors import UserError, os_reason
from resnet_repro.files import read_json
from resnet_repro.records.layout import CHECKPOINT, LOCK, RUN, UPLOAD_LOCK, WEIGHTS, source_folders
from resnet_repro.records.lock import hold, is_held
from resnet_repro.records.record import Record, find_any_record
from resnet_repro.records.resume import prepared_settings
from resnet_repro.records.reuse import continues, is_same_run
from resnet_repro.records.state import run_state
from resnet_repro.study.declared import is_declared
from resnet_repro.study.storage import experiments_in, items_text, size_of
from resnet_repro.surroundings import compiler_caches
from resnet_repro.terminal import amount
from resnet_repro.tracking.receipt import read_receipt

ACTIVE = ("running", "silent", "waiting")
QUIET_SECONDS = 3_600.0  # a compiler cache that has not changed for so long is not being filled


@dataclass(frozen=True)
class Item:
    """A file or folder that can be deleted."""

    path: Path
    reason: str
    size: int
    """Bytes."""
    run: Path | None = None
    """The folder of its run, which must not be active. None: it belongs to no run."""


@dataclass(frozen=True)
class _Run:
    """A run's folder."""

    folder: Path
    record: Record | None
    sources: Sequence[Path]
    """Folders of the runs that it starts from or searches among."""
    declared: bool
    """Whether an experiment declares its settings, as far as can be known."""
    active: bool


def prunable(names: Sequence[str], runs_dir: Path) -> tuple[list[Item], list[str]]:
    """What can be deleted below `runs_dir`, and lines on what was left alone and why.

    names: experiments to look at; empty: all, and what no experiment owns. Raises UserError for an unknown name.
    """
    for name in names:
        load_experiment(name)
    known, notes, runs = registry().files, [], []
    for root in (runs_dir / name for name in experiments_in(runs_dir)):
        if root.name not in known:
            notes.append(f"left alone: {root}, since no experiment of this name is known here")
            continue
        runs += [run for folder in sorted(root.glob("*/*/seed*")) if (run := _read(folder, notes)) is not None]
    needed = {source for run in runs for source in run.sources}
    chosen = [run for run in runs if not names or run.folder.parents[2].name in names]
    items = [item for run in chosen if not run.active for item in _items_of(run, runs, needed)]
    notes += _notes_on([run for run in chosen if run.active], "their processes are active or may be")
    kept = [run for run in chosen if run.record and (run.folder / CHECKPOINT).exists()]
    kept = [run for run in kept if not any(item.path == run.folder / CHECKPOINT for item in items)]
    notes += _notes_on([run for run in kept if not run.active], "a longer PREFIX continues from their checkpoints")
    if not names:
        items += _recordings(runs, runs_dir)
        items += _caches(any(run.active for run in runs))
    return items, notes


def _notes_on(runs: Sequence[_Run], reason: str) -> list[str]:
    if not runs:
        return []
    return [
        f"left alone: {', '.join(str(run.folder) for run in runs[:3])}{' ...' * (len(runs) > 3)} ({len(runs)}): {reason}"
    ]


def _read(folder: Path, notes: list[str]) -> _Run | None:
    """A run's folder; None for links, counted networks and folders that cannot be read, which are noted."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    try:
        record = find_any_record(folder)
        if record is not None and not isinstance(record, Record):
            return None
        settings = record.settings if record else prepared_settings(folder)
        experiment = load_experiment(folder.parents[2].name)
    except UserError as error:
        notes.append(f"left alone: {folder} ({error})")
        return None
    if settings is None:
        return None
    is_active = _is_active(folder)
    sources = source_folders(folder, settings)
    return _Run(folder, record, sources, is_declared(experiment, settings), is_active)


def _is_active(folder: Path) -> bool:
    """Whether a process trains or uploads the run, or may do so. A lock that cannot be read counts as held."""
    seed = folder.name.removeprefix("seed")
    state = run_state(folder, folder.parent.name, int(seed) if seed.isdecimal() else -1, time.time())
    locks = (folder / LOCK, folder / UPLOAD_LOCK)
    return state.state in ACTIVE or any(is_held(lock) is not False for lock in locks)


def _items_of(run: _Run, runs: Iterable[_Run], needed: set[Path]) -> list[Item]:
    """What can be deleted of a run that is not active."""
    folder = run.folder
    if run.record is None:
        if reason := _superseded(run, runs):
            return [] if folder in needed else [Item(folder, reason, size_of(folder), folder)]
        return _of_files(run, folder.glob(".*.part"), "unfinished file of an ended process")
    reason = "checkpoint of a finished run"
    if run.record.settings.prefix is not None and run.record.status == "finished" and run.declared:
        passed = any(other.record and continues(other.record, run.record) for other in runs)
        reason = "checkpoint of a prefix that a longer run has passed" if passed else ""
    items = _of_files(run, [folder / CHECKPOINT], reason) if reason else []
    if not run.declared and folder not in needed and not _is_published(run.record):
        items += _of_files(run, [folder / WEIGHTS], "weights of a run whose settings no experiment declares any more")
    return items + _of_files(run, folder.glob(".*.part"), "unfinished file of an ended process")


def _superseded(run: _Run, runs: Iterable[_Run]) -> str:
    """Why an unfinished run is of no use; empty if it can be resumed."""
    settings = prepared_settings(run.folder)
    if settings is None:
        return ""
    if not run.declared:
        return "interrupted run whose settings no experiment declares any more"
    if settings.arm.start or settings.arm.search:  # its result is not taken over from elsewhere, see `identical_run`
        return ""
    for other in runs:
        if other.record is not None and other.record.status == "finished" and is_same_run(other.record, settings):
            return f"interrupted attempt at a run that has finished in {other.folder}"
    return ""


def _of_files(run: _Run, paths: Iterable[Path], reason: str) -> list[Item]:
    return [Item(path, reason, size_of(path), run.folder) for path in sorted(paths) if path.is_file()]


def _is_published(record: Record) -> bool:
    """Whether a file of the folder of published weights names the run's weights."""
    if not PUBLISHED.is_dir() or record.weights_sha256 is None:
        return False
    texts = (path for path in PUBLISHED.rglob("*") if path.suffix in (".json", ".csv", ".md") and path.is_file())
    return any(record.weights_sha256[:16].encode() in path.read_bytes() for path in texts)


def _recordings(runs: Iterable[_Run], runs_dir: Path) -> list[Item]:
    """Local recordings of the W&B client of runs whose upload the server has confirmed."""
    items = []
    for run in runs:
        receipt = read_receipt(run.folder)
        if run.active or receipt is None or receipt.ending not in ("finished", "failed"):
            continue
        identity = (read_json(run.folder / RUN) or {}).get("id")
        if not identity or not receipt.id.startswith(identity):  # a receipt that was copied from another run
            continue
        for name in {receipt.id, identity}:
            for path in sorted((runs_dir / "wandb").glob(f"*run-*-{name}")):
                if path.is_dir() and not path.is_symlink():
                    items.append(Item(path, "W&B recording of an uploaded run", size_of(path), run.folder))
    return items


def _caches(is_training: bool) -> list[Item]:
    """Compiled kernels of this user on this machine, unless they may be in use."""
    if is_training:
        return []
    quiet = [path for path in compiler_caches() if time.time() - _last_change(path) > QUIET_SECONDS]
    return [Item(path, "compiled kernels, which are compiled again when needed", size_of(path)) for path in quiet]


def _last_change(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))


def item_lines(items: Sequence[Item], notes: Sequence[str], deletes: bool) -> list[str]:
    """The items with their sizes, the notes, and what to do next, as lines of text."""
    texts = [amount(item.size) for item in items]
    width = max(map(len, texts), default=0)
    lines = [f"{text:>{width}}  {item.path}  {item.reason}" for text, item in zip(texts, items, strict=True)]
    if not items:
        return [*notes, "nothing to delete"]
    total = items_text(len(items), sum(item.size for item in items))
    return [*lines, *notes] + ([] if deletes else [f"{total}: to delete them, make runs PRUNE=1 YES=1"])


def delete(items: Sequence[Item]) -> tuple[str, list[str]]:
    """Delete items whose run is still not active. Returns a line on what is gone, and lines on what could not be deleted."""
    gone, problems = [], []
    for item in items:
        try:
            gone += [item] if _delete(item) else []
        except OSError as error:
            problems.append(f"{item.path} cannot be deleted ({os_reason(error)}): check its permissions")
    busy = len(items) - len(gone) - len(problems)
    if busy:
        problems.append(f"{items_text(busy, 0).partition(',')[0]} left, since their runs have started meanwhile")
    return f"deleted {items_text(len(gone), sum(item.size for item in gone))}", problems


def _delete(item: Item) -> bool:
    """Delete an item while no process can start its run. Returns False if its run has become active. Raises OSError."""
    if item.run is None or not item.run.is_dir():
        _remove(item.path)
        return True
    if _is_active(item.run):
        return False
    with hold(item.run / LOCK) as is_free:
        if is_free:
            _remove(item.path)
        return is_free


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
