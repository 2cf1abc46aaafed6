"""Fonts of typeset documents, and the standards that they conform to."""

from __future__ import annotations

from pathlib import Path

import pytest
import typst

from resnet_repro.report.typeset import date_of, typeset

DATE = "2026-03-04T05:06:07Z"


@pytest.mark.parametrize(
    ("name", "alone"), [("flowers", True), ("Blümchen − × ≥ θ₀", True), ("Цветы", True), ("数据", False), ("🙂", False)]
)
def test_fonts_of_the_machine_serve_only_characters_that_typst_lacks(
    name: str, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other reports are the same on every machine."""
    given: dict[str, object] = {}
    monkeypatch.setattr(typst, "compile", lambda source, **options: given.update(options) or b"")
    typeset("document.typ", {"title": name, "date": DATE}, tmp_path, "report.pdf")
    assert given["ignore_system_fonts"] is alone


def page(**changes: object) -> dict[str, object]:
    return {"title": "Why?", "about": "", "date": DATE, "explanations": [], "figures": []} | changes


def test_documents_declare_the_standards_for_archives_and_screen_readers(tmp_path: Path) -> None:
    typeset("why.typ", page(), tmp_path, "why.pdf")
    pdf = (tmp_path / "why.pdf").read_bytes()
    for entry in ("pdfaid:part>2<", "pdfaid:conformance>A<", "pdfuaid:part>1<", "2026-03-04T05:06:07"):
        assert entry.encode() in pdf, entry


def test_a_figure_without_alternative_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    figure = {"path": "a.svg", "caption": "A square."}
    typeset("why.typ", page(figures=[figure | {"alternative": "An empty square."}]), tmp_path, "why.pdf")
    with pytest.raises(typst.TypstError, match="PDF/UA-1"):
        typeset("why.typ", page(figures=[figure | {"alternative": None}]), tmp_path, "why.pdf")


def test_characters_that_no_font_has_are_printed_as_codes(tmp_path: Path) -> None:
    typeset("why.typ", page(about="a \\ue000"), tmp_path, "coded.pdf")
    typeset("why.typ", page(about="a \ue000"), tmp_path, "private.pdf")  # for private use: the standards forbid it
    assert (tmp_path / "private.pdf").read_bytes() == (tmp_path / "coded.pdf").read_bytes()


@pytest.mark.parametrize(
    ("times", "last"),
    [
        (["2026-03-04T05:06:07Z", "2026-03-04T04:06:07-02:00"], "2026-03-04T04:06:07-02:00"),
        ([], "1970-01-01T00:00:00+00:00"),
    ],
)
def test_document_has_the_date_of_its_last_record(times: list[str], last: str) -> None:
    assert date_of(times) == last
