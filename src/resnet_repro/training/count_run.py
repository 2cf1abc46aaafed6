"""A run that is counted: a network taken apart layer by layer, its record written as any other's."""

from __future__ import annotations

import csv
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resnet_repro.config.settings import RunSettings
from resnet_repro.diagnostics.anatomy import measures
from resnet_repro.diagnostics.complexity import build_on_meta, layer_costs, parameter_count, totals, trainable_count
from resnet_repro.errors import UserError
from resnet_repro.files import write_json
from resnet_repro.hardware import device_name
from resnet_repro.models.inspect import main_path_layers, parameter_summary
from resnet_repro.records.layout import RECORD
from resnet_repro.records.provenance import commit, versions
from resnet_repro.records.record import FORMAT

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
    found = totals(costs) | measures(net, costs, counted.shape)
    model: dict[str, Any] = {
        "layers": len(main_path_layers(net)),
        "parameters": parameter_count(net),
        "trainable_parameters": trainable_count(net),
        "multiply_adds": int(found["macs"]),
        "parts": parameter_summary(net),
    }
    record = _record(settings, found, model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LAYERS).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for cost in costs:
                shape = "×".join(map(str, cost.output))
                in_heads = "yes" if cost.in_heads else ""
                writer.writerow([cost.name, cost.kind, shape, cost.memory_kib, cost.params, cost.macs, in_heads])
        write_json(folder / RECORD, record | {"seconds": round(time.monotonic() - begin, 3)})
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another RUNS_DIR") from error


def _record(settings: RunSettings, found: dict[str, float], model: dict[str, Any]) -> dict[str, Any]:
    """The entries of every record; what only a training has is empty."""
    counted = settings.arm.counted
    assert counted is not None
    return {
        "format": FORMAT,
        "experiment": settings.experiment,
        "arm": settings.arm.name,
        "seed": settings.seed,
        "profile": settings.budget,
        "status": "finished",
        "iterations": 0,
        "diverged_at": None,
        "warmed_up_at": None,
        "final": {},
        "best": {},
        "diagnostics": found,
        "training_seconds": 0.0,
        "images_per_second": 0.0,
        "weights_sha256": None,
        "parent": None,
        "draws": None,
        "model": model,
        "recipe": asdict(settings.arm.recipe),
        "dataset": {
            "name": settings.dataset,
            "title": "no data",
            "digest": "",
            "standin": False,
            "classes": counted.classes,
            "train_images": 0,
            "test_images": 0,
        },
        "precision": settings.precision,
        "device": settings.device,
        "hardware": device_name(settings.device),
        "threads": None,
        "compilation": "not compiled",
        "activations": "none",
        "activation_mib": None,
        "peak_memory_mib": None,
        "versions": versions(),
        "commit": commit(),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": settings.to_json(),
    }
