"""Fonts of typeset reports."""

from __future__ import annotations

from pathlib import Path

import pytest
import typst

from resnet_repro.report.typeset import typeset


@pytest.mark.parametrize(
    ("name", "alone"), [("flowers", True), ("Blümchen − × ≥ θ₀", True), ("Цветы", True), ("数据", False), ("🙂", False)]
)
def test_fonts_of_the_machine_serve_only_characters_that_typst_lacks(
    name: str, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other reports are the same on every machine."""
    given: dict[str, object] = {}
    monkeypatch.setattr(typst, "compile", lambda source, **options: given.update(options) or b"")
    typeset("document.typ", {"title": name}, tmp_path, "report.pdf")
    assert given["ignore_system_fonts"] is alone
