"""Diagnostic: test error when the images are shifted by a few pixels."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean

from torch import nn

from resnet_repro.diagnostics.diagnostic import Diagnostic, DiagnosticContext
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.tables import Table

DISTANCES = range(5)  # pixels
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))  # down, up, right, left


class Shifts(Diagnostic):
    """Test error of the finished network on images shifted by 0 to 4 pixels, mean over the four directions.

    Writes shifts.csv: one row per distance in pixels, with the error in percent. The diagnostics are shift_error, the mean
    error over distances of 1 to 4 pixels, and shift_loss, the same minus the error without a shift, in percentage points.
    """

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "shifts.csv", ("pixels", "error"))]

    def finish(self, net: nn.Module) -> dict[str, float]:
        errors = {distance: self._error(net, distance) for distance in DISTANCES}
        step = self.context.settings.stop_at
        self.tables[0].rewind(-1)  # an earlier attempt may have written it before it was killed
        self.tables[0].append({"iteration": step, "pixels": d, "error": error} for d, error in errors.items())
        return shift_diagnostics(errors)

    def _error(self, net: nn.Module, distance: int) -> float:
        context = self.context
        shifts = [(down * distance, right * distance) for down, right in DIRECTIONS] if distance else [(0, 0)]
        return mean(
            evaluate(net, context.data.batches("test", shift=shift), context.device, context.settings.precision).error
            for shift in shifts
        )


def shift_diagnostics(errors: Mapping[int, float]) -> dict[str, float]:
    """The diagnostics of `Shifts` from {pixels: error in percent}."""
    shifted = mean(error for distance, error in errors.items() if distance)
    return {"shift_error": shifted, "shift_loss": shifted - errors[0]}
