"""Parts of Markdown pages that come from records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import cli, one_sentence
from reference import REFERENCE

from resnet_repro.claims.grade import KINDS
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.report import korean
from resnet_repro.report.pages import Facts, block, findings, renew_pages, renewed_text
from resnet_repro.report.summary import ORDER

ROW = {
    "verdict": "supported", "grade": "published, own claim", "effect": "+2.00 points", "interval": "+1.00 to +3.00",
    "seeds": "3",
}  # fmt: skip


@pytest.fixture
def facts() -> Facts:
    claims = {row["claim"]: {"name": row["claim"], **ROW} for row in findings()}
    verdicts = {"degradation": {"D1": "supported"}, "degradation-quick": {"D1": "not seen"}}
    experiments = {"degradation": load_experiment("degradation"), "mnist": load_experiment("mnist")}
    return Facts(claims, verdicts, experiments, REFERENCE)


def test_blocks_are_renewed_and_the_text_around_them_stays(facts: Facts) -> None:
    text = "a <!-- generated: number of claims -->0<!-- end --> b\n<!-- generated: findings -->\n<!-- end -->\nc\n"
    renewed, changes = renewed_text(text, facts)
    assert renewed.startswith(f"a <!-- generated: number of claims -->{len(facts.claims)}<!-- end --> b\n<!-- gen")
    assert renewed.endswith("|\n<!-- end -->\nc\n") and not changes
    assert "| +2.00 points | +1.00 to +3.00 | 3 |" in renewed
    assert renewed_text(renewed, facts) == (renewed, [])


def test_verdicts_of_links_are_renewed_and_named(facts: Facts) -> None:
    text = (
        'See [D1](../reference/degradation.pdf "inconclusive"), [D1][quick], [4.2](reference/degradation/x "test_error") and '
        '[+1](reference/degradation.pdf "D1: effect").\n\n[quick]: reference/degradation-quick.pdf "seen once"\n'
    )
    renewed, changes = renewed_text(text, facts)
    assert renewed == text.replace("inconclusive", "supported").replace("seen once", "not seen")
    assert [change.partition(":")[0] for change in changes] == [
        "D1 in degradation was inconclusive and is supported", "D1 in degradation-quick was seen once and is not seen",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<!-- generated: weather -->x<!-- end -->", "unknown block 'weather': expected one of findings"),
        ("<!-- generated: findings -->\n", "a generated block has no end"),
        ("<!-- generated: printed degradation quick seeds 9 -->x<!-- end -->", "lacks plain-20 with seed 9"),
        ("<!-- generated: printed degradation paper seeds 0 -->x<!-- end -->", "lacks any run"),
        ("<!-- generated: printed degradation quick seeds 0 arms plain-21 -->x<!-- end -->", "unknown arm 'plain-21'"),
        ('[D9](reference/degradation.pdf "supported")', "unknown claim of degradation 'D9'"),
        ('[D1](reference/depth.pdf "supported")', "unknown report 'depth'"),
    ],
)
def test_a_page_that_asks_for_something_unknown_is_left_alone(
    facts: Facts, tmp_path: Path, text: str, says: str
) -> None:
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("<!-- generated: findings -->\n<!-- end -->\n")
    bad.write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{bad}: ")) as error:
        renew_pages([good, bad], facts)
    assert says in str(error.value)
    assert "| D1 |" not in good.read_text() and bad.read_text() == text


def test_printed_has_the_runs_it_names_and_no_others(facts: Facts) -> None:
    lines = block("printed degradation quick seeds 1-3 arms plain-20,plain-56", facts).splitlines()
    (row,) = [line for line in lines if line.startswith("plain-56 ")]
    assert row.split()[-1] == "3"
    assert not [line for line in lines if line.startswith("resnet-")] and "Means over 3 seeds." in lines
    assert lines[-2:] == ["report: reports/degradation.pdf", "```"]


def test_korean_has_a_word_for_every_verdict_and_grade() -> None:
    assert set(korean.VERDICTS) == set(ORDER)
    for kind in KINDS:
        assert re.search(r"[가-힣]", korean.in_korean(f"{kind} 12.5 %, own claim, reproduced †"))
    row = korean.finding_row({"name": "D1", **ROW, "seeds": "5 (3 planned)"}, "깊다.")
    assert row == [
        "D1", "깊다.", "지지됨 (supported)", "원문 조건, 이 프로젝트의 주장", "+2.00 %p", "+1.00 ~ +3.00", "5 (계획 3)",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no Korean word for 'nats' in '2 nats'"):
        korean.in_korean("2 nats")


def test_pages_need_all_experiments_and_budgets() -> None:
    refused = cli("report", "degradation", "--runs-dir", REFERENCE, "--pages", "README.md")
    assert "--pages README.md needs the verdicts of all experiments" in one_sentence(refused)
