"""Verdicts, grades and effects of the summary in Korean, for pages in that language."""

from __future__ import annotations

import re
from collections.abc import Mapping

from resnet_repro.errors import UserError

HEADER = ("주장", "내용", "판정", "근거", "효과", "95 % 신뢰구간", "시드 수")
VERDICTS = {
    "supported": "지지됨",
    "contradicted": "반박됨",
    "inconclusive": "결론 없음",
    "not tested": "시험하지 않음",
    "seen once": "한 번 관찰됨",
    "not seen": "관찰되지 않음",
}
# Of grades, effects, intervals and numbers of seeds. Longer terms stand before those that they contain.
TERMS = {
    r"other size than published": "효과 크기는 원문과 다름",
    r"own claim": "이 프로젝트의 주장",
    r"own test": "측정 방법은 이 프로젝트의 것",
    r"reproduced": "재현됨",
    r"compressed": "압축",
    r"prefix": "앞부분",
    r"published": "원문 조건",
    r"substitute": "대체 데이터",
    r"exact": "직접 셈",
    r"counted": "직접 셈",
    r"no value": "값 없음",
    r"(\d+) of (\d+) hold": r"\2개 중 \1개 성립",
    r"\((\d+) planned\)": r"(계획 \1)",
    r" points": " %p",
    r" times": "배",
    r" ×": "배",
    r" of the seeds": " (시드 기준)",
    r" to ": " ~ ",
}


def finding_row(claim: Mapping[str, str], text: str) -> list[str]:
    """Return a claim of the summary as a row under `HEADER`. text: the finding in Korean.

    The verdict has the English word in parentheses. Raises UserError for a unit or a grade that has no Korean word here.
    """
    verdict = f"{VERDICTS[claim['verdict']]} ({claim['verdict']})"
    return [claim["name"], text, verdict, *(in_korean(claim[key]) for key in ("grade", "effect", "interval", "seeds"))]


def in_korean(cell: str) -> str:
    """Return a cell of the summary in Korean. Raises UserError if a word of it is unknown."""
    translated = cell
    for english, korean in TERMS.items():
        translated = re.sub(english, korean, translated)
    if unknown := re.findall(r"[A-Za-z]{2,}", translated):
        raise UserError(f"no Korean word for {unknown[0]!r} in {cell!r}: add it to TERMS in report/korean.py")
    return translated
