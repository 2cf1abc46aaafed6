"""Tables on the console: drawn in a terminal, aligned lines elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def show_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. Piped output has one line per row, with columns two blanks apart and nothing cut or wrapped."""
    if not console.is_terminal:
        for line in aligned([header, *rows]):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, highlight=False)
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False, highlight=False)


def aligned(rows: Sequence[Sequence[str]], left: int | None = None) -> list[str]:
    """The rows as lines, columns two blanks apart.

    left: number of columns that are aligned to the left, the others to the right. None: all.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    signs = ["<" if left is None or place < left else ">" for place in range(len(widths))]
    return [
        "  ".join(f"{cell:{sign}{width}}" for cell, sign, width in zip(row, signs, widths, strict=True)).rstrip()
        for row in rows
    ]


def amount(count: float) -> str:
    """Bytes for readers, with two digits or more, e.g. "7.1 MB" or "170 MB"."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.0f} {units[0]}" if count >= 99.5 or units[0] == "bytes" else f"{count:.2g} {units[0]}"


def duration(seconds: float) -> str:
    """A time for readers, with two digits or more, e.g. "40 s", "8.2 min", "35 h" or "12 days"."""
    units = [(1, "s"), (60, "min"), (3600, "h"), (86_400, "days")]
    unit, name = next((u for u, following in itertools.pairwise(units) if seconds < 1.5 * following[0]), units[-1])
    value = seconds / unit
    return f"{value:.1f} {name}" if value < 10 and unit > 1 else f"{value:.0f} {name}"


def span(low: str, high: str) -> str:
    """A range of two formatted amounts, e.g. "7.5 to 9.1 min"; one amount if both read the same."""
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number if unit == high.partition(' ')[2] else low} to {high}"
