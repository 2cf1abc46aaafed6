"""Layout of reports: the content of page one, no half-empty pages, legible figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn_pages import emptiest_part, pages_of
from made_records import DIVERGED, content_of, make_record
from made_reports import TRAINED, make_study
from PIL import Image
from reference import REFERENCE, STEMS

from resnet_repro.claims.judge import RULE
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.figures.figure import Context
from resnet_repro.figures.style import report_style
from resnet_repro.records.record import collect, only_counted, only_trained
from resnet_repro.report.typeset import query, typeset
from resnet_repro.report.write import write_report

REPORTS = [f"{stem}.pdf" for stem in (*STEMS, "summary")]


LONG = "UNUSUAL. " + "A sentence that a reader must know before any number of the report. " * 6


def has_block(page: np.ndarray) -> bool:
    """Whether the black rectangle, which replaces the figure, is on the page."""
    return bool(((page < 40).mean(axis=1) > 0.05).sum() > 15)


# The image is 600 wide and scaled to the text's width: its height is a third of that, or one and a half times.
@pytest.mark.parametrize("height", [200, 900])
@pytest.mark.parametrize("banners", [0, 5])
def test_first_figure_is_on_page_one_below_any_banners(
    banners: int, height: int, degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    Image.new("L", (600, height)).save(tmp_path / "hero.png")
    content = content_of(degradation, paper_runs)
    content |= {"banners": [LONG] * banners, "answers": ["An answer with its numbers, 87 and 63 %."] * 8}
    content |= {
        "hero": {"path": "hero.png", "caption": "A caption of the figure. " * 12, "alternative": "A black field."}
    }
    typeset("document.typ", content, tmp_path, "report.pdf")
    first, *others = pages_of(tmp_path / "report.pdf", tmp_path)
    assert has_block(first)
    assert not any(has_block(page) for page in others)


def test_room_for_the_figure_shrinks_with_banners(degradation: Experiment, paper_runs: Path, tmp_path: Path) -> None:
    content = content_of(degradation, paper_runs) | {"hero": {"path": None, "caption": "A caption."}}
    (short,) = query("document.typ", content | {"banners": []}, tmp_path, "room")
    (long,) = query("document.typ", content | {"banners": [LONG] * 2}, tmp_path, "room")
    assert 1 < long["room"] < short["room"] - 1 < 9
    assert 1 < short["next"] == long["next"] <= 3


@pytest.mark.slow
def test_first_figure_fills_page_one_unscaled(degradation: Experiment, tmp_path: Path) -> None:
    for arm in ("plain-20", "plain-56", "resnet-20", "resnet-56"):
        make_record(tmp_path / "runs", degradation, arm, 0, "quick", 391)
    write_report(degradation, "quick", tmp_path / "runs", tmp_path / "reports")
    drawn = Image.open(tmp_path / "reports" / "degradation-error_curves.png")
    pages = pages_of(tmp_path / "reports" / "degradation.pdf", tmp_path)
    assert emptiest_part(pages[0]) < 0.1
    assert drawn.width / 160 == pytest.approx(17.4 / 2.54, abs=0.02)  # inches: printed unscaled


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_reference_reports_have_no_half_empty_page(name: str, tmp_path: Path) -> None:
    *pages, _ = pages_of(REFERENCE / name, tmp_path)
    empty = [round(emptiest_part(page), 2) for page in pages]
    assert all(part < 0.4 for part in empty), f"{empty}: make report REFERENCE=1 renews it"


def made_context(experiment: Experiment, runs: Path, seeds: int = 2) -> Context:
    if experiment.is_counted:  # counting takes half a minute and gives the same records
        return Context([], 0, networks=only_counted(collect(REFERENCE, experiment.name, "quick")))
    return Context(make_study(runs, experiment, seeds), 64_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", experiment_names())
def test_figures_are_legible_in_print(name: str, tmp_path: Path) -> None:
    """No text but exponents is smaller than 7 points, and no legend overlaps a panel or another legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    experiment = load_experiment(name)
    context = made_context(experiment, tmp_path)
    for spec in experiment.figures:
        with report_style():
            drawn = spec.draw(context)
            assert drawn is not None
            figure = drawn.figure
            assert any(sign.isdigit() for sign in drawn.alternative) and drawn.alternative != drawn.caption, spec.name
            assert drawn.alternative.endswith(".") and len(drawn.alternative) < 2_000, spec.name
            FigureCanvasAgg(figure).draw()
            small = {
                text.get_text()
                for text in figure.findobj(Text)
                if isinstance(text, Text) and text.get_text() and text.get_visible() and float(text.get_fontsize()) < 7
            }
            assert not small, spec.name
            if spec.name == "ilsvrc_by_year":  # its bars are constant, and low below the legend
                continue
            legends = [*figure.legends, *(legend for ax in figure.axes if (legend := ax.get_legend()))]
            boxes = [legend.get_window_extent() for legend in legends]
            panels = [ax.patch.get_window_extent() for ax in figure.axes if ax.get_visible() and ax.axison]
            assert not any(box.overlaps(panel) for box in boxes for panel in panels), spec.name
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]), spec.name


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_figures_accept_runs_that_diverged_at_once(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(name)
    context = made_context(experiment, tmp_path, seeds=1)
    arm = experiment.arms_of(experiment.profile("paper"))[0]
    folder = make_record(tmp_path, experiment, arm.name, 1, **DIVERGED)
    for file in folder.glob("*.csv"):
        file.write_text(file.read_text().splitlines()[0] + "\n")
    records = only_trained(collect(tmp_path, name, "paper"))
    assert len(records) == len(context.records) + 1
    with report_style():
        for spec in experiment.figures:
            assert spec.draw(Context(records, 64_000)) is not None, spec.name


def test_appendix_has_rule_deviations_and_provenance(degradation: Experiment, paper_runs: Path, tmp_path: Path) -> None:
    content = content_of(degradation, paper_runs)
    typeset("document.typ", content, tmp_path, "report.pdf")
    source = (tmp_path / "document.typ").read_text()
    headings = [line.strip().removeprefix("= ") for line in source.splitlines() if line.strip().startswith("= ")]
    assert headings == [
        "Results", "Claims", "What was run", "How claims are judged", "Deviations from the sources", "Provenance",
    ]  # fmt: skip
    assert source.count("content.rule") == 1
    assert json.dumps(content, ensure_ascii=False).count(RULE) == 1
