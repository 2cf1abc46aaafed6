"""Reports of prefixes, which are compared with published values at the same step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_records import content_of, make_record
from matplotlib.lines import Line2D

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.figures.figure import Context
from resnet_repro.figures.published import he15_errors_at
from resnet_repro.figures.style import PAPER_GREY
from resnet_repro.records.record import collect, only_trained
from resnet_repro.report.summary import summary_content
from resnet_repro.report.write import budgets_with_records, write_report

NETS = ("plain-20", "plain-56", "resnet-20", "resnet-56")


@pytest.fixture
def prefix_runs(tmp_path: Path, degradation: Experiment) -> Path:
    for arm in NETS:
        make_record(tmp_path / "runs", degradation, arm, 0, "prefix34000", prefix=34_000)
    make_record(tmp_path / "runs", degradation, "plain-56-no-bn", 0, "prefix34000")  # its share ends at step 6,400
    return tmp_path / "runs"


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """Return the coordinates of a line."""
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_published_errors_at_a_step_are_read_from_curves() -> None:
    errors = {arm: he15_errors_at(arm, 34_000, 64_000) for arm in NETS}
    assert {arm: [round(errors[arm][split], 1) for split in ("train", "test")] for arm in NETS} == {
        "plain-20": [3.7, 10.0], "plain-56": [10.0, 14.2], "resnet-20": [2.6, 9.0], "resnet-56": [1.1, 7.5],
    }  # fmt: skip
    assert he15_errors_at("plain-56", 16_000, 64_000) == {"train": float("inf"), "test": float("inf")}
    assert he15_errors_at("plain-20", 34_000, 128_000) == {}, "another schedule has other errors at that step"
    assert he15_errors_at("vgg", 34_000, 64_000) == {}


def test_prefix_has_its_own_banner(degradation: Experiment, prefix_runs: Path) -> None:
    banners = content_of(degradation, prefix_runs, "prefix34000")["banners"]
    assert banners[0].startswith("PREFIX. 34,000 of the published 64,000 iterations (prefix 53.1 %)")
    assert not any("SHORT BUDGET" in banner for banner in banners)


def test_table_has_the_published_errors_at_that_step(degradation: Experiment, prefix_runs: Path) -> None:
    table = content_of(degradation, prefix_runs, "prefix34000")["results"][0]
    assert table["header"] == [
        "arm", "train %", "published", "test %", "published", "best test %", "response", "seeds",
    ]  # fmt: skip
    assert {row[0]: (row[2], row[4]) for row in table["rows"]} == {
        "plain-20": ("3.68", "10.00"),
        "plain-56": ("9.97", "14.25"),
        "resnet-20": ("2.57", "9.04"),
        "resnet-56": ("1.10", "7.55"),
    }
    assert "same step (34,000)" in table["caption"]
    assert "He15 figure 6" in table["caption"]
    assert "Published after 64,000 steps" not in table["caption"]


def test_axis_extends_to_the_errors_of_a_short_prefix(degradation: Experiment, tmp_path: Path) -> None:
    folder = make_record(tmp_path, degradation, "resnet-20", 0, "prefix400", prefix=400)
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"final": {"train_error": 50.0, "test_error": 48.0}}))
    (folder / "metrics.csv").write_text("iteration,running_train_error,test_error\n200,60.0,\n400,49.0,\n")
    drawn = degradation.figures[0].draw(Context(only_trained(collect(tmp_path, "degradation", "prefix400")), 64_000))
    assert drawn is not None
    (ax,) = drawn[0].axes
    (test,) = (line for line in ax.get_lines() if line.get_label() == "resnet-20 test")
    assert points(test) == ([400], [48.0]) and ax.get_ylim()[1] > 48.0


def test_error_above_the_published_figure_is_shown_as_its_edge(degradation: Experiment, tmp_path: Path) -> None:
    for arm in ("plain-20", "plain-56"):
        make_record(tmp_path, degradation, arm, 0, "prefix16000", prefix=16_000)
    rows = content_of(degradation, tmp_path, "prefix16000")["results"][0]["rows"]
    assert [(row[0], row[2], row[4]) for row in rows] == [("plain-20", "12.57", "14.38"), ("plain-56", "> 20", "> 20")]


def test_nets_outside_the_figures_have_no_published_values(tmp_path: Path) -> None:
    block = load_experiment("block")
    make_record(tmp_path, block, "preact-110", 0, "prefix34000", prefix=34_000)
    table = content_of(block, tmp_path, "prefix34000")["results"][0]
    assert "published" not in table["header"]
    assert "no values for these nets" in table["caption"]


def test_arms_and_recipe_show_the_part_of_the_schedule(degradation: Experiment, prefix_runs: Path) -> None:
    content = content_of(degradation, prefix_runs, "prefix34000")
    assert {row[0]: row[4] for row in content["ran"][0]["rows"]} == {
        **dict.fromkeys(NETS, "34,000 of 64,000"), "plain-56-no-bn (control)": "6,400",
    }  # fmt: skip
    assert "the first 34,000 of 64,000 steps of batch 128" in content["summary"]


def test_curves_end_with_the_final_error_over_published_ones(degradation: Experiment, prefix_runs: Path) -> None:
    drawn = degradation.figures[0].draw(
        Context(only_trained(collect(prefix_runs, "degradation", "prefix34000")), 64_000)
    )
    assert drawn is not None
    lines = {str(line.get_label()): line for ax in drawn[0].axes for line in ax.get_lines()}
    assert lines["He15 plain-56 test"].get_color() == PAPER_GREY
    assert all(ax.get_ylim() == (0, 20) and ax.get_xlim()[1] > 64_000 for ax in drawn[0].axes)
    steps, errors = points(lines["plain-56 test"])
    assert steps[-2:] == [32_000, 34_000]  # the evaluation before, and the score after the last step
    assert errors[-1] == 13.2
    assert max(points(lines["plain-56 train"])[0]) <= 34_000
    assert "Grey: the curves of He15 figure 6" in drawn[1]


def test_layer_responses_of_a_prefix_are_marked_unfinished(degradation: Experiment, prefix_runs: Path) -> None:
    (spec,) = [spec for spec in degradation.figures if spec.name == "layer_responses"]
    drawn = spec.draw(Context(only_trained(collect(prefix_runs, "degradation", "prefix34000")), 64_000))
    assert drawn is not None
    assert [ax.get_title() for ax in drawn[0].axes[:2]] == [
        "ours, 34,000 of 64,000 iterations", "He15 figure 7, 64,000 iterations",
    ]  # fmt: skip
    assert "training has not ended" in drawn[1]


@pytest.mark.parametrize(("prefix", "at_20_layers"), [(None, 8.75), (34_000, 9.04)])
def test_published_errors_by_depth_are_at_the_same_step(
    prefix: int | None, at_20_layers: float, tmp_path: Path
) -> None:
    depth = load_experiment("depth")
    for arm in ("resnet-20", "resnet-56", "resnet-110"):
        make_record(tmp_path, depth, arm, 0, "made", prefix=prefix)
    drawn = depth.figures[0].draw(Context(only_trained(collect(tmp_path, "depth", "made")), 64_000))
    assert drawn is not None
    (ax,) = drawn[0].axes
    (published,) = [line for line in ax.get_lines() if str(line.get_label()).startswith("He15")]
    assert dict(zip(*points(published), strict=True))[20] == pytest.approx(at_20_layers, abs=0.01)


def test_length_of_a_prefix_is_its_trained_steps(degradation: Experiment, prefix_runs: Path) -> None:
    make_record(prefix_runs, degradation, "plain-20", 0, "40000it", 40_000)
    assert budgets_with_records(prefix_runs, "degradation") == ["40000it", "prefix34000"]
    content = summary_content([degradation], {"degradation": ["prefix34000"]}, prefix_runs)
    assert content["claims"][0]["steps"] == "34,000 of 64,000"


@pytest.mark.slow
def test_prefix_report_is_written(degradation: Experiment, prefix_runs: Path, tmp_path: Path) -> None:
    written = write_report(degradation, "prefix34000", prefix_runs, tmp_path / "reports")
    assert written.pdf is not None and written.pdf.exists()
    assert any(line.startswith("After 34,000 of 64,000 steps plain-56 has") for line in written.lines)
