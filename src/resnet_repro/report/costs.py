"""Operations and energy of runs, added up: what was counted or measured, and what is estimated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resnet_repro.hardware import stated_watts
from resnet_repro.records.record import AnyRecord, Record, only_trained
from resnet_repro.records.reuse import continues

OPERATIONS = (("PFLOP", 1e15), ("TFLOP", 1e12))
ENERGIES = (("kWh", 3.6e6), ("Wh", 3.6e3))
SMALLEST = 1e-3  # of the larger unit; below, the smaller one is used
ASSUMED_PASSES = 3  # a backward pass is taken for two forward passes in records without a count


@dataclass(frozen=True)
class Costs:
    """The sums over some runs."""

    runs: int
    seconds: float
    counted: float
    """Floating-point operations of the training steps that records have counted."""
    assumed: float
    """Those of older records: multiply-adds of a forward pass, times two, three passes and the images."""
    measured: float
    """Joules that counters of the hardware measured."""
    estimated: float
    """Joules by stated power and time."""
    watts: tuple[float, ...]
    """The stated powers behind `estimated`, without those that records name."""

    @property
    def operations(self) -> str:
        """The operations in words, e.g. "12.3 PFLOP", with "about" if some were assumed."""
        total = self.counted + self.assumed
        return f"{'about ' if self.assumed else ''}{_amount(total, OPERATIONS)}" if total else "–"

    @property
    def energy(self) -> str:
        """The energy in words, e.g. "0.12 kWh measured, 0.30 kWh estimated"."""
        parts = ((self.measured, "measured"), (self.estimated, "estimated"))
        return ", ".join(f"{_amount(joules, ENERGIES)} {how}" for joules, how in parts if joules) or "–"


def costs_of(records: Iterable[AnyRecord]) -> Costs:
    """Add up the costs of runs. Skipped runs and counted networks have none."""
    runs = [record for record in only_trained(records) if record.status != "skipped"]
    old = [record for record in runs if record.energy is None]
    powers = {record.folder: _watts(record) for record in old}
    return Costs(
        runs=len(runs),
        seconds=sum(record.seconds for record in runs),
        counted=sum(record.operations or 0.0 for record in runs),
        assumed=sum(_assumed(record) for record in runs if record.operations is None),
        measured=sum(record.energy.joules for record in runs if record.energy and record.energy.measured),
        estimated=sum(record.energy.joules for record in runs if record.energy and not record.energy.measured)
        + sum(record.seconds * powers[record.folder] for record in old),
        watts=tuple(sorted(set(powers.values()))),
    )


def trained_once(records: Iterable[AnyRecord]) -> list[AnyRecord]:
    """Leave out repeated records of one run, which several experiments reuse, and prefixes that a longer run continues,
    whose seconds, operations and energy the longer run's record includes.
    """
    unique: dict[object, AnyRecord] = {}
    for record in records:
        key = (
            (record.arm, record.seed, record.weights_sha256, record.finished_at)
            if isinstance(record, Record)
            else record.folder
        )
        unique.setdefault(key, record)
    trained = only_trained(unique.values())
    prefixes = [record for record in trained if record.settings.prefix is not None]
    passed = {p.folder for p in prefixes if any(continues(other, p) for other in trained)}
    return [record for record in unique.values() if record.folder not in passed]


def cost_rows(records: Sequence[AnyRecord]) -> list[list[str]]:
    """Return the rows of operations and energy of the provenance table, if there are any."""
    costs = costs_of(records)
    counting = "counted, forward and backward" if not costs.assumed else "a backward pass taken for two forward passes"
    basis = [record.energy.basis for record in only_trained(records) if record.energy]
    basis += [f"stated {watts:g} W" for watts in costs.watts]
    rows = [
        ["training operations", f"{costs.operations} (two per multiply-add; {counting})"],
        ["energy", f"{costs.energy} ({'; '.join(sorted(set(basis)))})"],
    ]
    present = (costs.counted + costs.assumed, costs.measured + costs.estimated)
    return [row for row, value in zip(rows, present, strict=True) if value]


def _assumed(record: Record) -> float:
    """Estimate the operations of an older record. The backward pass of a frozen backbone is left out."""
    model = record.model
    frozen = model.trainable_parameters is not None and model.trainable_parameters < model.parameters
    if record.feature_seconds is not None:  # the features were computed once
        images = record.dataset.used.get("train", record.dataset.train_images)
    else:
        images = record.iterations * record.recipe.batch_size
    return 2.0 * model.multiply_adds * images * (1 if frozen else ASSUMED_PASSES)


def _watts(record: Record) -> float:
    return stated_watts(record.device, record.hardware, record.threads or 1) * record.processes


def _amount(value: float, units: Sequence[tuple[str, float]]) -> str:
    """Format with a unit and three digits, from 100 on as an integer."""
    unit, size = next(((unit, size) for unit, size in units if value >= SMALLEST * size), units[-1])
    number = value / size
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
