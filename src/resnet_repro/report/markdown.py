"""The summary as a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from resnet_repro.claims.grade import KINDS

DECIDED, SEEN, UNSETTLED = ("supported", "contradicted"), ("seen once", "not seen"), ("inconclusive", "not tested")
SETTLED_NOTE = (
    "Each claim appears once, with its verdict at the longest budget that could decide it. If a claim has several "
    "comparisons, the table shows the least certain one. Losses are in nats. †: the comparisons were written or changed "
    "after the first runs began."
)


# {key of the facts of the runs: heading}
FACTS = {
    "runs": "runs", "seeds": "seeds per arm", "data": "data, digest", "hardware": "hardware", "minutes": "run-minutes",
    "operations": "operations", "energy": "energy", "commit": "commit",
}  # fmt: skip
EVIDENCE = ("quantity", "claimed", "effect", "interval", "published", "seeds")
EVIDENCE_HEADER = ("quantity", "claimed", "effect", "95 % interval", "published effect", "seeds")


def summary_page(content: Mapping[str, Any]) -> str:
    """The page `summary.md`: the settled claims, what was run at each budget, and the verdicts at each budget."""
    ran = [
        [
            ", ".join(f"`{command}`" for command in section["ran"]["commands"]),
            section["steps"],
            *(escaped(section["ran"][key]) for key in FACTS),
        ]
        for section in content["experiments"]
        if section["ran"]
    ]
    header = ["command", "steps", *FACTS.values()]
    parts = [
        f"# {content['title']}",
        *content["banners"],
        counts_table(content),
        "## Settled claims",
        SETTLED_NOTE,
        settled_claims(content),
        *seen_once(content),
        "## What was run",
        table(header, ran, "llrrllrlll"),
        *([content["costs"]] if content["costs"] else []),
    ]
    for section in content["experiments"]:
        rows = [
            [
                claim["name"],
                claim["text"],
                claim["source"],
                claim["verdict"] + (f" ({claim['reason']})" if claim["reason"] else ""),
                claim["grade"],
                *(claim[key] for key in EVIDENCE),
            ]
            for claim in section["claims"]
        ]
        header = ["claim", "statement", "source", "verdict", "grade", *EVIDENCE_HEADER]
        parts += [
            f"## {section['title']}",
            f"`{section['name']}`, {escaped(section['budget'])}",
            table(header, rows, "llllllrrrrr"),
        ]
    return "\n\n".join([*parts, "## How claims are judged", content["rule"]]) + "\n"


def counts_table(content: Mapping[str, Any]) -> str:
    """Table of the numbers of claims by verdict, each broken down by grade."""
    header = ["verdict", "claims", *KINDS, "of them own claims", "of them reproduced"]
    keys = ("verdict", "claims", *KINDS, "own", "reproduced")
    return table(header, [[count[key] for key in keys] for count in content["counts"]], "l" + "r" * (len(keys) - 1))


def settled_claims(content: Mapping[str, Any]) -> str:
    """Table of all claims that are decided, each once; below it the names of the claims that runs leave open."""
    parts = [_claims_with(content, DECIDED)]
    if open_claims := [claim["name"] for claim in content["claims"] if claim["verdict"] in UNSETTLED]:
        parts.append(
            f"Inconclusive or not tested, {len(open_claims)} of {len(content['claims'])}: {', '.join(open_claims)}."
        )
    return "\n\n".join(parts)


def seen_once(content: Mapping[str, Any]) -> list[str]:
    """Heading and table of the claims that have one seed only, which decides nothing; empty without such claims."""
    if not any(claim["verdict"] in SEEN for claim in content["claims"]):
        return []
    return [
        "## Seen in one seed",
        "One seed shows these claims, or does not. It decides none.",
        _claims_with(content, SEEN),
    ]


def _claims_with(content: Mapping[str, Any], verdicts: Collection[str]) -> str:
    rows = [
        [
            claim["name"],
            claim["text"],
            claim["source"],
            f"**{claim['verdict']}**",
            claim["grade"],
            *(claim[key] for key in EVIDENCE),
            f"`{claim['experiment']}`" + ("" if claim["seeds"] == "counted" else f" {claim['steps']}"),
        ]
        for claim in content["claims"]
        if claim["verdict"] in verdicts
    ]
    header = ["claim", "statement", "source", "verdict", "grade", *EVIDENCE_HEADER, "experiment, steps"]
    return table(header, rows, "llllllrrrrrl")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Format a Markdown table. align: one letter per column, "l" or "r"."""
    rules = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (header, rules, *rows))


def escaped(text: str) -> str:
    """Escape the signs of Markdown in text of the user, such as the name of a data set. `table` escapes the bar."""
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
