"""Copies of records and their tables for the folder of reference results. Implements `resnet-repro keep`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.data.arrays import combined_digest
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.files import copy_file
from resnet_repro.parsing import plural
from resnet_repro.records.layout import RECORD
from resnet_repro.records.provenance import is_clean
from resnet_repro.records.record import AnyRecord, Record, collect, find_any_record, only_trained
from resnet_repro.study.declared import is_declared
from resnet_repro.tables import pack, packed
from resnet_repro.terminal import amount

PLAIN = "metrics.csv"  # the table that people open
LEFT_OUT = "speed.csv"  # tells about the machine; no figure and no claim reads it
SMALL = 1_024  # bytes: of a smaller table, packing saves too little to make it unreadable


@dataclass(frozen=True)
class Kept:
    """What became of a run."""

    folder: Path
    """The run's folder."""
    target: Path
    """Its folder among the reference results; the folder of them all, if its record cannot be read."""
    refused: str = ""
    """Why it was not copied; empty if it was, or if it is there already."""
    size: int = 0
    """Bytes copied. 0: it is there already, or was refused."""


def keep(folders: Sequence[Path], reference: Path) -> list[Kept]:
    """Copy the records and tables of all ended runs in or below `folders` to `reference`, long tables packed.

    A run is refused, with the reason, unless others can train it again: by its experiment as it is declared today, from
    clean commits, on the published data, in the precision of the other runs of its study. So is one whose result differs
    from the one that is kept. Raises UserError if a folder holds no ended runs, or if a file cannot be written.
    """
    return [_kept(folder, reference) for folder in [run for given in folders for run in _runs_in(given)]]


def _kept(folder: Path, reference: Path) -> Kept:
    try:
        record = find_any_record(folder)
        assert record is not None
        target = reference / record.experiment / record.budget / record.arm / f"seed{record.seed}"
        before = find_any_record(target)
        reason = _refused(record, before, reference)
    except UserError as error:
        return Kept(folder, reference, str(error))
    try:
        return Kept(folder, target, reason, 0 if reason or before else _copy(folder, target))
    except OSError as error:
        raise UserError(f"{target} cannot be written ({os_reason(error)}): check its permissions") from error


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: expected a run's folder or one above it")
    found = sorted(path.parent for path in folder.rglob(RECORD))
    if not found:
        raise UserError(f"{folder} holds no ended run: expected a run's folder or one above it")
    return found


def _refused(record: AnyRecord, before: AnyRecord | None, reference: Path) -> str:
    """Why a run cannot be a reference result; empty if it can, or is one."""
    if before is not None:
        same = _result(before) == _result(record)
        return "" if same else "another result of this run is kept: delete it first, to replace it"
    experiment = load_experiment(record.experiment)
    if not is_clean(record.commit):
        return f"commit {record.commit or 'unknown'}: expected a run from clean commits"
    if not isinstance(record, Record):
        is_known = any(network == record.network for network in experiment.networks)
        return "" if is_known else f"{record.experiment} declares no such network any more"
    if not is_declared(experiment, record.settings):
        return f"{record.experiment} declares other settings today"
    facts = CATALOGUE.get(record.dataset.name)
    if facts is None or record.dataset.standin or record.dataset.digest != combined_digest(facts.digests):
        return f"its data are not the published {record.dataset.name}"
    if record.settings.arm.precision is None:  # otherwise the arm has always the same
        kept = only_trained(collect(reference, record.experiment, record.budget))
        others = {other.precision for other in kept if other.settings.arm.precision is None}
        if others - {record.precision}:
            return f"precision {record.precision}: the other runs of its study have {', '.join(sorted(others))}"
    return ""


def _result(record: AnyRecord) -> tuple[object, ...]:
    """What two records of one result have in common."""
    final = (record.weights_sha256, record.final) if isinstance(record, Record) else ()
    return (record.diagnostics, *final)


def _copy(folder: Path, target: Path) -> int:
    """Copy a run's tables and, last and at once, its record. Returns the bytes written. Raises OSError."""
    target.mkdir(parents=True, exist_ok=True)
    for table in sorted(folder.glob("*.csv")):
        if table.name == LEFT_OUT:
            continue
        if table.name == PLAIN or table.stat().st_size <= SMALL:
            shutil.copyfile(table, target / table.name)
        else:
            pack(table, packed(target / table.name))
    copy_file(folder / RECORD, target / RECORD)
    return sum(file.stat().st_size for file in target.iterdir())


def kept_lines(kept: Iterable[Kept]) -> list[str]:
    """Console lines: each run that was copied or refused, and the totals."""
    kept = list(kept)
    copied = [run for run in kept if run.size]
    lines = [f"{run.target}, {amount(run.size)}" for run in copied]
    lines += [f"not kept: {run.folder} ({run.refused})" for run in kept if run.refused]
    there = sum(not run.size and not run.refused for run in kept)
    total = f"kept: {plural(len(copied), 'run')}, {amount(sum(run.size for run in copied))}"
    return [*lines, total + (f"; {plural(there, 'run')} kept before" if there else "")]
