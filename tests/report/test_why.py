"""The page on why plain nets fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_repro.claims.explanations import Explanation, explanations
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.report.why import FIGURES, why_content, why_page, write_why

CLAIM = {
    "name": "E1", "text": "They explode.", "verdict": "supported", "grade": "published", "reason": "", "quantity": "growth",
    "claimed": "> 1.1 times", "effect": "1.2 times", "interval": "1.19 to 1.21", "published": "–", "seeds": "8",
}  # fmt: skip
DATE = "2026-03-04T05:06:07Z"
EXPLODE = Explanation("Gradients explode", "blog-C:6", "They grow.", ["E1", "E9"], "Whether it matters.")


def test_every_explanation_is_tested_by_claims_that_exist() -> None:
    loaded = [load_experiment(name) for name in experiment_names()]
    known = {claim.name for experiment in loaded for claim in experiment.claims}
    listed = explanations()
    assert len({explanation.cause for explanation in listed}) == len(listed)
    for explanation in listed:
        assert explanation.claims and set(explanation.claims) <= known, explanation.cause
        assert explanation.says and explanation.open and explanation.source


def test_figures_belong_to_experiments_that_draw_them() -> None:
    drawn = {f"{name}-{spec.name}" for name in experiment_names() for spec in load_experiment(name).figures}
    assert {name for name, _ in FIGURES} <= drawn


def test_page_has_each_explanation_with_its_verdicts(tmp_path: Path) -> None:
    content = why_content([EXPLODE], [CLAIM], DATE)
    assert [claim["name"] for claim in content["explanations"][0]["claims"]] == ["E1"]
    page = why_page(content, {"a.png": ("Norms.", "They rise from 1 to 4.")})
    assert "## Gradients explode\n\nThey grow. (blog-C:6)" in page
    assert (
        "| E1 | They explode. | supported | published | growth | > 1.1 times | 1.2 times | 1.19 to 1.21 | – | 8 |"
        in page
    )
    assert "![They rise from 1 to 4.](a.png)\n\nNorms.\n" in page and "Open: Whether it matters." in page


def test_pdf_is_written_with_the_figures_that_are_there(tmp_path: Path) -> None:
    pytest.importorskip("typst")
    from matplotlib.figure import Figure

    name = FIGURES[0][0]
    for suffix in ("svg", "png"):
        Figure(figsize=(2, 1)).savefig(tmp_path / f"{name}.{suffix}", metadata={"Description": "It rises − to 4."})
    write_why(why_content([EXPLODE], [CLAIM], DATE), tmp_path, with_pdf=True)
    with_figure = (tmp_path / "why.pdf").read_bytes()
    assert f"![It rises − to 4.]({name}.png)" in (tmp_path / "why.md").read_text(encoding="utf-8")
    (tmp_path / f"{name}.png").unlink()
    write_why(why_content([EXPLODE], [CLAIM], DATE), tmp_path, with_pdf=True)
    assert len((tmp_path / "why.pdf").read_bytes()) < len(with_figure)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.svg", "why.md", "why.pdf"]
