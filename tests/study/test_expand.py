"""Expansion of requests: class folders, resolutions, recipes; selection of reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_records import make_record

from resnet_repro.cli import main
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.data.open_data import LocatedDataset
from resnet_repro.design.budgets import Budget
from resnet_repro.design.registry import load_experiment
from resnet_repro.study.execute import Study
from resnet_repro.study.expand import expand
from resnet_repro.study.request import Request, at_resolution, scaled_profile


def test_resolution_appears_in_the_name_of_profile_and_budget() -> None:
    experiment = load_experiment("transfer")
    quick = experiment.profile("quick")
    assert at_resolution(experiment, scaled_profile(experiment, "quick", None), 64) == quick
    resized = at_resolution(experiment, scaled_profile(experiment, "quick", 100), 96)
    assert (resized.name, resized.resolution, resized.iterations) == ("100it-96px", 96, 100)
    budget = Budget.parse("100it-96px-folders-my-flowers")
    assert budget.profile_of(experiment) == replace(resized, seeds=())
    assert Budget.parse("quick-96px").profile_of(experiment) == quick.at(96)
    assert budget.command(experiment) == "make transfer ITERATIONS=100 RESOLUTION=96 DATASET=path/to/my-flowers"


def request_for(words: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    """The request of `resnet-repro run` with these arguments, without running it."""
    requests: list[Request] = []

    def store(request: Request, *_: object) -> Study:
        requests.append(request)
        return Study("", [])

    monkeypatch.setattr("resnet_repro.study.execute.carry_out", store)
    assert main(["run", *words.split()]) == 0
    return requests[0]


@pytest.mark.parametrize(
    ("words", "name", "images", "iterations", "published"),
    [
        ("--profile paper", "folders-flowers", 1_000, 360, (360, 120, 240)),  # 90 epochs of four steps
        ("--profile paper", "folders-flowers", 20, 90, (90, 30, 60)),
        ("--profile paper", "imagenet", 1_281_167, 450_450, (450_450, 150_150, 300_300)),
        ("--profile paper", "cifar10", 50_000, 450_450, (450_450, 150_150, 300_300)),
        ("--profile paper --iterations 100", "folders-flowers", 1_000, 100, (360, 120, 240)),
        ("--profile quick", "folders-flowers", 1_000, 196, (360, 120, 240)),
    ],
)
def test_class_folders_are_trained_for_the_published_number_of_epochs(
    words: str, name: str, images: int, iterations: int, published: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(f"plain-vs-resnet --arms resnet-34 --seeds 0 {words}", monkeypatch)
    facts = DatasetFacts(name, "some images", ("a", "b"), (3, 224, 224), images, 10, {})
    (settings,) = expand(request, "some", {"resnet-34": LocatedDataset(facts, "0" * 64, Path("images"))}, "fp32", "cpu")
    recipe = settings.arm.recipe
    assert settings.iterations == iterations
    assert (recipe.iterations, *recipe.milestones) == published
    assert ("as many epochs" in recipe.name) is (name == "folders-flowers")
    if words == "--profile paper":
        assert settings.evaluate_every * 90 == settings.iterations, "once an epoch"


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ("plain-vs-resnet", "paper"),
        ("plain-vs-resnet --dataset somewhere/imagenet", "paper"),
        ("plain-vs-resnet --dataset imagenet", "paper"),
        ("plain-vs-resnet --dataset {imagenet}", "paper"),
        ("transfer --dataset {imagenet}", "quick-imagenet"),
        ("transfer --dataset somewhere/flowers", "quick-96px-folders-flowers"),
        ("transfer", "paper"),
        ("transfer --resolution 64", "quick"),
        ("transfer --resolution 96", "quick-96px"),
        ("transfer --resolution 96 --profile quick", "quick-96px"),
        ("transfer --resolution 64 --profile quick", "quick"),
        ("transfer --resolution 96 --iterations 100", "100it-96px"),
        ("transfer --resolution 96 --dataset somewhere/flowers", "quick-96px-folders-flowers"),
        ("plain-vs-resnet transfer --resolution 224", "paper"),
    ],
)
def test_reports_are_selected_by_resolution_and_by_path_of_class_folders(
    words: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for experiment, budget, iterations in (
        ("plain-vs-resnet", "paper", 450_450),
        ("plain-vs-resnet", "quick-cifar10", 196),
        ("transfer", "paper", 790),
        ("transfer", "quick", 474),
        ("transfer", "quick-96px", 474),
        ("transfer", "100it-96px", 100),
        ("transfer", "quick-imagenet", 474),
        ("transfer", "quick-96px-folders-flowers", 474),
    ):
        arm = "resnet-34" if experiment == "plain-vs-resnet" else "from-scratch"
        make_record(tmp_path / "runs", load_experiment(experiment), arm, 0, budget, iterations)
    imagenet = tmp_path / "ilsvrc"
    if "{imagenet}" in words:
        for index in range(1_000):
            (imagenet / "train" / f"n{index:08}").mkdir(parents=True)
    written: list[str] = []
    monkeypatch.setattr(
        "resnet_repro.commands.reports.write_one", lambda name, budget, *_, **__: written.append(budget)
    )
    assert main(["report", *words.format(imagenet=imagenet).split(), "--runs-dir", str(tmp_path / "runs")]) == 0
    assert set(written) == {chosen}


def test_resolution_without_runs_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    make_record(tmp_path, load_experiment("degradation"), "plain-20", 0)
    for words in ("degradation --resolution 96", "degradation --resolution 96 --profile paper"):
        assert main(["report", *words.split(), "--runs-dir", str(tmp_path)]) == 2
        assert (
            "no finished runs of degradation with this PROFILE, ITERATIONS, PREFIX, RESOLUTION"
            in capfd.readouterr().err
        )


def test_an_arm_with_a_precision_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"original-as-written": "fp32", "preact-110": "bf16"}
    request = request_for(f"block --arms {','.join(arms)} --seeds 0 --profile paper", monkeypatch)
    facts = DatasetFacts("cifar10", "some images", ("a", "b"), (3, 32, 32), 50_000, 10_000, {})
    located = LocatedDataset(facts, "0" * 64, Path("images"))
    settings = expand(request, "paper", dict.fromkeys(arms, located), "bf16", "cpu")
    assert {each.arm.name: each.precision for each in settings} == arms
