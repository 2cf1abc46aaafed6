"""The page on why plain nets fail: each explanation with the verdicts that bear on it, as Markdown and as PDF."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.claims.explanations import Explanation
from resnet_repro.figures.alternative import saved_alternative
from resnet_repro.report.markdown import EVIDENCE, EVIDENCE_HEADER, table
from resnet_repro.report.typeset import typeset

PDF, PAGE = "why.pdf", "why.md"
FIGURES = (
    (
        "gradients-growth_by_layer",
        "Gradient norms by layer before the first step, with the theory (experiment `gradients`).",
    ),
    (
        "gradients-agreement_by_depth",
        "Agreement of the gradients of different images against depth, before the first step (experiment `gradients`).",
    ),
    ("gradients-norms_after_steps", "Gradient norms by layer along the training (experiment `gradients`)."),
    ("rates-errors_by_rate", "Final training error against the learning rate (experiment `rates`)."),
    ("identity-relative_errors_by_depth", "Error of fitting the identity against depth (experiment `identity`)."),
)
ABOUT = (
    "Deep plain nets train worse than shallow ones, and residual nets do not. The sources explain this in several ways. Each "
    "explanation is listed with the claims that test it: what was measured, which side supports the explanation's claim, "
    "and the verdict. A supported claim about a start or a gradient is not yet a cause; what remains open is said below it."
)


def why_content(explanations: Sequence[Explanation], claims: Sequence[Mapping[str, Any]], date: str) -> dict[str, Any]:
    """Return the data of the page. claims, date: the summary's, see `summary.summary_content`.

    Claims that have no runs are listed with the verdict "not tested".
    """
    by_name = {claim["name"]: claim for claim in claims}
    return {
        "title": "Why do deep plain nets fail?",
        "date": date,
        "about": ABOUT,
        "explanations": [
            {
                "cause": explanation.cause,
                "source": explanation.source,
                "says": explanation.says,
                "claims": [by_name[name] for name in explanation.claims if name in by_name],
                "open": explanation.open,
            }
            for explanation in explanations
        ],
    }


def why_page(content: Mapping[str, Any], figures: Mapping[str, tuple[str, str]]) -> str:
    """Return the page as Markdown. figures: {file name: (caption, alternative text)}."""
    header = ["claim", "statement", "verdict", "grade", *EVIDENCE_HEADER]
    parts = [f"# {content['title']}", content["about"]]
    parts += [f"![{alternative}]({name})\n\n{caption}" for name, (caption, alternative) in figures.items()]
    for explanation in content["explanations"]:
        rows = [
            [claim["name"], claim["text"], claim["verdict"], claim["grade"], *(claim[key] for key in EVIDENCE)]
            for claim in explanation["claims"]
        ]
        parts += [
            f"## {explanation['cause']}",
            f"{explanation['says']} ({explanation['source']})",
            table(header, rows, "lllllrrrrr"),
            f"Open: {explanation['open']}",
        ]
    return "\n\n".join(parts) + "\n"


def shown_figures(reports_dir: Path) -> dict[str, tuple[str, str]]:
    """Return {name: (caption, alternative text)} of the figures that lie in the folder."""
    alternatives = {name: saved_alternative(reports_dir / f"{name}.png") for name, _ in FIGURES}
    return {name: (caption, text) for name, caption in FIGURES if (text := alternatives[name])}


def write_why(content: Mapping[str, Any], reports_dir: Path, with_pdf: bool) -> None:
    """Write `reports_dir/why.md` and, with `with_pdf`, why.pdf. Raises OSError.

    Figures are those that lie in the folder, with the alternative texts in their files.
    """
    present = shown_figures(reports_dir)
    page = why_page(content, {f"{name}.png": texts for name, texts in present.items()})
    (reports_dir / PAGE).write_text(page, encoding="utf-8")
    if not with_pdf:
        return
    with tempfile.TemporaryDirectory(dir=reports_dir, prefix=".why-") as folder:
        shown = {name: texts for name, texts in present.items() if (reports_dir / f"{name}.svg").exists()}
        for name in shown:
            shutil.copyfile(reports_dir / f"{name}.svg", Path(folder) / f"{name}.svg")
        figures = [
            {"path": f"{name}.svg", "caption": caption.replace("`", ""), "alternative": alternative}
            for name, (caption, alternative) in shown.items()
        ]
        typeset("why.typ", {**content, "figures": figures}, Path(folder), PDF)
        (Path(folder) / PDF).replace(reports_dir / PDF)
