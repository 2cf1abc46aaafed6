"""What a report comes to on the console, as plain lines: verdicts, final errors, the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resnet_repro.claims.judge import Judgement
from resnet_repro.design.experiment import Column, Experiment
from resnet_repro.records.record import Record
from resnet_repro.report.tables import results_table

FINAL_ERRORS = (Column("train_error", "train %"), Column("test_error", "test %"))


def verdict_lines(judgements: Sequence[Judgement]) -> list[str]:
    """A line for each claim: its name, its verdict with the reason, its words."""
    rows = [(j.claim.name, f"{j.verdict} ({j.reason})" if j.reason else j.verdict, j.claim.text) for j in judgements]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [f"{name:<{widths[0]}}  {verdict:<{widths[1]}}  {text}" for name, verdict, text in rows]


def error_lines(experiment: Experiment, records: Sequence[Record]) -> list[str]:
    """The table of final errors, mean ± standard deviation over seeds, of the arms that were scored and are no controls;
    nothing where there are none, as in an experiment that counts."""
    table = results_table(replace(experiment, columns=FINAL_ERRORS), records, published=False)
    rows = [row for row in table["rows"] if any(cell != "–" for cell in row[1:-1])]
    return aligned([table["header"], *rows]) if rows else []


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:>{width}}" if place else f"{cell:<{width}}" for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
