"""Learning curves and layer responses beside the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_records import CIFAR100, TEST_ERROR, content_of, make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.figures.curves import error_curves
from resnet_repro.figures.figure import Context
from resnet_repro.figures.published import ImplDCurves
from resnet_repro.figures.style import PAPER_GREY
from resnet_repro.records.record import collect, only_trained
from resnet_repro.tables import Table


def _lines(experiment: Experiment, runs: Path, budget: str, iterations: int) -> tuple[int, list]:
    spec = experiment.figures[0]
    drawn = spec.draw(Context(only_trained(collect(runs, experiment.name, budget)), iterations))
    assert drawn is not None
    figure = drawn.figure
    return len(figure.axes), [line for ax in figure.axes for line in ax.get_lines()]


def test_published_curves_are_grey_behind_ours_at_equal_budgets(degradation: Experiment, paper_runs: Path) -> None:
    panels, lines = _lines(degradation, paper_runs, "paper", 64_000)
    grey = [line for line in lines if line.get_color() == PAPER_GREY]
    assert panels == 2
    assert len(grey) == 8  # training and test error of four nets
    assert {line.get_label() for line in grey} >= {"He15 plain-56 test", "He15 resnet-20 train"}
    assert all(line.get_zorder() < 2 for line in grey)
    # Of each net: training and test error of all seeds, in one line each, and of their mean.
    assert len(lines) - len(grey) == 4 * 2 * 2


def test_published_responses_are_behind_ours_after_full_training(
    degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    (spec,) = [spec for spec in degradation.figures if spec.name == "layer_responses"]
    make_record(tmp_path / "short", degradation, "plain-20", 0, "quick", 391)
    for runs, budget, iterations, panels in ((paper_runs, "paper", 64_000, 2), (tmp_path / "short", "quick", 391, 4)):
        drawn = spec.draw(Context(only_trained(collect(runs, "degradation", budget)), iterations))
        assert drawn is not None
        axes = drawn[0].axes
        assert len(axes) == panels
        grey = {str(line.get_label()) for line in axes[0].get_lines() if line.get_color() == PAPER_GREY}
        assert grey == ({f"He15 {name}" for name in TEST_ERROR if name != "plain-56-no-bn"} if panels == 2 else set())
        assert ("scales differ" in drawn[1]) == (panels == 4)


def test_published_curves_get_separate_panels_at_other_budgets(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, "quick", 391)
    panels, lines = _lines(degradation, tmp_path, "quick", 391)
    assert panels == 2  # only plain nets have runs: our panel, and the published one below
    assert not [line for line in lines if line.get_color() == PAPER_GREY]
    published = next(line for line in lines if line.get_label() == "He15 plain-20 test")
    assert max(published.get_xdata()) > 60_000


def test_third_group_of_arms_is_in_the_second_row(degradation: Experiment, paper_runs: Path) -> None:
    groups = {arm.name: [arm] for arm in degradation.arms if not arm.control}
    drawn = error_curves(groups).draw(Context(only_trained(collect(paper_runs, "degradation", "paper")), 64_000))
    assert drawn is not None
    for name, ax in zip(groups, drawn[0].axes, strict=True):
        assert ax.get_title() == f"{name} (grey: He15)"
        assert f"{name} test" in {line.get_label() for line in ax.get_lines()}


def test_published_values_are_hidden_on_other_data(degradation: Experiment, tmp_path: Path) -> None:
    for arm in ("plain-20", "plain-56", "resnet-20"):
        make_record(tmp_path, degradation, arm, 0, "quick-cifar100", 391, dataset=CIFAR100)
    content = content_of(degradation, tmp_path, "quick-cifar100")
    assert content["banners"][0].startswith("OTHER DATA SET. These nets were trained on CIFAR-100")
    assert "published" not in content["results"][0]["header"]
    assert "Published" not in content["results"][0]["caption"]
    assert "9.69" not in str(content["results"])
    verdicts = {claim["name"]: claim["verdict"] for claim in content["claims"]}
    assert (verdicts["D1"], verdicts["D3"]) == ("seen once", "not tested")
    records = only_trained(collect(tmp_path, "degradation", "quick-cifar100"))
    for spec in degradation.figures:
        drawn = spec.draw(Context(records, 391, published=False))
        assert drawn is not None
        labels = [line.get_label() for ax in drawn[0].axes for line in ax.get_lines()]
        assert labels
        assert not any(str(label).startswith("He15") for label in labels), spec.name
        assert "He15" not in drawn[1]


@pytest.mark.parametrize(("budget", "iterations", "is_behind"), [("paper", 22_500, True), ("quick", 450, False)])
def test_impl_d_is_laid_under_our_losses(budget: str, iterations: int, is_behind: bool, tmp_path: Path) -> None:
    block = load_experiment("block")
    for arm in ("original-as-written", "plain-as-written", "original-corrected"):
        folder = make_record(tmp_path, block, arm, 0, budget, iterations)
        table = Table(folder / "metrics.csv", ("train_loss", "validation_loss"))
        table.rewind(-1)
        table.append(
            {"iteration": step, "train_loss": 1.0, "validation_loss": 2.0} for step in (iterations // 2, iterations)
        )
    (spec,) = [spec for spec in block.figures if spec.name == "losses"]
    drawn = spec.draw(Context(only_trained(collect(tmp_path, "block", budget)), iterations))
    assert drawn is not None
    figure, caption, _ = drawn
    lines = [line for ax in figure.axes for line in ax.get_lines() if str(line.get_label()).startswith("impl-D")]
    nets = ("original-as-written", "plain-as-written")
    assert {line.get_label() for line in lines} == {
        f"impl-D {net} {split}" for net in nets for split in ("train", "validation")
    }
    assert all((line.get_color() == PAPER_GREY) == is_behind for line in lines)
    assert all(line.get_xdata()[-1] == 22_500 for line in lines)  # type: ignore[index]
    assert {ax.get_yscale() for ax in figure.axes} == {"log"}
    assert len([ax for ax in figure.axes if ax.get_visible()]) == (2 if is_behind else 3)
    assert "the curves of impl-D" in caption
    first = next(line for line in lines if line.get_label() == "impl-D original-as-written train")
    assert first.get_ydata()[0] == pytest.approx(1.815489)  # type: ignore[index]


def test_impl_ds_errors_are_those_of_its_accuracies() -> None:
    epochs, errors = ImplDCurves("error").curves("preact-as-written")["validation"]
    assert (len(epochs), epochs[0], epochs[-1]) == (50, 450, 22_500)
    assert errors[0] == pytest.approx(63.8)
    assert errors[-1] == pytest.approx(31.82)
    assert ImplDCurves("error").curves("preact-corrected") == {}
