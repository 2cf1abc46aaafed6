"""Reports from made-up records: what they say, what they draw, and that they can be made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_repro.analysis.claims import judge
from resnet_repro.discovery import load_experiment
from resnet_repro.errors import UserError
from resnet_repro.experiment import Experiment, RunSettings
from resnet_repro.report.content import build_content, results_of
from resnet_repro.report.figure import Context
from resnet_repro.report.style import PAPER_GREY
from resnet_repro.report.write import budgets_with_records, write_report
from resnet_repro.results import Table, collect, read_record, run_folder, write_json

TEST_ERROR = {"plain-20": 9.7, "plain-56": 13.2, "resnet-20": 8.8, "resnet-56": 7.0, "plain-56-no-bn": 90.0}


@pytest.fixture
def degradation() -> Experiment:
    return load_experiment("degradation")


def make_record(
    runs: Path,
    experiment: Experiment,
    arm: str,
    seed: int,
    budget: str = "paper",
    iterations: int = 64_000,
    **changes: object,
) -> Path:
    """A finished run's folder whose errors are those of the paper, give or take the seed."""
    settings = RunSettings(
        experiment.name, budget, experiment.arm(arm), seed, iterations, 1_000, "cifar10", "d" * 64, "bf16", "cuda"
    )
    folder = run_folder(runs, experiment.name, budget, arm, seed)
    folder.mkdir(parents=True)
    error = TEST_ERROR[arm] + 0.1 * seed
    metrics = Table(folder / "metrics.csv", ("running_train_error", "test_error"))
    metrics.rewind(0)
    metrics.append(
        {"iteration": step * iterations // 8, "running_train_error": error / step, "test_error": error + 8 - step}
        for step in range(1, 9)
    )
    gradients = Table(folder / "gradients.csv", ("layer", "name", "norm"))
    gradients.rewind(0)
    gradients.append(
        {"iteration": step, "layer": layer, "name": f"conv{layer}", "norm": 0.1 * layer}
        for step in (1, 500)
        for layer in range(1, 10)
    )
    responses = Table(folder / "responses.csv", ("layer", "name", "std"))
    responses.rewind(0)
    responses.append({"iteration": iterations, "layer": i, "name": f"conv{i}", "std": 1 / i} for i in range(1, 10))
    response = {"plain-20": 1.82, "plain-56": 1.52, "resnet-20": 1.62, "resnet-56": 1.13}.get(arm, 0.1)
    data = {
        "format": 1,
        "experiment": experiment.name,
        "arm": arm,
        "seed": seed,
        "profile": budget,
        "iterations": settings.stop_at,
        "status": "finished",
        "diverged_at": None,
        "final": {"train_error": error / 2, "test_error": error},
        "best": {"test_error": error - 0.2, "iteration": iterations - 1_000},
        "diagnostics": {
            "mean_response": response + 0.001 * seed,
            "early_gradient": (-4.0 if arm == "plain-56-no-bn" else -1.0) + 0.01 * seed,
            "gradient_decay": 0.1 + 0.01 * seed,
        },
        "model": {"layers": 20, "parameters": 269_722, "multiply_adds": 40_551_040},
        "recipe": settings.to_json()["arm"]["recipe"],
        "dataset": {
            "name": "cifar10", "title": "CIFAR-10", "digest": "d" * 64, "standin": False, "train_images": 50_000,
            "test_images": 10_000,
        },
        "precision": "bf16",
        "device": "cuda",
        "hardware": "a made-up GPU",
        "threads": None,
        "compilation": "compiled",
        "seconds": 3_600.0,
        "images_per_second": 9_000.0,
        "versions": {"torch": "2.14.1"},
        "commit": "0123456789ab",
        "finished_at": "2026-01-01T00:00:00Z",
        "weights_sha256": "a" * 64,
        "settings": settings.to_json(),
    }  # fmt: skip
    write_json(folder / "record.json", data | changes)
    return folder


@pytest.fixture
def paper_runs(tmp_path: Path, degradation: Experiment) -> Path:
    for arm in TEST_ERROR:
        for seed in range(3):
            make_record(tmp_path / "runs", degradation, arm, seed)
    return tmp_path / "runs"


def content_of(experiment: Experiment, runs: Path, budget: str = "paper", iterations: int = 64_000) -> dict:
    records = collect(runs, experiment.name, budget)
    judgements = [judge(claim, results_of(experiment, records)) for claim in experiment.claims]
    return build_content(experiment, budget, iterations, records, judgements, [], [])


def test_the_papers_numbers_give_the_papers_verdicts(degradation: Experiment, paper_runs: Path) -> None:
    content = content_of(degradation, paper_runs)
    verdicts = {claim["name"]: claim["verdict"] for claim in content["claims"]}
    assert verdicts == {
        "D1": "reproduced",
        "D2": "reproduced",
        "D3": "reproduced",
        "D4": "reproduced",
        "D5": "not reproduced",
        "D6": "reproduced",
    }
    d2 = content["claims"][1]["parts"][0]
    assert (d2["effect"], d2["seeds"]) == ("+3.50 points", "3")
    assert d2["interval"] == "+3.27 to +3.73"


def test_tables_give_mean_and_spread_beside_the_published(degradation: Experiment, paper_runs: Path) -> None:
    content = content_of(degradation, paper_runs)
    row = content["errors"][0]
    assert row[:4] == ["plain-20", "4.90 ± 0.05", "9.80 ± 0.10", "9.60 ± 0.10"]
    assert row[5:] == ["1.30", "9.69", "1.82", "3"]
    assert [r[0] for r in content["errors"]] == ["plain-20", "plain-56", "resnet-20", "resnet-56"]
    assert content["arms"][4][0] == "plain-56-no-bn (control)"
    assert content["arms"][0][5] == "0, 1, 2"


def test_missing_runs_are_named(degradation: Experiment, paper_runs: Path) -> None:
    banners = " ".join(content_of(degradation, paper_runs)["banners"])
    assert "MISSING RUNS" in banners
    assert "plain-20 seed 3" in banners
    assert "plain-20 seed 2" not in banners
    assert "SHORT BUDGET" not in banners


def test_short_budgets_standins_and_divergence_stand_on_top(degradation: Experiment, tmp_path: Path) -> None:
    standin = {
        "name": "standin",
        "title": "stand-in",
        "digest": "e" * 64,
        "standin": True,
        "train_images": 9,
        "test_images": 9,
    }
    make_record(tmp_path, degradation, "plain-20", 0, "quick", 391, dataset=standin)
    diverged = {"status": "diverged", "diverged_at": 7, "final": {}, "best": {}, "weights_sha256": None}
    make_record(tmp_path, degradation, "plain-56", 0, "quick", 391, **diverged)
    content = content_of(degradation, tmp_path, "quick", 391)
    assert content["banners"][0].startswith("STAND-IN DATA")
    assert "391 of the published 64,000" in content["banners"][1]
    assert "plain-56 seed 0 at step 7" in content["banners"][3]
    assert content["errors"][1][1:4] == ["–", "–", "–"]
    assert content["errors"][1][-1] == "0"
    assert {claim["verdict"] for claim in content["claims"]} == {"undecided"}


def _lines(experiment: Experiment, runs: Path, budget: str, iterations: int) -> tuple[int, list]:
    spec = experiment.figures[0]
    drawn = spec.draw(Context(collect(runs, experiment.name, budget), iterations))
    assert drawn is not None
    figure, _ = drawn
    return len(figure.axes), [line for ax in figure.axes for line in ax.get_lines()]


def test_the_papers_curves_lie_grey_behind_ours_where_budgets_are_the_same(
    degradation: Experiment, paper_runs: Path
) -> None:
    panels, lines = _lines(degradation, paper_runs, "paper", 64_000)
    grey = [line for line in lines if line.get_color() == PAPER_GREY]
    assert panels == 2
    assert len(grey) == 8  # four nets, training and test
    assert {line.get_label() for line in grey} >= {"He15 plain-56 test", "He15 resnet-20 train"}
    assert all(line.get_zorder() < 2 for line in grey)
    assert len(lines) - len(grey) == 4 * 3 * 2


def test_else_they_have_panels_of_their_own(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, "quick", 391)
    panels, lines = _lines(degradation, tmp_path, "quick", 391)
    assert panels == 4
    assert not [line for line in lines if line.get_color() == PAPER_GREY]
    published = next(line for line in lines if line.get_label() == "He15 plain-20 test")
    assert max(published.get_xdata()) > 60_000


def test_a_report_is_made_again_to_the_same_bytes(degradation: Experiment, paper_runs: Path, tmp_path: Path) -> None:
    written = [write_report(degradation, "paper", paper_runs, tmp_path / name) for name in ("a", "b")]
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(
        ["degradation.pdf"]
        + [
            f"degradation-{f}.{e}"
            for f in ("error_curves", "gradient_norms", "layer_responses")
            for e in ("pdf", "png", "svg")
        ]
    )
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert written[0].images["error_curves"] == tmp_path / "a" / "degradation-error_curves.png"
    assert any("reproduced" in line and line.startswith("D1") for line in written[0].lines)


def test_the_longest_budget_with_records_comes_first(degradation: Experiment, paper_runs: Path) -> None:
    make_record(paper_runs, degradation, "plain-20", 0, "quick", 391)
    make_record(paper_runs, degradation, "plain-20", 0, "2000it", 2_000)
    assert budgets_with_records(paper_runs, "degradation") == ["paper", "2000it", "quick"]
    assert budgets_with_records(paper_runs, "other") == []


def test_no_records_and_records_cut_short_are_said(degradation: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run: run make degradation"):
        write_report(degradation, "quick", tmp_path, tmp_path / "reports")
    folder = make_record(tmp_path, degradation, "plain-20", 0)
    path = folder / "record.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(UserError, match=r"record\.json cannot be read .*: delete"):
        read_record(folder)
