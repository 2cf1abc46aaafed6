"""The learning rate at given steps, and the end of warm-ups."""

from __future__ import annotations

import pytest

from resnet_repro.config.arm import WarmUp
from resnet_repro.config.recipes import HE15_CIFAR, HE15_CIFAR_WARM_UP, IMPL_D
from resnet_repro.config.schedule import ends_warm_up, learning_rate


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
def test_learning_rate_is_divided_at_scaled_milestones(iterations: int, step: int, expected: float) -> None:
    assert learning_rate(HE15_CIFAR, iterations, step) == expected


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
        (31_999, None, 0.01),  # a net that never gets below 80 %
        (32_000, None, 0.01),
        (48_000, None, 0.001),  # the schedule's rate is the lower one
        (47_999, 48_000, 0.01),
        (48_000, 48_000, 0.001),
    ],
)
def test_learning_rate_around_the_end_of_the_warm_up(step: int, warmed_up_at: int | None, expected: float) -> None:
    assert learning_rate(HE15_CIFAR_WARM_UP, 64_000, step, warmed_up_at) == expected


def test_recipe_without_warm_up_starts_at_the_full_rate() -> None:
    assert learning_rate(HE15_CIFAR, 64_000, 0, None) == 0.1
    assert not ends_warm_up(HE15_CIFAR.warm_up, 0.0, 10)


def test_warm_up_ends_below_80_percent() -> None:
    assert HE15_CIFAR_WARM_UP.warm_up == WarmUp(learning_rate=0.01, until_error=80.0)
    assert not ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 80.0, 10)
    assert ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 79.99, 10)


def test_warm_up_threshold_scales_with_chance_level() -> None:
    assert not ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 88.01, 100)
    assert ends_warm_up(HE15_CIFAR_WARM_UP.warm_up, 87.99, 100)


def test_impl_d_has_a_constant_rate_for_fifty_epochs() -> None:
    assert IMPL_D.iterations == 50 * (50_000 - IMPL_D.validation_images) // IMPL_D.batch_size
    assert {learning_rate(IMPL_D, 22_500, step) for step in (0, 10_000, 22_499)} == {0.003}
