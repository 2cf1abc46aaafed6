"""The learning rate as a pure function of the step.

Set from outside a scheduler, a rate depends on what happened before; as a function it cannot forget to change back,
and a resumed run computes it like any other.
"""

from __future__ import annotations

from resnet_repro.experiment import Recipe


def learning_rate(recipe: Recipe, iterations: int, step: int) -> float:
    """The rate with which step number `step` (counted from 0) of a budget of `iterations` steps is taken.

    Divided at each milestone, scaled from the published length to the budget: for 64,000 steps of He15's recipe
    0.1 up to step 31,999, 0.01 up to step 47,999, then 0.001 (He15 section 4.2).
    """
    passed = sum(step * recipe.iterations >= milestone * iterations for milestone in recipe.milestones)
    return recipe.learning_rate / recipe.divide_by**passed
