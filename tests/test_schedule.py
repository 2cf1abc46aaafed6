"""The learning rate at named steps, and the arithmetic of budgets."""

from __future__ import annotations

import pytest

from resnet_repro.errors import UserError
from resnet_repro.experiment import Profile, parse_count, parse_seeds
from resnet_repro.recipes import HE15_CIFAR
from resnet_repro.training.schedule import learning_rate


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


def test_evaluations_lie_inside_the_budget() -> None:
    assert Profile("paper", 64_000, (0,), evaluations=64).evaluate_every == 1_000
    assert Profile("quick", 391, (0,), evaluations=3).evaluate_every == 131
    assert Profile("tiny", 2, (0,), evaluations=3).evaluate_every == 1


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
