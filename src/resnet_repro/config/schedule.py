"""The learning rate as a pure function of the step.

A stateful scheduler depends on the steps before. A function of the step has no state to save, so a resumed run computes
the same rate. The only value that a run must store is the step at which a warm-up by error ended.
"""

from __future__ import annotations

from resnet_repro.config.arm import Recipe, WarmUp


def learning_rate(recipe: Recipe, iterations: int, step: int, warmed_up_at: int | None = None) -> float:
    """The rate of step `step` (from 0) in a budget of `iterations` steps.

    The rate is divided at each milestone, scaled from the published length to the budget. For 64,000 steps of He15's
    recipe it is 0.1 until step 31,999, 0.01 until step 47,999, then 0.001 (He15 section 4.2). During a warm-up it is the
    lower of the warm-up's rate and the schedule's. The warm-up does not shift the milestones.
    warmed_up_at: first step after a warm-up by error; None during the warm-up. Ignored by other recipes.
    """
    passed = sum(step * recipe.iterations >= milestone * iterations for milestone in recipe.milestones)
    rate = recipe.learning_rate / recipe.divide_by**passed
    warm_up = recipe.warm_up
    if warm_up is None:
        return rate
    ends = warmed_up_at if warm_up.steps is None else warm_up.steps
    return min(rate, warm_up.learning_rate) if ends is None or step < ends else rate


def ends_warm_up(warm_up: WarmUp | None, running_error: float, classes: int) -> bool:
    """Whether a running training error, in percent, ends the warm-up.

    He15 section 4.2: "until the training error is below 80 %". The running error is the mean over the training batches
    of one logging interval: a hundredth of the budget, at most 100 steps.
    """
    if warm_up is None or warm_up.until_error is None:
        return False
    return running_error < warm_up_threshold(warm_up.until_error, classes)


def warm_up_threshold(until_error: float, classes: int) -> float:
    """The error in percent that ends a warm-up: `until_error` for ten classes, else the same fraction of chance level."""
    return until_error * ((1 - 1 / classes) / (1 - 1 / 10))
