"""Files that survive a kill of the process: atomically written JSON, and CSV tables that grow row by row.

Does not import torch.
"""

from __future__ import annotations

import csv
import json
import math
import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

import msgspec

from resnet_repro.errors import UserError, os_reason

# Columns of the tables of all runs. The others hold numbers with a fraction.
WORDS = ("name", "kind", "output_shape", "in_heads", "values")
WHOLE = ("iteration", "layer", "place", "filter", "channel", "y", "x", "pixels")
SPARSE = ("metrics.csv", "features.csv", "layers.csv", "speed.csv")  # tables whose numbers may be missing


Typed = TypeVar("Typed")
_one_thread = threading.Lock()


def typed(data: object, kind: type[Typed]) -> Typed:
    """Decoded JSON as a value of a type. Raises msgspec.ValidationError, a ValueError.

    One thread at a time: msgspec 0.22 crashes the process if two threads use a type for the first time.
    """
    with _one_thread:
        return msgspec.convert(data, kind)


def write_json(path: Path, data: Mapping[str, Any], durable: bool = True) -> None:
    """Write a JSON file atomically: readers never see a partial file, not even after a crash. Raises OSError.

    If several processes write the same file at once, the last one wins.
    durable: wait until the bytes are on the disk. Otherwise a crash of the machine may leave an empty file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Wait until the bytes of a file are on the disk. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if the file does not exist. Raises UserError if it is unreadable or not an object.

    Numbers that are NaN or infinite, which `write_json` never writes, are damage.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({os_reason(error)}): check what it is, and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete {path.parent} to train this run again") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} is not a JSON object: delete {path.parent} to train this run again")
    return data


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} in place of a number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


class Table:
    """A CSV file that grows row by row and can be rewound to an earlier step.

    The first column is `iteration`. `append` returns when its rows are on the disk. Frequent rows are buffered in memory
    by `hold` until `write`. A caller must `write` before it takes a checkpoint, so that a kill loses no row that precedes
    the checkpoint.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, ("iteration", *columns)
        self._held: list[Mapping[str, Any]] = []
        self._is_durable = True

    def rewind(self, iteration: int) -> None:
        """Drop all rows after `iteration`, an incomplete last line, and all buffered rows."""
        self._held = []
        self._rewrite([row for row in read_rows(self.path) if int(row["iteration"]) <= iteration])

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the whole table atomically: after a kill it has either the old rows or the new ones."""
        temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(self.columns)
                self._write(file, rows)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def complete(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Fill in values of the last row, which must be the row of `iteration`."""
        self.write()
        *before, row = read_rows(self.path)
        assert int(row["iteration"]) == iteration, f"{self.path.name} ends at {row['iteration']}, not at {iteration}"
        self._rewrite([*before, row | dict(values)])

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows and wait until they are on the disk. A missing value stays empty. Raises OSError."""
        self.hold(rows)
        self.write(durable=True)

    def hold(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Buffer rows in memory until the next `write`."""
        for row in rows:
            assert set(row) <= set(self.columns), f"{self.path.name} has no columns {set(row) - set(self.columns)}"
            self._held.append(row)

    def write(self, durable: bool = False) -> None:
        """Write the buffered rows to the file. Raises OSError.

        durable: wait until the whole file is on the disk. Otherwise a crash of the machine may lose rows; a kill of the
        process loses none in either case.
        """
        if not self._held and (self._is_durable or not durable):
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            self._write(file, self._held, durable)
        self._held = []
        self._is_durable = durable

    def _write(self, file: TextIO, rows: Iterable[Mapping[str, Any]], durable: bool = True) -> None:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            writer.writerow(["" if row.get(column) is None else row[column] for column in self.columns])
        file.flush()
        if durable:
            os.fsync(file.fileno())


class _Row(dict[str, str]):
    """A row of a table. A column that the table lacks is damage of the file."""

    def __init__(self, path: Path, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, column: str) -> str:
        raise UserError(f"{self.path} has no column {column}: delete {self.path.parent} to train this run again")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the complete rows of a table as text; an incomplete last line is left out. Empty if the file does not exist.

    Raises UserError if the file is not text, or if a cell of a column of numbers is not a number.
    """
    header, rows = _split(path)
    complete = [_Row(path, dict(zip(header, row, strict=True))) for row in rows]
    kinds = {column: _kind_of(column, complete[0]) for column in (complete[0] if complete else ())}
    for row in complete:
        for column, kind in kinds.items():
            try:
                if kind and (row[column] or column in WHOLE or path.name not in SPARSE):
                    kind(row[column])
            except ValueError as error:
                raise UserError(
                    f"{path} has {row[column][:40]!r} in its column {column}: expected a number; delete {path.parent} to "
                    "train this run again"
                ) from error
    return list[dict[str, str]](complete)


def read_columns(path: Path, *columns: str) -> list[list[float]]:
    """Read columns of numbers, without empty cells, faster than `read_rows`. Empty if there are no rows.

    An incomplete last line is left out. Raises UserError if a column is missing or a cell is not a number.
    """
    header, cells = _cells(path)
    try:
        return [list(map(float, cells[header.index(column) :: len(header)])) for column in columns if cells]
    except ValueError as error:
        raise UserError(
            f"{path} is not a table of numbers ({error}): delete {path.parent} to train it again"
        ) from error


def read_cells(path: Path, *columns: str) -> list[list[str]]:
    """Read columns as text, faster than `read_rows`; those that the table lacks are empty. An incomplete last line is left
    out. Raises UserError if the file is not text.
    """
    header, cells = _cells(path)
    return [cells[header.index(column) :: len(header)] if column in header else [] for column in columns]


def read_curve(path: Path, column: str) -> tuple[list[int], list[float]]:
    """(iterations, values) of a column of a table; rows without a value are left out. Empty if the file does not exist.

    Raises UserError if the file cannot be read, lacks the column, or has something else than numbers there.
    """
    try:
        steps, values = read_cells(path, "iteration", column)
        if len(values) != len(steps):
            raise UserError(f"{path} has no column {column}: delete {path.parent} to train this run again")
        pairs = [(int(step), float(value)) for step, value in zip(steps, values, strict=True) if value]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({os_reason(error)}): check what it is, and its permissions") from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"{path} is not a table of numbers ({error}): delete {path.parent} to train it again"
        ) from error
    return [step for step, _ in pairs], [value for _, value in pairs]


def version_of(path: Path) -> tuple[int, int] | None:
    """Time of the last change in ns, and size in bytes: a key for caches of what was read. None without the file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def _cells(path: Path) -> tuple[list[str], list[str]]:
    """Header of a table, and the cells of its complete rows one after the other."""
    text = _text(path)
    first, _, body = text.partition("\n")
    lines = body.count("\n")
    cells = body.replace("\n", ",").split(",")[:-1]
    header = first.split(",")
    if '"' in text or len(cells) != lines * len(header):
        header, rows = _split(path)
        cells = [cell for row in rows for cell in row]
    return header, cells


def _text(path: Path) -> str:
    """The complete lines of a file; empty if it does not exist. Raises UserError if it is not text."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a table ({error}): delete {path.parent} to train this run again") from error
    return text[: text.rfind("\n") + 1]


def _split(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and complete rows of a table; empty if the file does not exist. Raises UserError if it is not text."""
    lines = csv.reader(_text(path).splitlines())
    header = next(lines, [])
    return header, [row for row in lines if len(row) == len(header)]


def _kind_of(column: str, row: Mapping[str, str]) -> type[int] | type[float] | None:
    """What the cells of a column are: whole numbers, numbers, or None for words. Layers have numbers or names."""
    if column in WORDS or (column == "layer" and "kind" in row):
        return None
    return int if column in WHOLE else float


def series(rows: Iterable[Mapping[str, str]], column: str) -> tuple[list[int], list[float]]:
    """Extract a column as (iterations, values); rows without a value are left out.

    Raises UserError if the file that `read_rows` has read lacks the column.
    """
    pairs = [(int(row["iteration"]), float(row[column])) for row in rows if row[column]]
    return [p[0] for p in pairs], [p[1] for p in pairs]
