"""Whether an experiment, as it is declared today, would train a run of given settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from resnet_repro.config.settings import RunSettings, as_json
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment, Profile


def is_declared(experiment: Experiment, settings: RunSettings) -> bool:
    """Whether the experiment declares these settings for a seed and a data set of the user's choice.

    Schedules on class folders depend on their number of images, so there only the arm's name and network count.
    """
    arm = next((arm for arm in experiment.arms if arm.name == settings.arm.name), None)
    if arm is None:
        return False
    if settings.dataset not in CATALOGUE:
        return arm.model == settings.arm.model
    stored = as_json(settings)
    for profile in _profiles(experiment, settings.budget):
        iterations = profile.steps(arm)
        recipe = arm.recipe.at(profile.iterations or arm.recipe.iterations)
        today = replace(
            settings,
            arm=replace(arm, recipe=recipe),
            iterations=iterations,
            evaluate_every=profile.evaluate_every(iterations),
            stretch=profile.stretches.get(arm.name),
            resolution=profile.resolution,
            prefix=profile.prefix_of(arm),
            scored=profile.scored(arm),
        )
        if as_json(today) == stored:
            return True
    return False


def _profiles(experiment: Experiment, folder: str) -> Iterator[Profile]:
    """The profiles that have this folder's name. A scaled schedule may be one of any profile."""
    budget = Budget.parse(folder)
    if budget.iterations is None:
        profiles = [budget.profile_of(experiment)]
    else:
        profiles = [profile.scaled(budget.iterations) for profile in experiment.profiles]
        profiles = [profile.at(budget.resolution) if budget.resolution else profile for profile in profiles]
    yield from (profile for profile in profiles if profile is not None)
