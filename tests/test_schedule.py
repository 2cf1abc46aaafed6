"""The learning rate at named steps, and the arithmetic of budgets."""

from __future__ import annotations

import pytest

from resnet_repro.config.arm import WarmUp
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR, HE15_CIFAR_WARM_UP, IMPL_D
from resnet_repro.config.schedule import ends_warm_up, learning_rate
from resnet_repro.design.experiment import Profile
from resnet_repro.errors import UserError
from resnet_repro.parsing import parse_count, parse_seeds


@pytest.mark.parametrize(
    ("iterations", "step", "expected"),
    [
        (64_000, 0, 0.1),
        (64_000, 31_999, 0.1),
        (64_000, 32_000, 0.01),
        (64_000, 47_999, 0.01),
        (64_000, 48_000, 0.001),
        (64_000, 63_999, 0.001),
        (1_000, 499, 0.1),
        (1_000, 500, 0.01),
        (1_000, 749, 0.01),
        (1_000, 750, 0.001),
        (391, 195, 0.1),
        (391, 196, 0.01),
        (1, 0, 0.1),
    ],
)
def test_learning_rate_at_named_steps(iterations: int, step: int, expected: float) -> None:
    assert learning_rate(HE15_CIFAR, iterations, step) == expected


def test_the_recipe_is_the_published_one() -> None:
    recipe = HE15_CIFAR
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay, recipe.nesterov) == (128, 0.9, 1e-4, False)
    assert (recipe.iterations, recipe.milestones, recipe.padding, recipe.flip) == (64_000, (32_000, 48_000), 4, True)


@pytest.mark.parametrize(
    ("step", "warmed_up_at", "expected"),
    [
        (0, None, 0.01),
        (400, None, 0.01),
        (399, 400, 0.01),
        (400, 400, 0.1),  # switches back, and stays
        (31_999, 400, 0.1),
        (32_000, 400, 0.01),
        (48_000, 400, 0.001),
        (31_999, None, 0.01),  # a net that never comes under 80 %
        (32_000, None, 0.01),
        (48_000, None, 0.001),  # the schedule's rate where that is the lower one
        (47_999, 48_000, 0.01),
        (48_000, 48_000, 0.001),
    ],
)
def test_learning_rate_at_every_edge_of_the_warm_up(step: int, warmed_up_at: int | None, expected: float) -> None:
    assert learning_rate(HE15_CIFAR_WARM_UP, 64_000, step, warmed_up_at) == expected


def test_a_recipe_without_warm_up_knows_none() -> None:
    assert learning_rate(HE15_CIFAR, 64_000, 0, None) == 0.1
    assert not ends_warm_up(HE15_CIFAR.warm_up, 0.0, 10)


def test_the_warm_up_ends_under_80_percent() -> None:
    assert HE15_CIFAR_WARM_UP.warm_up == WarmUp(learning_rate=0.01, until_error=80.0)
    assert not ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 80.0, 10)
    assert ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 79.99, 10)


def test_with_a_hundred_classes_it_ends_at_the_same_part_of_the_error_of_guessing() -> None:
    assert not ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 88.01, 100)
    assert ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 87.99, 100)


def test_impl_ds_recipe_is_to_the_letter() -> None:
    recipe = IMPL_D
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ("adam", 0.005, 100)
    assert recipe.iterations == 50 * (50_000 - recipe.validation_images) // recipe.batch_size
    assert (recipe.validation_images, recipe.padding, recipe.flip, recipe.weight_decay) == (10_000, 0, False, 0.0)
    assert {learning_rate(recipe, 20_000, step) for step in (0, 10_000, 19_999)} == {0.005}


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


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0,1,2", (0, 1, 2)), ("0-4", (0, 1, 2, 3, 4)), ("7,0-1,1", (0, 1, 7))]
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "3-1", "1,,2", "1.5", "0-99999", "²", "99999999999"])
def test_malformed_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="SEEDS"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["0", "-5", "ten", "", "1.5", "1e3"])
def test_malformed_counts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="ITERATIONS"):
        parse_count(text, "ITERATIONS")


@pytest.mark.parametrize(
    ("text", "name"),
    [("1000000001", "ITERATIONS"), ("9" * 5_000, "ITERATIONS"), ("1001", "SLOTS"), ("9" * 30, "THREADS")],
)
def test_counts_that_nobody_means_are_refused(text: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}='9?.{{0,60}} is too large: [\d,]+ at most$"):
        parse_count(text, name)
    assert parse_count("1_000_000_000", "ITERATIONS") == 10**9


@pytest.mark.parametrize("text", ["9" * 5_000, f"0-{'9' * 5_000}", "x" * 5_000])
def test_seeds_that_nobody_means_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^SEEDS='.{0,140}$"):
        parse_seeds(text)
