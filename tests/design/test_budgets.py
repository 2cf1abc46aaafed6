"""Budgets: the names of their folders, their profiles, their Make commands."""

from __future__ import annotations

from typing import Any

import pytest

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR, IMPL_D
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.data.folders import IMAGENET
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.study.request import scaled_profile, select_arms


def test_each_budget_has_its_own_folder(degradation: Experiment) -> None:
    assert scaled_profile(degradation, "quick", None).name == "quick"
    assert scaled_profile(degradation, "quick", 391).name == "quick"
    quick = degradation.profile("quick")
    longer = scaled_profile(degradation, "quick", 2_000)
    assert (longer.name, longer.iterations, longer.evaluations) == ("2000it", 2_000, 4)
    assert scaled_profile(degradation, "paper", 8_000).evaluate_every(8_000) == 1_000
    assert [arm.name for arm in select_arms(degradation, quick, "resnet-20, plain-20")[0]] == ["plain-20", "resnet-20"]
    assert Budget.of(degradation, quick, "cifar10").folder == "quick"
    assert Budget.of(degradation, longer, "cifar100").folder == "2000it-cifar100"


@pytest.mark.parametrize(
    ("budget", "iterations", "dataset", "command_line"),
    [
        ("quick", 391, None, "make degradation"),
        ("paper", 64_000, None, "make degradation PROFILE=paper"),
        ("120it", 120, None, "make degradation ITERATIONS=120"),
        ("prefix34000-cifar100", 64_000, "cifar100", "make degradation PREFIX=34000 DATASET=cifar100"),
        ("120it-standin-tiny", 120, "standin-tiny", "make degradation ITERATIONS=120 DATASET=standin-tiny"),
        ("quick-imagenet", 474, "imagenet", "make transfer DATASET=path/to/imagenet"),
        ("quick-folders-imagenet", 474, "folders-imagenet", "make transfer DATASET=path/to/imagenet"),
        ("9it-96px-folders-my-own", 9, "folders-my-own", "make transfer ITERATIONS=9 RESOLUTION=96 DATASET=path/to/my-own"),
    ],
)  # fmt: skip
def test_profile_and_command_follow_from_the_name_of_a_budget(
    budget: str, iterations: int, dataset: str | None, command_line: str
) -> None:
    experiment = load_experiment(command_line.split()[1])
    parsed = Budget.parse(budget)
    profile = parsed.profile_of(experiment)
    assert profile and profile.iterations == iterations
    assert (parsed.profile_name, parsed.dataset) == (profile.name, dataset)
    assert parsed.command(experiment) == command_line


def test_unknown_name_has_no_profile(degradation: Experiment) -> None:
    assert Budget.parse("long").profile_of(degradation) is None


FOLDERS = ["folders-imagenet", "folders-my-cifar10", "folders-64px-folders-a", "folders-data"]


@pytest.mark.parametrize("dataset", [None, *CATALOGUE, IMAGENET, *FOLDERS])
@pytest.mark.parametrize("resolution", [None, 96])
@pytest.mark.parametrize("schedule", [{"profile": "quick"}, {"iterations": 2_000}, {"prefix": 34_000}])
def test_budget_is_parsed_from_the_name_of_its_folder(
    schedule: dict[str, Any], resolution: int | None, dataset: str | None
) -> None:
    budget = Budget(**schedule, resolution=resolution, dataset=dataset)
    assert Budget.parse(budget.folder) == budget


def test_every_profile_is_parsed_from_the_name_of_its_folder() -> None:
    for experiment in map(load_experiment, experiment_names()):
        for profile in experiment.profiles:
            for dataset in (experiment.dataset, *CATALOGUE, IMAGENET):
                budget = Budget.of(experiment, profile, dataset)
                assert Budget.parse(budget.folder).profile_of(experiment) == profile


def test_evaluations_fit_into_the_budget() -> None:
    assert Profile("paper", 64_000, (0,), evaluations=64).evaluate_every(64_000) == 1_000
    assert Profile("quick", 391, (0,), evaluations=3).evaluate_every(391) == 131
    assert Profile("tiny", 2, (0,), evaluations=3).evaluate_every(2) == 1


def test_length_of_an_arm_scales_the_profile() -> None:
    profile = Profile("quick", 391, (0,), evaluations=2)
    assert profile.steps(cifar_arm("plain", 20, HE15_CIFAR, length=2)) == 782
    assert profile.steps(cifar_arm("plain", 20, HE15_CIFAR, length=0)) == 0
    assert profile.evaluate_every(profile.steps(cifar_arm("plain", 20, HE15_CIFAR, length=0))) == 1
    own = Profile("paper", None, (0,), evaluations=50)
    assert [own.steps(cifar_arm("plain", 20, recipe)) for recipe in (HE15_CIFAR, IMPL_D)] == [64_000, 22_500]
