"""The summary as Markdown: the page `summary.md`, and a table of claims for another page such as the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError

BEGIN, END = "<!-- claims: made by `make report`, do not edit -->", "<!-- claims: end -->"
UNSETTLED = ("undecided", "not run")


def summary_page(content: Mapping[str, Any]) -> str:
    """Return the text of `summary.md`: what was run at each budget, then the claims and verdicts of each budget."""
    ran = [
        [
            ", ".join(f"`{command}`" for command in section["ran"]["commands"]),
            section["steps"],
            *(section["ran"][key] for key in ("runs", "seeds", "data", "hardware", "minutes", "commit")),
        ]
        for section in content["experiments"]
        if section["ran"]
    ]
    header = ["command", "steps", "runs", "seeds an arm", "data, digest", "hardware", "run-minutes", "commit"]
    parts = [
        f"# {content['title']}",
        *content["banners"],
        ", ".join(f"{count['verdict']} {count['claims']}" for count in content["counts"]) + ".",
        "## What was run",
        table(header, ran, "llrrllrl"),
    ]
    for section in content["experiments"]:
        rows = [
            [
                claim["name"],
                claim["text"],
                claim["source"],
                claim["verdict"] + (f" ({claim['reason']})" if claim["reason"] else ""),
                claim["effect"],
                claim["interval"],
                claim["seeds"],
            ]
            for claim in section["claims"]
        ]
        header = ["claim", "what it says", "source", "verdict", "effect", "95 % interval", "seeds"]
        parts += [f"## {section['title']}", f"`{section['name']}`, {section['budget']}", table(header, rows, "llllrrr")]
    return "\n\n".join([*parts, "## How claims are judged", content["rule"]]) + "\n"


def claims_table(content: Mapping[str, Any]) -> str:
    """Return a table of the settled claims, each with the verdict that counts, and a line that names the others."""
    rows = [
        [
            claim["name"],
            claim["text"],
            claim["source"],
            f"**{claim['verdict']}**",
            claim["effect"],
            claim["interval"],
            claim["seeds"],
            f"`{claim['experiment']}`" + ("" if claim["seeds"] == "counted" else f" {claim['steps']}"),
        ]
        for claim in content["claims"]
        if claim["verdict"] not in UNSETTLED
    ]
    header = ["claim", "what it says", "source", "verdict", "effect", "95 % interval", "seeds", "experiment, steps"]
    parts = [table(header, rows, "llllrrrl")]
    if open_claims := [claim["name"] for claim in content["claims"] if claim["verdict"] in UNSETTLED]:
        parts.append(f"Undecided or not run, {len(open_claims)} of {len(content['claims'])}: {', '.join(open_claims)}.")
    return "\n\n".join(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Format a Markdown table. align: one letter per column, "l" or "r"."""
    rules = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (header, rules, *rows))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def put_claims_into(page: Path, content: Mapping[str, Any]) -> None:
    """Replace the text between the page's two markers by `claims_table`.

    Raises UserError if the page cannot be read or written, or lacks one of the markers.
    """
    try:
        text = page.read_text()
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise UserError(
                f"{page} has no place for the claims: put the lines {BEGIN} and {END} where they are to stand"
            )
        page.write_text(f"{before}{BEGIN}\n\n{claims_table(content)}\n\n{END}{after}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{page} cannot be read or written ({error}): name another page") from error
