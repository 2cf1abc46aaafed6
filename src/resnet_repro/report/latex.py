r"""The numbers of a report as LaTeX: a macro for each, and macros that hold its tables.

`\input{degradation}` in the preamble defines `\degradationPlainFiftySixTrainError` and the like, and tables such as
`\degradationResultsTable`, which are made of the same macros. The tables need the package booktabs. Numbers and their
rounding are those of the PDF: both are written from the same content.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_repro.claims.judge import Judgement
from resnet_repro.claims.wording import FACTORS, number_text
from resnet_repro.design.experiment import Experiment
from resnet_repro.report.content import COUNTED, bounds, grade_words
from resnet_repro.surroundings import printable

ARMS = {"images/s": "images per second", "s/step": "seconds per step", "seeds": "seed list"}
"""{heading of a column of the table of arms: the words that name its macros}."""
KEYS = ("arm", "net", "part", "seed", "lowest")
"""Headings of the columns that name the rows of a table."""
SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\ensuremath{<}", ">": r"\ensuremath{>}",
    "−": r"\ensuremath{-}", "±": r"\ensuremath{\pm}", "×": r"\ensuremath{\times}", "÷": r"\ensuremath{\div}",
    "≤": r"\ensuremath{\leq}", "≥": r"\ensuremath{\geq}", "≠": r"\ensuremath{\neq}", "→": r"\ensuremath{\rightarrow}",
    "·": r"\ensuremath{\cdot}", "Σ": r"\ensuremath{\Sigma}", "σ": r"\ensuremath{\sigma}", "γ": r"\ensuremath{\gamma}",
    "β": r"\ensuremath{\beta}", "ε": r"\ensuremath{\varepsilon}", "²": r"\ensuremath{^2}", "½": r"\ensuremath{\frac12}",
    "–": "--", "—": "---", "’": "'", "‘": "`", "“": "``", "”": "''", "§": r"\S{}", "†": r"\dag{}", "…": r"\ldots{}",
    "\u00a0": "~",
}  # fmt: skip
HEAD = r"""% Numbers and tables of {pdf}. Written by make report from the records; do not edit.
%     \usepackage{{booktabs}}
%     \input{{{stem}}}
% Then {example} is a number, and the tables are {tables}.
"""


class Macros:
    """Macros with a common beginning of their names, each name once."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.values: dict[str, str] = {}
        """{name without the backslash: value as LaTeX}, in the order of definition."""

    def add(self, parts: Sequence[str], value: str) -> str:
        """Define a macro for a text and return its call, e.g. "\\degradationPlainFiftySixTrainError{}".

        parts: what names it. A name that is taken gets the next free number, in words.
        """
        return self.add_latex(parts, escape(value))

    def add_latex(self, parts: Sequence[str], value: str) -> str:
        """Define a macro whose value is LaTeX already."""
        name = wanted = self.prefix + "".join(map(letters, parts))
        number = 2
        while name in self.values:
            name, number = f"{wanted}{letters(str(number))}", number + 1
        self.values[name] = value
        return f"\\{name}{{}}"


def latex(experiment: Experiment, content: Mapping[str, Any], judgements: Sequence[Judgement], stem: str) -> str:
    """Return the LaTeX source for a report. content: from `content.build_content`. stem: name of its files."""
    prefix = letters(stem) or "Report"
    macros = Macros(prefix[0].lower() + prefix[1:])
    metrics = {column.heading: column.metric for column in experiment.columns}
    tables: dict[str, str] = {}
    for title, group, names in (("Results", content["results"], metrics), ("Arms", content["ran"], ARMS)):
        for place, table in enumerate(group):
            parts = (title,) if not place else (title, str(place + 1))
            tables["".join(map(letters, parts))] = _table(macros, table, names)
    tables["Claims"] = _claims_table(macros, judgements)
    example = f"\\{next(iter(macros.values))}" if macros.values else "each macro below"
    calls = [macros.add_latex((name, "table"), source) for name, source in tables.items()]
    head = HEAD.format(
        pdf=f"{printable(stem)}.pdf",
        stem=printable(stem),
        example=example,
        tables=", ".join(call.removesuffix("{}") for call in calls),
    )
    return head + "".join(f"\\newcommand{{\\{k}}}{{{v}}}\n" for k, v in macros.values.items())


def _table(macros: Macros, table: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return a table of the report as a tabular, with a macro for each number.

    words: {heading: what names the column's macros}, for columns that are not named by their heading.
    """
    header = table["header"]
    keys = [place for place, heading in enumerate(header) if heading in KEYS] or [0]
    names = _column_names(header, words)
    rows = []
    for row in table["rows"]:
        row_name = [row[place] for place in keys]
        cells = [
            escape(cell) if place in keys else _cell(macros, [*row_name, name], cell)
            for place, (cell, name) in enumerate(zip(row, names, strict=True))
        ]
        rows.append(cells)
    return tabular([escape(heading) for heading in header], table["align"], rows)


def _column_names(header: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """Return what names the macros of each column. A column of published values is named after the one before it."""
    names: list[str] = []
    for heading in header:
        if heading == "published" and names:
            names.append(f"{names[-1]} published")
        else:
            names.append(words.get(heading, heading))
    return names


def _cell(macros: Macros, parts: Sequence[str], cell: str) -> str:
    """Return a cell with macros in place of its number, or of its mean and standard deviation."""
    if not re.search(r"\d", cell):
        return escape(cell)
    mean, _, spread = cell.partition(" ± ")
    call = macros.add(parts, mean)
    return call + (rf" \ensuremath{{\pm}} {macros.add([*parts, 'spread'], spread)}" if spread else "")


def _claims_table(macros: Macros, judgements: Sequence[Judgement]) -> str:
    """Return the table of claims, one row for each comparison, and define the macros of all its numbers and verdicts."""
    rows = []
    for judgement in judgements:
        claim, name = judgement.claim, ["claim", judgement.claim.name]
        verdict = macros.add([*name, "verdict"], judgement.verdict)
        grade = grade_words(judgement)
        first = [escape(claim.name), verdict, macros.add([*name, "grade"], grade) if grade else "--"]
        if judgement.p is not None:
            macros.add([*name, "p"], "< 0.0001" if judgement.p < 1e-4 else f"{judgement.p:.4f}")
        if not claim.exact:
            macros.add([*name, "seeds planned"], str(claim.seeds))
        for place, part in enumerate(judgement.parts, start=1):
            of_part = [*name, *(["part", str(place)] if len(judgement.parts) > 1 else [])]
            macros.add([*of_part, "threshold"], part.claimed)
            effect, interval, published = "no value", "--", "--"
            unit = FACTORS.get(part.unit, part.unit)
            if part.interval is not None:
                shown = macros.add(
                    [*of_part, "effect"], number_text(part.interval.estimate, part.unit, part.difference)
                )
                effect = f"{shown} {escape(unit)}".rstrip()
                if part.interval.low is not None and part.interval.high is not None:
                    low, high = bounds(part).split(" to ")
                    ends = macros.add([*of_part, "low"], low), macros.add([*of_part, "high"], high)
                    interval = " to ".join(ends)
            if part.published is not None:
                text = number_text(part.published, part.unit, part.difference)
                published = f"{macros.add([*of_part, 'published'], text)} {escape(unit)}".rstrip()
            seeds = COUNTED if part.exact else macros.add([*of_part, "seeds"], str(part.seeds))
            rows.append([*first, escape(part.statement), escape(part.claimed), effect, interval, published, seeds])
            first = ["", "", ""]
    header = ("claim", "verdict", "grade", "quantity", "claimed", "effect", "95 % interval", "published", "seeds")
    align = ["left"] * 5 + ["right"] * 4
    return tabular([escape(heading) for heading in header], align, rows)


def tabular(header: Sequence[str], align: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in the style of booktabs. header and rows: cells as LaTeX. align: "left" or "right" by column."""
    lines = [" & ".join(cells) + r" \\" for cells in rows]
    letters_of = "".join(side[0] for side in align)
    top = [rf"\begin{{tabular}}{{@{{}}{letters_of}@{{}}}}", r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
    return "%\n" + "\n".join([*top, *lines, r"\bottomrule", r"\end{tabular}"])


def escape(text: str) -> str:
    """Return a text as LaTeX. Letters beyond ASCII stay, as LaTeX reads UTF-8."""
    return "".join(ESCAPED.get(sign, sign) for sign in printable(text))


def letters(text: str) -> str:
    """Return a text as the letters of a macro's name: "plain-56" is "PlainFiftySix", "0.01" is "ZeroPointZeroOne".

    Each word begins with a capital. Other letters than those of English become English ones, or are left out.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Za-z]+|\d+|(?<=\d)\.(?=\d)|%", plain)
    return "".join(_capital(_spelled(word)) for word in words)


def _capital(word: str) -> str:
    return word[0].upper() + word[1:]


def _spelled(word: str) -> str:
    if not word.isdigit():
        return {".": "point", "%": "percent"}.get(word, word)
    if len(word) > 1 and word.startswith("0"):
        return "".join(_capital(SMALL[int(digit)]) for digit in word)
    return "".join(map(_capital, number_words(int(word))))


def number_words(number: int) -> list[str]:
    """Return a whole number in English words: 1202 is ["one", "thousand", "two", "hundred", "two"]."""
    if number < 20:
        return [SMALL[number]]
    if number < 100:
        tens, ones = divmod(number, 10)
        return [TENS[tens - 2], *([SMALL[ones]] if ones else [])]
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            count, rest = divmod(number, size)
            return [*number_words(count), name, *(number_words(rest) if rest else [])]
    raise AssertionError(number)
