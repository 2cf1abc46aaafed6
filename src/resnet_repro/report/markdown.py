"""The summary as a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

UNSETTLED = ("undecided", "not run")
SETTLED_NOTE = (
    "Each claim appears once, with its verdict at the longest budget that could decide it. If a claim has several "
    "comparisons, the table shows the weakest one. Effects in decades (×10) or doublings (×2) are logarithmic; losses "
    "are in nats."
)


def summary_page(content: Mapping[str, Any]) -> str:
    """The page `summary.md`: the settled claims, what was run at each budget, and the verdicts at each budget."""
    ran = [
        [
            ", ".join(f"`{command}`" for command in section["ran"]["commands"]),
            section["steps"],
            *(_escaped(section["ran"][key]) for key in ("runs", "seeds", "data", "hardware", "minutes", "commit")),
        ]
        for section in content["experiments"]
        if section["ran"]
    ]
    header = ["command", "steps", "runs", "seeds per arm", "data, digest", "hardware", "run-minutes", "commit"]
    parts = [
        f"# {content['title']}",
        *content["banners"],
        ", ".join(f"{count['verdict']} {count['claims']}" for count in content["counts"]) + ".",
        "## Settled claims",
        SETTLED_NOTE,
        settled_claims(content),
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
        header = ["claim", "statement", "source", "verdict", "effect", "95 % interval", "seeds"]
        parts += [
            f"## {section['title']}",
            f"`{section['name']}`, {_escaped(section['budget'])}",
            table(header, rows, "llllrrr"),
        ]
    return "\n\n".join([*parts, "## How claims are judged", content["rule"]]) + "\n"


def settled_claims(content: Mapping[str, Any]) -> str:
    """Table of all claims with a verdict, each once; below it the names of the other claims."""
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
    header = ["claim", "statement", "source", "verdict", "effect", "95 % interval", "seeds", "experiment, steps"]
    parts = [table(header, rows, "llllrrrl")]
    if open_claims := [claim["name"] for claim in content["claims"] if claim["verdict"] in UNSETTLED]:
        parts.append(f"Undecided or not run, {len(open_claims)} of {len(content['claims'])}: {', '.join(open_claims)}.")
    return "\n\n".join(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Format a Markdown table. align: one letter per column, "l" or "r"."""
    rules = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (header, rules, *rows))


def _escaped(text: str) -> str:
    """Escape the signs of Markdown in text of the user, such as the name of a data set. `table` escapes the bar."""
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
