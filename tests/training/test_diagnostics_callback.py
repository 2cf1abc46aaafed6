"""The steps at which diagnostics are taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from resnet_repro.training.diagnostics_callback import DiagnosticsCallback


class Noting:
    def __init__(self, early: tuple[int, ...] = (), only_early: bool = False) -> None:
        self.early, self.only_early, self.steps = early, only_early, list[int]()

    def along(self, net: object, step: int) -> None:
        self.steps.append(step)


def test_diagnostics_are_taken_regularly_and_at_their_early_steps() -> None:
    usual, early, costly = Noting(), Noting((1, 10, 100)), Noting((1, 10, 100), only_early=True)
    monitor = SimpleNamespace(exclude=lambda seconds: None)
    diagnostics = cast(dict[str, Any], {"usual": usual, "early": early, "costly": costly})
    callback = DiagnosticsCallback(diagnostics, cast(Any, monitor), iterations=100)
    for step in range(21):
        callback._along(cast(Any, SimpleNamespace(net=None)), step)
    assert usual.steps == [0, 5, 10, 15, 20]
    assert early.steps == [0, 1, 5, 10, 15, 20]
    assert costly.steps == [0, 1, 10]
