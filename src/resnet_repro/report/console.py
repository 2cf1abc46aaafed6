"""Console output of a report, as plain lines: verdicts and final errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resnet_repro.claims.history import since
from resnet_repro.claims.judge import Judgement
from resnet_repro.claims.results import Results
from resnet_repro.design.experiment import Column, Experiment
from resnet_repro.records.record import Record
from resnet_repro.report.tables import results_table
from resnet_repro.terminal import aligned

NO_RESULTS = Results({})
FINAL_ERRORS = (Column("train_error", "train %"), Column("test_error", "test %"))


def verdict_lines(judgements: Sequence[Judgement]) -> list[str]:
    """Return one line per claim: its name, its verdict with the reason or the grade, and its text."""
    return aligned([(j.claim.name, _verdict(j), j.claim.text) for j in judgements])


def claim_lines(experiment: Experiment) -> list[str]:
    """Return the experiment's claims with their comparisons, and when these were written down."""
    lines = [f"{experiment.name}: {experiment.title}"]
    for claim in experiment.claims:
        written = since(claim.name, claim.test)
        when = f", comparisons of {written:%Y-%m-%d %H:%M} UTC" if written else ""
        lines.append(f"  {claim.name}  {claim.text} ({claim.source}{when})")
        lines += [f"      {part.statement} {part.claimed}" for part in (test.judge(NO_RESULTS) for test in claim.test)]
    return lines


def _verdict(judgement: Judgement) -> str:
    basis = "; ".join(text for text in (judgement.reason, str(judgement.grade or "")) if text)
    return f"{judgement.verdict} ({basis})" if basis else judgement.verdict


def error_lines(experiment: Experiment, records: Sequence[Record]) -> list[str]:
    """Return the table of final errors of the scored arms without controls, mean ± standard deviation over seeds.

    Arms without errors in percent have the experiment's columns. Empty without scored arms, e.g. in an experiment that only
    counts.
    """
    for columns in (FINAL_ERRORS, experiment.columns):
        table = results_table(replace(experiment, columns=columns), records, published=False)
        if rows := [row for row in table["rows"] if any(cell != "–" for cell in row[1:-1])]:
            return aligned([table["header"], *rows], left=1)
    return []
