"""Names of budgets, and the commands that they stand for."""

from __future__ import annotations

import pytest

from resnet_repro.design.budgets import budget_name, command, profile_of
from resnet_repro.design.experiment import Experiment
from resnet_repro.study.request import scaled_profile, select_arms


def test_budgets_have_folders_of_their_own(degradation: Experiment) -> None:
    assert scaled_profile(degradation, "quick", None).name == "quick"
    assert scaled_profile(degradation, "quick", 391).name == "quick"
    quick = degradation.profile("quick")
    longer = scaled_profile(degradation, "quick", 2_000)
    assert (longer.name, longer.iterations, longer.evaluations) == ("2000it", 2_000, 4)
    assert scaled_profile(degradation, "paper", 8_000).evaluate_every(8_000) == 1_000
    assert [arm.name for arm in select_arms(degradation, quick, "resnet-20, plain-20")] == ["plain-20", "resnet-20"]
    assert budget_name(degradation, quick, "cifar10") == "quick"
    assert budget_name(degradation, longer, "cifar100") == "2000it-cifar100"


@pytest.mark.parametrize(
    ("budget", "iterations", "command_line"),
    [
        ("quick", 391, "make degradation"),
        ("paper", 64_000, "make degradation PROFILE=paper"),
        ("120it", 120, "make degradation ITERATIONS=120"),
        ("quick-cifar100", 391, "make degradation DATASET=cifar100"),
        ("120it-standin-tiny", 120, "make degradation ITERATIONS=120 DATASET=standin-tiny"),
    ],
)
def test_a_budgets_name_tells_its_profile_and_its_command(
    budget: str, iterations: int, command_line: str, degradation: Experiment
) -> None:
    profile = profile_of(degradation, budget)
    assert profile is not None
    assert profile.iterations == iterations
    assert command(degradation, budget) == command_line
    assert profile_of(degradation, "long") is None
