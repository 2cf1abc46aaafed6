"""CSV files of runs and claims, beside the reports: of each report, and of all reports together."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_repro.claims.judge import Judgement
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.records.record import AnyRecord, only_trained
from resnet_repro.report.rows import CLAIMS, RUNS, claim_row, run_rows
from resnet_repro.report.summary import counting, weight
from resnet_repro.report.verdicts import judged

RUNS_FILE, CLAIMS_FILE = "runs.csv", "claims.csv"


@dataclass(frozen=True)
class Tables:
    """The rows of an experiment at one budget."""

    experiment: str
    own_data: bool
    """Whether the runs are on the experiment's own data set."""
    runs: Sequence[Mapping[str, Any]]
    claims: Sequence[Mapping[str, Any]]
    weights: Sequence[int]
    """For each claim: the precedence of its verdict among budgets, see `summary.weight`."""


def tables_of(
    experiment: Experiment, budget: str | None, records: Sequence[AnyRecord], judgements: Sequence[Judgement]
) -> Tables:
    """Return the rows of an experiment. budget: None without runs."""
    return Tables(
        experiment.name,
        budget is None or Budget.parse(budget).dataset is None,
        run_rows(only_trained(records)),
        [claim_row(judgement, experiment.name, budget) for judgement in judgements],
        [weight(judgement) for judgement in judgements],
    )


def without_runs(experiment: Experiment) -> Tables:
    """Return the rows of an experiment without runs: its claims, not tested."""
    return tables_of(experiment, None, [], judged(experiment, []))


def claims_once(of_budgets: Iterable[Tables]) -> list[Mapping[str, Any]]:
    """Return one row for each claim, that of the budget whose verdict counts, as in the summary.

    of_budgets: those of an experiment together, with the budgets on its own data first, then the longest first.
    """
    sections = [
        {
            "name": tables.experiment,
            "own_data": tables.own_data,
            "steps": "",
            "claims": [
                {"name": row["claim"], "weight": precedence, "row": row}
                for row, precedence in zip(tables.claims, tables.weights, strict=True)
            ],
        }
        for tables in of_budgets
    ]
    return [claim["row"] for claim in counting(sections)]


def write_tables(tables: Tables, stem: Path) -> None:
    """Write `<stem>-runs.csv`, unless nothing was trained, and `<stem>-claims.csv`. Raises OSError."""
    if tables.runs:
        write_rows(stem.with_name(f"{stem.name}-{RUNS_FILE}"), tables.runs, RUNS)
    write_rows(stem.with_name(f"{stem.name}-{CLAIMS_FILE}"), tables.claims, CLAIMS)


def write_all(of_budgets: Sequence[Tables], reports_dir: Path) -> list[str]:
    """Write runs.csv with the runs of all reports, and claims.csv with each claim once; return lines for the console.

    Raises UserError if the folder cannot be written.
    """
    try:
        write_rows(reports_dir / RUNS_FILE, [row for tables in of_budgets for row in tables.runs], RUNS)
        write_rows(reports_dir / CLAIMS_FILE, claims_once(of_budgets), CLAIMS)
    except OSError as error:
        raise UserError(
            f"REPORTS_DIR={reports_dir} cannot be written ({os_reason(error)}): use another folder"
        ) from error
    return [f"tables: {reports_dir / RUNS_FILE}, {reports_dir / CLAIMS_FILE}"]


def columns_of(rows: Sequence[Mapping[str, Any]], known: Iterable[str]) -> list[str]:
    """Return the columns of a table: the known ones, then the others of all rows in alphabetical order."""
    first = list(known)
    return first + sorted({name for row in rows for name in row} - set(first))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], known: Iterable[str]) -> None:
    """Write rows as CSV: empty cells for None, true and false, numbers with all their digits. Raises OSError."""
    columns = columns_of(rows, known)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value
