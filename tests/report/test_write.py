"""Writing reports: file names, contents, and equal bytes for equal records."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_records import CIFAR100, content_of, make_record
from made_reports import TRAINED, make_study

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.figures.alternative import saved_alternative
from resnet_repro.figures.figure import Context
from resnet_repro.files import read_json, write_json
from resnet_repro.records.record import read_record
from resnet_repro.report.summary import summary_content, write_summary
from resnet_repro.report.write import budgets_with_records, write_report


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name != "degradation"])
def test_every_training_experiment_has_a_report(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(name)
    shown = experiment.arms_of(experiment.profile("paper"))
    records = make_study(tmp_path / "runs", experiment)
    written = write_report(experiment, "paper", tmp_path / "runs", tmp_path / "reports")
    assert sorted(written.images) == sorted(spec.name for spec in experiment.figures)
    assert (tmp_path / "reports" / f"{name}.pdf").stat().st_size > 20_000
    content = content_of(experiment, tmp_path / "runs")
    compared = [arm.name for arm in shown if not arm.control]
    assert [row[0] for row in content["results"][0]["rows"]] == compared
    rows = [arm.name + " (control)" * arm.control for arm in (*shown, *experiment.networks)]
    assert [row[0] for row in content["ran"][0]["rows"]] == rows
    assert [claim["name"] for claim in content["claims"]] == [claim.name for claim in experiment.claims]
    labels = " ".join(
        str(text)
        for spec in experiment.figures
        if (drawn := spec.draw(Context(records, 64_000)))
        for ax in drawn[0].axes
        for text in (
            *ax.get_legend_handles_labels()[1],
            *[tick.get_text() for tick in ax.get_yticklabels()],
            ax.get_ylabel(),
        )
    )
    if name not in ("depth", "gradients", "identity"):  # their figures show layers on the axis, not arms
        candidates = {candidate for arm in shown if arm.search for candidate in arm.search.arms}
        drawn_arms = [arm.name for arm in shown if arm.name not in candidates]
        assert all(arm in labels for arm in drawn_arms), [arm for arm in drawn_arms if arm not in labels]


@pytest.mark.slow
def test_stem_replaces_the_name_of_all_files(degradation: Experiment, paper_runs: Path, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    written = write_report(degradation, "paper", paper_runs, reports, stem="degradation-paper")
    assert written.pdf is not None and written.pdf.exists()
    assert written.pdf == reports / "degradation-paper.pdf"
    assert written.images["error_curves"] == reports / "degradation-paper-error_curves.png"
    assert all(path.name.startswith("degradation-paper") for path in reports.iterdir())
    assert written.images["error_curves"].exists()


@pytest.mark.slow
def test_report_is_reproducible_byte_for_byte(degradation: Experiment, paper_runs: Path, tmp_path: Path) -> None:
    written = [write_report(degradation, "paper", paper_runs, tmp_path / name) for name in ("a", "b")]
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    figures = {f"degradation-{figure.name}.{end}" for figure in degradation.figures for end in ("pdf", "png", "svg")}
    tables = {"degradation.tex", "degradation-runs.csv", "degradation-claims.csv"}
    assert set(names) == {"degradation.pdf"} | figures | tables
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    text = saved_alternative(tmp_path / "a" / "degradation-error_curves.png")
    assert text and "plain nets: plain-20 has 1.22 and 9.80, plain-56 has 1.66 and 13.3" in text
    assert f"<dc:description>{text}</dc:description>" in (tmp_path / "a" / "degradation-error_curves.svg").read_text()
    assert written[0].images["error_curves"] == tmp_path / "a" / "degradation-error_curves.png"
    assert any("supported" in line and line.startswith("D1") for line in written[0].lines)


@pytest.mark.slow
def test_names_of_users_reach_pdf_and_page_in_any_folder(
    degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    dataset = {**CIFAR100, "title": "*caf\udce9* <b>|\n# 数据"}
    make_record(paper_runs, degradation, "resnet-20", 7, dataset=dataset)
    reports = tmp_path / os.fsdecode(b"r\xe9ports")
    written = write_report(degradation, "paper", paper_runs, reports)
    assert written.pdf is not None and written.pdf.read_bytes().startswith(b"%PDF")
    write_summary(summary_content([degradation], {"degradation": ["paper"]}, paper_runs), reports)
    page = (reports / "summary.md").read_text(encoding="utf-8")
    assert r"\*caf\\xe9\* \<b\>\|\\u000a# 数据" in page


def test_longest_budget_with_records_comes_first(degradation: Experiment, paper_runs: Path) -> None:
    make_record(paper_runs, degradation, "plain-20", 0, "quick", 391)
    make_record(paper_runs, degradation, "plain-20", 0, "2000it", 2_000)
    make_record(paper_runs, degradation, "plain-20", 0, "4000it-cifar100", 4_000)
    assert budgets_with_records(paper_runs, "degradation") == ["paper", "2000it", "quick", "4000it-cifar100"]
    assert budgets_with_records(paper_runs, "other") == []


def test_missing_and_truncated_records_are_rejected(degradation: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"degradation/quick .*; run make degradation first"):
        write_report(degradation, "quick", tmp_path, tmp_path / "reports")
    folder = make_record(tmp_path, degradation, "plain-20", 0)
    path = folder / "record.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(UserError, match=r"record\.json"):
        read_record(folder)


def test_record_of_an_unknown_arm_is_an_error_that_names_its_file(degradation: Experiment, tmp_path: Path) -> None:
    folder = make_record(tmp_path, degradation, "plain-20", 0)
    record = read_json(folder / "record.json")
    assert record is not None
    other = folder.parents[1] / "plain-21" / "seed0"
    other.mkdir(parents=True)
    write_json(other / "record.json", record | {"arm": "plain-21"})
    with pytest.raises(
        UserError, match=r"plain-21/seed0/record\.json belongs to the arm 'plain-21', which degradation"
    ):
        write_report(degradation, record["profile"], tmp_path, tmp_path / "reports")
