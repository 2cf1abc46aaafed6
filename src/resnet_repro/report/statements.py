"""The page `statements.md`: every statement of the sources with the verdicts on the claims that test it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resnet_repro.claims.statements import Statement
from resnet_repro.report.markdown import table

PAGE = "statements.md"
ABOUT = (
    "The statements of the five notes and posts, in the order of their lines, with the claims that test them. The verdict of "
    "a claim is that of [summary.md](summary.md), at the longest budget that could decide it; the grade is what it is based "
    "on. A statement without a claim has the reason beside it."
)


def statements_page(statements: Sequence[Statement], claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the page as Markdown, with one table per source.

    claims: the summary's, each once, see `summary.summary_content`.
    """
    by_name = {claim["name"]: claim for claim in claims}
    tested = [statement for statement in statements if any(name in by_name for name in statement.claims)]
    decided = [
        statement for statement in tested if any(_is_decided(by_name[n]) for n in statement.claims if n in by_name)
    ]
    parts = [
        "# Every statement of the sources",
        ABOUT,
        f"{len(statements)} statements: {len(tested)} have a claim, and at least one claim is decided for {len(decided)}.",
    ]
    for source in dict.fromkeys(statement.source for statement in statements):
        rows = [
            [statement.line, statement.text, *_claim_cells(statement, by_name), statement.reason]
            for statement in statements
            if statement.source == source
        ]
        parts += [f"## {source}", table(["line", "statement", "claims", "verdict", "grade", "remark"], rows, "llllll")]
    return "\n\n".join(parts) + "\n"


def _is_decided(claim: Mapping[str, Any]) -> bool:
    return claim["verdict"] in ("supported", "contradicted")


def _claim_cells(statement: Statement, claims: Mapping[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    """Return the cells of the claims' names, verdicts and grades, one line per claim."""
    rows = [(name, claims[name]["verdict"], claims[name]["grade"]) for name in statement.claims if name in claims]
    names, verdicts, grades = zip(*rows, strict=True) if rows else ((), (), ())
    return "<br>".join(names), "<br>".join(verdicts), "<br>".join(grades)
