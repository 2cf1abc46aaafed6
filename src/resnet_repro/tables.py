"""CSV tables that grow row by row and survive a kill of the process, and their packed form. Does not import torch.

A table `name.csv` may also lie there as `name.csv.gz`, packed by `pack`. Whoever reads a table asks for `name.csv`.
"""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from resnet_repro.errors import UserError, os_reason

# Columns of the tables of all runs. The others hold numbers with a fraction.
WORDS = ("name", "kind", "output_shape", "in_heads", "values")
WHOLE = ("iteration", "layer", "place", "filter", "channel", "y", "x", "pixels")
DIGITS = 6  # significant digits of norms and the like, which are sums in float32 and no more exact than this
METRIC_DIGITS = 9  # all that a float32 has
SPARSE = ("metrics.csv", "features.csv", "layers.csv", "speed.csv")  # tables whose numbers may be missing


class Table:
    """A CSV file that grows row by row and can be rewound to an earlier step.

    The first column is `iteration`. `append` returns when its rows are on the disk. Frequent rows are buffered in memory
    by `hold` until `write`. A caller must `write` before it takes a checkpoint, so that a kill loses no row that precedes
    the checkpoint.

    digits: significant digits to which numbers with a fraction are rounded. None: all that a number has.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], digits: int | None = None) -> None:
        self.path, self.columns, self.digits = path, ("iteration", *columns), digits
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
            writer.writerow([self._cell(row.get(column)) for column in self.columns])
        file.flush()
        if durable:
            os.fsync(file.fileno())

    def _cell(self, value: Any) -> Any:
        if self.digits is not None and isinstance(value, float):
            return float(f"{value:.{self.digits}g}")
        return "" if value is None else value


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
    """Time of the last change in ns, and size in bytes: a key for caches of what was read. None without the table."""
    for file in (path, packed(path)):
        try:
            state = file.stat()
        except OSError:
            continue
        return state.st_mtime_ns, state.st_size
    return None


def packed(path: Path) -> Path:
    """Where a table lies if it is packed."""
    return path.with_name(f"{path.name}.gz")


def pack(path: Path, target: Path) -> None:
    """Write a packed copy of a table. Raises OSError."""
    target.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


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
        text = _packed_text(packed(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a table ({error}): delete {path.parent} to train this run again") from error
    return text[: text.rfind("\n") + 1]


def _packed_text(path: Path) -> str:
    """The text of a packed table; empty if it does not exist. Raises UserError if it is damaged."""
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8")
    except FileNotFoundError:
        return ""
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a packed table ({error}): restore it, or delete {path.parent}") from error


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
