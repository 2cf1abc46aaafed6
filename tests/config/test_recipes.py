"""Recipes are the published ones, to the letter."""

from __future__ import annotations

from resnet_repro.config.recipes import HE15_CIFAR, IMPL_D
from resnet_repro.config.schedule import learning_rate


def test_the_recipe_is_the_published_one() -> None:
    recipe = HE15_CIFAR
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay, recipe.nesterov) == (128, 0.9, 1e-4, False)
    assert (recipe.iterations, recipe.milestones, recipe.padding, recipe.flip) == (64_000, (32_000, 48_000), 4, True)


def test_impl_ds_recipe_is_to_the_letter() -> None:
    recipe = IMPL_D
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ("adam", 0.005, 100)
    assert recipe.iterations == 50 * (50_000 - recipe.validation_images) // recipe.batch_size
    assert (recipe.validation_images, recipe.padding, recipe.flip, recipe.weight_decay) == (10_000, 0, False, 0.0)
    assert {learning_rate(recipe, 20_000, step) for step in (0, 10_000, 19_999)} == {0.005}
