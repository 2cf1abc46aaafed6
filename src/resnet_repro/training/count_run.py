"""A run that is counted: a network taken apart layer by layer, its record written as any other's."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import msgspec

from resnet_repro.config.settings import RunSettings
from resnet_repro.diagnostics.anatomy import measures
from resnet_repro.diagnostics.complexity import build_on_meta, layer_costs, parameter_count, totals, trainable_count
from resnet_repro.errors import UserError
from resnet_repro.hardware import device_name
from resnet_repro.models.inspect import main_path_layers, parameter_summary
from resnet_repro.records.provenance import commit, versions
from resnet_repro.records.record import Dataset, ModelFacts, Record

LAYERS = "layers.csv"
COLUMNS = ("layer", "kind", "output_shape", "memory_kib", "params", "macs", "in_heads")


def count_run(folder: Path, settings: RunSettings) -> None:
    """Count the network of a counted arm into `folder`: layers.csv, then the record.

    The record's diagnostics are the totals of `diagnostics.complexity` and the measures of `diagnostics.anatomy`.
    Raises UserError where the folder cannot be written.
    """
    counted = settings.arm.counted
    assert counted is not None, f"{settings.arm.name} is no counted arm"
    begin = time.monotonic()
    net = build_on_meta(settings.arm.model, counted.classes)
    costs = layer_costs(net, counted.shape)
    totals_and_measures = totals(costs) | measures(net, costs, counted.shape)
    record = Record(
        folder=folder,
        experiment=settings.experiment,
        arm=settings.arm.name,
        seed=settings.seed,
        budget=settings.budget,
        status="finished",
        final={},
        best={},
        diagnostics=totals_and_measures,
        weights_sha256=None,
        parent=None,
        pairing_key=None,
        model=ModelFacts(
            layers=len(main_path_layers(net)),
            parameters=parameter_count(net),
            multiply_adds=int(totals_and_measures["macs"]),
            trainable_parameters=trainable_count(net),
            parts=tuple((part, trained, frozen) for part, trained, frozen in parameter_summary(net)),
        ),
        recipe=settings.arm.recipe,
        dataset=Dataset(settings.dataset, "no data", "", False, counted.classes, 0, 0),
        precision=settings.precision,
        device=settings.device,
        hardware=device_name(settings.device),
        threads=None,
        compilation="not compiled",
        activations="none",
        peak_memory_mib=None,
        versions=versions(),
        commit=commit(),
        finished_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        settings=settings,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LAYERS).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for cost in costs:
                shape = "×".join(map(str, cost.output))
                in_heads = "yes" if cost.in_heads else ""
                writer.writerow([cost.name, cost.kind, shape, cost.memory_kib, cost.params, cost.macs, in_heads])
        msgspec.structs.replace(record, seconds=round(time.monotonic() - begin, 3)).write()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error
