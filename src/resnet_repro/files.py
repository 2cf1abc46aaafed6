"""Files that outlive a kill: JSON written in one piece, tables that grow row by row. No torch here."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from resnet_repro.errors import UserError


def write_json(path: Path, data: Mapping[str, Any], durable: bool = True) -> None:
    """Write in one piece or not at all: a reader, or a crash, never sees half a file. Raises OSError.

    Of processes that write the same file at once the last one's stays. durable: wait until it is on the disk; without,
    a crash of the machine may leave an empty file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Wait until a file's bytes are on the disk. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_json(path: Path) -> dict[str, Any] | None:
    """The content, None where there is no file. Raises UserError naming a file that is cut short or foreign."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete {path.parent} to train this run again") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no JSON object: delete {path.parent} to train this run again")
    return data


class Table:
    """A CSV file that grows row by row and can be taken back to an earlier step.

    The first column is `iteration`. Rows that are appended are on the disk when `append` returns; those that come often
    are held in memory until `write`, which whoever takes a checkpoint calls before it: a kill then loses no row that the
    checkpoint counts on.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, ("iteration", *columns)
        self._held: list[Mapping[str, Any]] = []
        self._is_durable = True

    def rewind(self, iteration: int) -> None:
        """Drop what was written after `iteration`, a line that a kill has cut short, and what is held."""
        self._held = []
        self._rewrite([row for row in read_rows(self.path) if int(row["iteration"]) <= iteration])

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put these rows in place of all, at once: a kill leaves the old ones or the new ones."""
        temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            with temporary.open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(self.columns)
                self._write(file, rows)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def complete(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Fill in values of the row at `iteration`, which must be the last one."""
        self.write()
        *before, row = read_rows(self.path)
        assert int(row["iteration"]) == iteration, f"{self.path.name} ends at {row['iteration']}, not at {iteration}"
        self._rewrite([*before, row | dict(values)])

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows; a missing value stays empty. Raises OSError."""
        self.hold(rows)
        self.write(durable=True)

    def hold(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows that `write` will bring to the file."""
        for row in rows:
            assert set(row) <= set(self.columns), f"{set(row) - set(self.columns)} are no columns of {self.path.name}"
            self._held.append(row)

    def write(self, durable: bool = False) -> None:
        """Bring the rows that are held to the file. Raises OSError.

        durable: wait until all of the file is on the disk; without, a kill of the process loses nothing, and a crash of
        the machine may.
        """
        if not self._held and (self._is_durable or not durable):
            return
        with self.path.open("a", newline="") as file:
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


def read_rows(path: Path) -> list[dict[str, str]]:
    """The whole lines of a table as written; an unfinished last line is left out. Empty where there is no file.

    Raises UserError for a file that is no text.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no table ({error}): delete {path.parent} to train this run again") from error
    return [row for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()) if None not in row.values()]


def series(rows: Iterable[Mapping[str, str]], column: str) -> tuple[list[int], list[float]]:
    """(iterations, values) of the rows that have a value in `column`."""
    pairs = [(int(row["iteration"]), float(row[column])) for row in rows if row.get(column)]
    return [p[0] for p in pairs], [p[1] for p in pairs]
