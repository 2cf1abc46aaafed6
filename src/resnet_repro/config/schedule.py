"""The learning rate as a pure function of the step.

Set from outside a scheduler, a rate depends on what happened before; as a function it cannot forget to change back,
and a resumed run computes it like any other. The one thing that a run must remember is the step at which its warm-up
ended, where its recipe has one.
"""

from __future__ import annotations

from resnet_repro.config.arm import Recipe, WarmUp


def learning_rate(recipe: Recipe, iterations: int, step: int, warmed_up_at: int | None = None) -> float:
    """The rate with which step number `step` (counted from 0) of a budget of `iterations` steps is taken.

    Divided at each milestone, scaled from the published length to the budget: for 64,000 steps of He15's recipe
    0.1 up to step 31,999, 0.01 up to step 47,999, then 0.001 (He15 section 4.2).
    warmed_up_at: the first step after a warm-up that ends by an error, None while it lasts; other recipes ignore it.
    During a warm-up the rate is the warm-up's, or the schedule's where that is lower. The milestones do not move.
    """
    passed = sum(step * recipe.iterations >= milestone * iterations for milestone in recipe.milestones)
    rate = recipe.learning_rate / recipe.divide_by**passed
    warm_up = recipe.warm_up
    if warm_up is None:
        return rate
    ends = warmed_up_at if warm_up.steps is None else warm_up.steps
    return min(rate, warm_up.learning_rate) if ends is None or step < ends else rate


def ends_warm_up(warm_up: WarmUp | None, running_error: float, classes: int) -> bool:
    """Whether a reading of the running training error, in percent, ends the warm-up.

    He15 section 4.2: "until the training error is below 80 %". The running error is that of the batches as they were
    trained on, over a whole interval between readings: a hundredth of the budget, at most 100 steps.
    """
    if warm_up is None or warm_up.until_error is None:
        return False
    return running_error < warm_up_threshold(warm_up.until_error, classes)


def warm_up_threshold(until_error: float, classes: int) -> float:
    """The error in percent that ends a warm-up: the recipe's with ten classes, else the same part of guessing's error."""
    return until_error * ((1 - 1 / classes) / (1 - 1 / 10))
