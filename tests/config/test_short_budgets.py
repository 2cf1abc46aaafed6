"""Changes in budgets below the published one: a warm-up, and fewer images to score."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import QUARTER, cli, make_settings, prepare_run
from made_records import make_record
from trained_runs import run_here

from resnet_repro.config.arm import Arm, Recipe, WarmUp
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR, HE15_CIFAR_WARM_UP, IMPL_D
from resnet_repro.config.schedule import learning_rate
from resnet_repro.config.settings import Scored
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.design.registry import load_experiment
from resnet_repro.records.record import collect, only_trained, read_record
from resnet_repro.report.content import build_content
from resnet_repro.tables import read_rows


def recipe_at(arm: Arm, profile: Profile) -> Recipe:
    """The recipe of an arm in a profile."""
    return arm.recipe.at(profile.iterations or arm.recipe.iterations)


@pytest.mark.parametrize(
    ("iterations", "step", "expected"),
    [
        (391, 0, 0.01),
        (391, 293, 0.01),
        (391, 294, 0.001),  # the schedule's rate is the lower one
        (8_000, 399, 0.01),
        (8_000, 400, 0.1),  # at any training error
        (8_000, 3_999, 0.1),
        (8_000, 4_000, 0.01),
        (64_000, 0, 0.1),  # the published schedule starts at the full rate
    ],
)
@pytest.mark.parametrize("warmed_up_at", [None, 20])
def test_compressed_schedules_start_with_a_warm_up(
    iterations: int, step: int, expected: float, warmed_up_at: int | None
) -> None:
    assert learning_rate(HE15_CIFAR.at(iterations), iterations, step, warmed_up_at) == expected


def test_all_arms_share_the_warm_up_of_compressed_schedules() -> None:
    for name in ("degradation", "depth", "shortcuts"):
        experiment = load_experiment(name)
        quick = {recipe_at(arm, experiment.profile("quick")).warm_up for arm in experiment.arms}
        assert quick == {WarmUp(0.01, steps=400)}
        assert {recipe_at(arm, experiment.profile("quick").scaled(8_000)).name for arm in experiment.arms} == {
            "he15-cifar compressed"
        }
        for profile in (experiment.profile("paper"), experiment.prefix(34_000)):
            deep = {arm.name for arm in experiment.arms if recipe_at(arm, profile).warm_up}
            assert deep == {arm.name for arm in experiment.arms if arm.recipe == HE15_CIFAR_WARM_UP}, "as published"
    assert HE15_CIFAR_WARM_UP.at(64_000).warm_up == WarmUp(0.01, until_error=80.0)


def test_experiments_about_the_published_rate_keep_it() -> None:
    for name in ("construction", "normalization"):
        experiment = load_experiment(name)
        assert {recipe_at(arm, experiment.profile("quick")).warm_up for arm in experiment.arms} == {None}
    assert IMPL_D.at(400) == IMPL_D, "recipes of other sources keep their rate"


def test_published_recipe_does_not_depend_on_the_experiment(degradation: Experiment) -> None:
    """Otherwise plain-20 would be trained again for construction."""
    construction, paper = load_experiment("construction"), degradation.profile("paper")
    assert recipe_at(degradation.arm("plain-20"), paper) == recipe_at(construction.arm("plain-20"), paper)


def test_common_arms_of_quick_profiles_are_the_same_runs(degradation: Experiment) -> None:
    quick = degradation.profile("quick")
    for name in ("depth", "shortcuts"):
        other = load_experiment(name)
        other_quick = other.profile("quick")
        common = {arm.name for arm in degradation.arms} & {arm.name for arm in other.arms}
        assert {"resnet-20", "resnet-56"} <= common
        for arm in common:
            assert degradation.arm(arm) == other.arm(arm)
            steps, other_steps = quick.steps(degradation.arm(arm)), other_quick.steps(other.arm(arm))
            assert quick.evaluate_every(steps) == other_quick.evaluate_every(other_steps)
            assert steps == other_steps


@pytest.mark.parametrize("ends", [{}, {"until_error": 80.0, "steps": 400}])
def test_warm_up_needs_exactly_one_end(ends: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="until_error or steps"):
        WarmUp(0.01, **ends)  # type: ignore[arg-type]


def test_report_describes_the_warm_up(degradation: Experiment, tmp_path: Path) -> None:
    arm = degradation.arm("plain-20")
    arm = replace(arm, recipe=arm.recipe.at(391))
    make_record(tmp_path, replace(degradation, arms=[arm]), "plain-20", 0, budget="quick", iterations=391)
    content = build_content(degradation, "quick", collect(tmp_path, "degradation", "quick"), [], {}, [])
    assert re.search(r"0\.01 .*400 steps", content["summary"])
    (banner,) = (text for text in content["banners"] if text.startswith("SHORT BUDGET"))
    assert re.search(r"all steps .*at most 0\.01", banner)


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [
        (1, Scored(500, 500, 500)),
        (2, Scored(500, 500, 500)),
        (196, Scored(1_000, 5_000, 10_000)),
        (391, Scored(2_000, 10_000, 20_000)),  # 20,000: all 10,000 test images
        (1_999, Scored(10_000, 50_000, 100_000)),
        (2_000, None),
        (64_000, None),
    ],
)
def test_number_of_scored_images_grows_with_the_budget(iterations: int, expected: Scored | None) -> None:
    arm = cifar_arm("plain", 20, HE15_CIFAR)
    assert Profile("p", iterations, (0,), evaluations=4).scored(arm) == expected


def test_published_budget_scores_all_images_even_if_short(degradation: Experiment) -> None:
    transfer = load_experiment("transfer")
    published = {
        arm.name: transfer.profile("paper").scored(arm) for arm in transfer.arms if arm.recipe.iterations == 790
    }
    assert published and set(published.values()) == {None}
    assert degradation.prefix(200).scored(degradation.arms[0]) is None, "prefixes are scored like the whole schedule"


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_untrained_networks_are_scored_on_few_images_unless_they_are_built_from_trained_ones(profile: str) -> None:
    for name, untrained in (("gradients", "plain-56-untrained"), ("features", "plain-56-untrained")):
        experiment = load_experiment(name)
        assert experiment.profile(profile).scored(experiment.arm(untrained)) == Scored(500, 500, 500)
    construction = load_experiment("construction")
    assert construction.profile("paper").scored(construction.arm("plain-56-built")) is None


def test_longer_schedules_on_class_folders_score_all_images() -> None:
    transfer = load_experiment("transfer")
    arm = next(arm for arm in transfer.arms if arm.recipe.iterations == 790)
    quick = transfer.profile("quick")
    assert quick.scored(arm) == Scored(2_500, 12_000, 24_000)
    assert quick.scored(arm, factor=782 / 79) is None, "100,000 images instead of 10,000"


def test_scoring_costs_a_small_part_of_a_quick_run(degradation: Experiment) -> None:
    """Costs are counted in forward passes. A training step counts as three passes per image."""
    profile = degradation.profile("quick")
    arm = degradation.arm("plain-56")
    scored, steps = profile.scored(arm), profile.steps(arm)
    assert scored is not None
    evaluations = steps // profile.evaluate_every(steps)
    passes = evaluations * 2 * scored.along + scored.train + min(scored.test, 10_000)
    assert passes < 0.25 * 3 * steps * arm.recipe.batch_size


def test_record_contains_the_numbers_of_scored_images(tiny_data: Path, tmp_path: Path) -> None:
    settings = make_settings(tiny_data, 6, evaluate_every=2, scored=Scored(along=40, train=70, test=90))
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    record = read_record(folder)
    assert (record.final["train_images"], record.final["test_images"]) == (70, 90)
    rows = {int(row["iteration"]): row for row in read_rows(folder / "metrics.csv") if row["test_error"]}
    assert {step: (row["train_images"], row["test_images"]) for step, row in rows.items()} == {
        2: ("40", "40"),
        4: ("40", "40"),
        6: ("70", "90"),
    }
    best = record.best
    assert (best["iteration"], best["test_images"]) == (6, 90), "the best among scores on the most images"
    held_out = replace(QUARTER, validation_images=50)
    settings = make_settings(
        tiny_data, 2, cifar_arm("plain", 8, held_out), evaluate_every=1, scored=Scored(20, 30, 25), budget="held-out"
    )
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    step = read_rows(folder / "metrics.csv")[0]
    assert round(float(step["validation_error"]) * 20 / 100, 6).is_integer(), "a multiple of 1/20"


@pytest.mark.slow
def test_runs_of_two_steps_score_few_images(tiny_data: Path, quartered: Path, tmp_path: Path) -> None:
    process = cli(
        "run", "degradation", "--dataset", "standin-tiny", "--iterations", "2", "--arms", "plain-20", "--data-dir",
        tiny_data, "--runs-dir", tmp_path, "--no-report", cwd=quartered,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (record,) = only_trained(collect(tmp_path, "degradation", "2it-standin-tiny"))
    assert record.settings.scored == Scored(500, 500, 500)
    assert record.settings.arm.recipe.warm_up == WarmUp(0.01, steps=400)
