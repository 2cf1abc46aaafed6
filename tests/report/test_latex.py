"""LaTeX of a report: names of macros, escaping, and the same numbers as the PDF."""

from __future__ import annotations

import re

import pytest
from conftest import REPO
from reference import REFERENCE

from resnet_repro.claims.judge import Judgement
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.records.record import collect
from resnet_repro.report.content import build_content
from resnet_repro.report.latex import ESCAPED, Macros, escape, latex, letters
from resnet_repro.report.verdicts import judged

# With spreads and published values; a search; tables of parameters; counted networks alone; shares of seeds.
STUDIES = {
    "degradation": "8000it",
    "normalization": "quick",
    "transfer": "quick-32px",
    "complexity": "quick",
    "mnist": "paper",
}
MACRO = re.compile(r"\\newcommand\{\\([^}]*)\}\{(.*)\}")


@pytest.fixture(scope="module", params=STUDIES, ids=str)
def written(request: pytest.FixtureRequest) -> tuple[dict, list[Judgement], str]:
    """The content of a reference report, its verdicts, and its LaTeX."""
    experiment, budget = load_experiment(request.param), STUDIES[request.param]
    records = collect(REFERENCE, experiment.name, budget)
    judgements = judged(experiment, records)
    content = build_content(experiment, budget, records, judgements, {}, [])
    return content, judgements, latex(experiment, content, judgements, experiment.name)


def macros_of(source: str) -> list[tuple[str, str]]:
    """(name, value) of the macros of single values."""
    return [found.groups() for line in source.splitlines() if (found := MACRO.fullmatch(line))]  # type: ignore[misc]


def table_of(source: str, name: str) -> list[list[str]]:
    """The rows of a table with all macros expanded and all signs as in the PDF."""
    values = dict(macros_of(source))
    body = (
        source.partition(f"\\newcommand{{\\{name}}}{{%\n")[2].partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    )
    expanded = re.sub(r"\\([A-Za-z]+)\{\}", lambda call: values.get(call[1], call[0]), body)
    return [[plain(cell) for cell in row.removesuffix(r" \\").split(" & ")] for row in expanded.splitlines()]


def plain(text: str) -> str:
    """The text of a cell as the PDF has it."""
    for sign, code in ESCAPED.items():
        if sign != "\\":
            text = text.replace(code, sign)
    return text.strip()


def test_results_are_those_of_the_pdf(written: tuple[dict, list[Judgement], str]) -> None:
    content, _, source = written
    (prefix,) = re.findall(r"\\newcommand\{\\([a-z]+)ResultsTable\}", source)
    for title, tables in (("Results", content["results"]), ("Arms", content["ran"])):
        for place, table in enumerate(tables):
            name = f"{prefix}{title}{['', 'Two', 'Three'][place]}Table"
            assert table_of(source, name) == [[cell.strip() for cell in row] for row in table["rows"]], name


def test_claims_are_those_of_the_pdf(written: tuple[dict, list[Judgement], str]) -> None:
    content, _, source = written
    (name,) = set(re.findall(r"\\newcommand\{\\([a-z]+ClaimsTable)\}", source))
    rows = table_of(source, name)
    parts = [(claim, part, not index) for claim in content["claims"] for index, part in enumerate(claim["parts"])]
    assert len(rows) == len(parts)
    for row, (claim, part, is_first) in zip(rows, parts, strict=True):
        shown = [claim["name"], claim["verdict"]] if is_first else ["", ""]
        assert row[:2] == shown
        assert row[3:] == [
            part["statement"], part["claimed"], part["effect"], part["interval"], part["published"],
            part["seeds"].removesuffix(", paired"),
        ]  # fmt: skip


def test_source_is_well_formed(written: tuple[dict, list[Judgement], str]) -> None:
    _, _, source = written
    names = re.findall(r"^\\newcommand\{\\(.*?)\}\{", source, re.M)
    assert len(names) == len(set(names)) > 30
    assert all(re.fullmatch("[A-Za-z]+", name) for name in names)
    code = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
    unescaped = re.sub(r"\\[{}]", "", code)
    depth = 0
    for sign in unescaped:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert source.isascii(), {sign for sign in source if not sign.isascii()}
    assert not re.search(r"(?<!\\)[$#_^]", code)
    assert set(re.findall(r"\\([A-Za-z]+)\{\}", code)) <= set(names) | {"S", "dag", "ldots", "textbackslash"}


def test_documented_macros_exist(written: tuple[dict, list[Judgement], str]) -> None:
    source = written[-1]
    if "\\degradation" not in source:
        return
    text = (REPO / "docs" / "python.md").read_text()
    full = set(re.findall(r"\\(degradation[A-Za-z]*[a-z])(?![.A-Za-z])", text))
    names = set(re.findall(r"^\\newcommand\{\\(.*?)\}", source, re.M))
    assert len(full) >= 7
    assert full <= names
    for ending in re.findall(r"`\.\.\.([A-Za-z]+)`", text):
        assert any(name.endswith(ending) for name in names), ending
    assert dict(macros_of(source))["degradationPlainFiftySixTrainError"] == "53.96"


def test_names_of_macros_spell_numbers() -> None:
    spelled = {
        "plain-56": "PlainFiftySix", "resnet-1202": "ResnetOneThousandTwoHundredTwo", "110": "OneHundredTen",
        "rate 0.01": "RateZeroPointZeroOne", "train_error": "TrainError", "8000it": "EightThousandIt", "D5-start": "DFiveStart",
        "20": "Twenty", "0": "Zero", "café ☂": "Cafe", "test %": "TestPercent", "1000000": "OneMillion",
    }  # fmt: skip
    assert {text: letters(text) for text in spelled} == spelled


@pytest.mark.parametrize("name", experiment_names())
def test_headings_of_an_experiment_differ(name: str) -> None:
    """Macros are named after the metric of a heading."""
    headings = [column.heading for column in load_experiment(name).columns]
    assert len(set(headings)) == len(headings)


def test_equal_names_are_numbered() -> None:
    macros = Macros("x")
    calls = [macros.add([name], name) for name in ("a-20-1", "a-21", "a21")]
    assert calls == [r"\xATwentyOne{}", r"\xATwentyOneTwo{}", r"\xATwentyOneThree{}"]
    assert list(macros.values.values()) == ["a-20-1", "a-21", "a21"]


def test_text_is_escaped() -> None:
    assert escape("50 % of {a_b} & $x^2 ~ \\y#") == (
        r"50 \% of \{a\_b\} \& \$x\textasciicircum{}2 \textasciitilde{} \textbackslash{}y\#"
    )
    assert (
        escape("−0.4 ± 1 × “é”\n")
        == r"\ensuremath{-}0.4 \ensuremath{\pm} 1 \ensuremath{\times} ``é''\textbackslash{}u000a"
    )
