"""Profiles: where runs are evaluated, and how long each arm is trained."""

from __future__ import annotations

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR, IMPL_D
from resnet_repro.design.experiment import Profile


def test_evaluations_lie_inside_the_budget() -> None:
    assert Profile("paper", 64_000, (0,), evaluations=64).evaluate_every(64_000) == 1_000
    assert Profile("quick", 391, (0,), evaluations=3).evaluate_every(391) == 131
    assert Profile("tiny", 2, (0,), evaluations=3).evaluate_every(2) == 1


def test_an_arm_has_its_own_length() -> None:
    profile = Profile("quick", 391, (0,), evaluations=2)
    assert profile.steps(cifar_arm("plain", 20, HE15_CIFAR, length=2)) == 782
    assert profile.steps(cifar_arm("plain", 20, HE15_CIFAR, length=0)) == 0
    assert profile.evaluate_every(profile.steps(cifar_arm("plain", 20, HE15_CIFAR, length=0))) == 1
    own = Profile("paper", None, (0,), evaluations=50)
    assert [own.steps(cifar_arm("plain", 20, recipe)) for recipe in (HE15_CIFAR, IMPL_D)] == [64_000, 20_000]
