"""Count a network layer by layer and write its record."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from resnet_repro.config.arm import COUNTED_SEED, CountedArm
from resnet_repro.diagnostics.anatomy import measures
from resnet_repro.diagnostics.complexity import build_on_meta, layer_costs, parameter_count, totals, trainable_count
from resnet_repro.errors import UserError, os_reason
from resnet_repro.hardware import device_name
from resnet_repro.models.inspect import main_path_layers, parameter_summary
from resnet_repro.records.entries import ModelFacts
from resnet_repro.records.provenance import commit, utc_now, versions
from resnet_repro.records.record import CountRecord

LAYERS = "layers.csv"
COLUMNS = ("layer", "kind", "output_shape", "memory_kib", "params", "macs", "in_heads")


def count_network(folder: Path, experiment: str, budget: str, network: CountedArm) -> None:
    """Write layers.csv and then the record of a network into `folder`.

    The record's diagnostics are the totals of `diagnostics.complexity` and the measures of `diagnostics.anatomy`.
    Raises UserError if the folder cannot be written.
    """
    begin = time.monotonic()
    net = build_on_meta(network.model, network.classes)
    costs = layer_costs(net, network.shape)
    totals_and_measures = totals(costs) | measures(net, costs, network.shape)
    model = ModelFacts(
        layers=len(main_path_layers(net)),
        parameters=parameter_count(net),
        multiply_adds=int(totals_and_measures["macs"]),
        trainable_parameters=trainable_count(net),
        parts=tuple(parameter_summary(net)),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LAYERS).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for cost in costs:
                shape = "×".join(map(str, cost.output))
                in_heads = "yes" if cost.in_heads else ""
                writer.writerow([cost.name, cost.kind, shape, cost.memory_kib, cost.params, cost.macs, in_heads])
        CountRecord(
            folder=folder,
            experiment=experiment,
            arm=network.name,
            seed=COUNTED_SEED,
            budget=budget,
            network=network,
            diagnostics=totals_and_measures,
            model=model,
            seconds=round(time.monotonic() - begin, 3),
            hardware=device_name("cpu"),
            versions=versions(),
            commit=commit(),
            finished_at=utc_now(),
        ).write()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({os_reason(error)}): use another RUNS_DIR") from error
