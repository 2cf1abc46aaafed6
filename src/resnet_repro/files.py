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


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write in one piece or not at all: a reader, or a crash, never sees half a file. Raises OSError.

    Of processes that write the same file at once the last one's stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
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

    The first column is `iteration`. Each row is on disk when `append` returns: a kill cannot lose rows that a later
    checkpoint counts on.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, ("iteration", *columns)

    def rewind(self, iteration: int) -> None:
        """Drop what was written after `iteration`, and a line that a kill has cut short."""
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
        *before, row = read_rows(self.path)
        assert int(row["iteration"]) == iteration, f"{self.path.name} ends at {row['iteration']}, not at {iteration}"
        self._rewrite([*before, row | dict(values)])

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows; a missing value stays empty. Raises OSError."""
        with self.path.open("a", newline="") as file:
            self._write(file, rows)

    def _write(self, file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            assert set(row) <= set(self.columns), f"{set(row) - set(self.columns)} are no columns of {self.path.name}"
            writer.writerow(["" if row.get(column) is None else row[column] for column in self.columns])
        file.flush()
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
