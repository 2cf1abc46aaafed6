"""Tables of counted networks: totals for the report, and CSV files with all layers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.design.experiment import Experiment
from resnet_repro.records.record import CountRecord

MIB = 1024  # KiB

LAYERS_HEADER = ("net", "layer", "output_shape", "memory_kib", "params", "macs")
# Metrics of `diagnostics.complexity.totals`: integers, memories in KiB, and those of auxiliary heads.
COUNTS = ("params", "macs", "pool_operations", "conv_params", "conv_macs", "fc_params", "fc_macs")
MEMORIES = ("memory_kib", "weighted_memory_kib", "conv_memory_kib", "fc_memory_kib")
OF_HEADS = ("heads_memory_kib", "heads_params", "heads_macs")
TOTALS_HEADER = ("net", "image", "classes", *MEMORIES, *COUNTS, *OF_HEADS)

CAPTION = (
    "Cost of each network for one image. Memory: outputs of all layers, at four bytes per number; “weighted”: those of "
    "convolutions and linear layers alone. Parameters include biases. Multiply-adds are those of convolutions and linear "
    "layers. Activation functions, normalization and additions are assumed to work in place. Auxiliary heads are excluded; "
    "a separate column has their parameters."
)


def totals_table(experiment: Experiment, records: Sequence[CountRecord]) -> dict[str, Any]:
    """Return the totals of each counted net without controls, beside the published ones, with a caption.

    Memory is in MiB, parameters are in millions, multiply-adds in billions (10⁹).
    """
    shown = [record for record in _counted(experiment, records) if not record.network.control]
    published = experiment.published
    header = [
        "net",
        "image",
        "memory (MiB)",
        "weighted",
        "parameters (M)",
        "published",
        "multiply-adds (G)",
        "published",
    ]
    with_heads = any(record.value("heads_params") for record in shown)
    rows = []
    for record in shown:
        values = {metric: record.value(metric) for metric in (*MEMORIES, *COUNTS, *OF_HEADS)}
        source_values = published.get(record.arm, {})
        row = [
            record.arm,
            _image(record),
            _fixed(values["memory_kib"], MIB, 2),
            _fixed(values["weighted_memory_kib"], MIB, 2),
            _fixed(values["params"], 1e6, 3),
            _as_published(source_values.get("params"), 1e6),
            _fixed(values["macs"], 1e9, 3),
            _as_published(source_values.get("macs"), 1e9),
        ]
        rows.append([*row, *([_fixed(values["heads_params"] or None, 1e6, 3)] if with_heads else [])])
    header += ["heads (M)"] if with_heads else []
    caption = f"{CAPTION} {experiment.published_note}".strip()
    return {"header": header, "align": ["left", *["right"] * (len(header) - 1)], "rows": rows, "caption": caption}


def write_csv_tables(experiment: Experiment, records: Sequence[CountRecord], folder: Path) -> list[Path]:
    """Write `<experiment>-layers.csv` (one row per layer) and `<experiment>-totals.csv` (one row per net); return the paths.

    Memory is in KiB; parameters and multiply-adds are integers. In the `macs` column, pooling rows count comparisons or
    additions; the totals list them as pool_operations. Layers of auxiliary heads have names that begin with "heads." and
    count only in the totals of the heads. Raises OSError if a file cannot be written.
    """
    counted = _counted(experiment, records)
    layers = [
        [record.arm, *(row[column] for column in ("layer", "output_shape", "memory_kib")), *_whole(row)]
        for record in counted
        for row in record.table("layers")
    ]
    totals = []
    for record in counted:
        row: list[Any] = [record.arm, _image(record), record.network.classes]
        for metric in TOTALS_HEADER[len(row) :]:
            value = record.value(metric)
            row.append("" if value is None else value if metric.endswith("kib") else round(value))
        totals.append(row)
    return [
        _write(folder / f"{experiment.name}-layers.csv", LAYERS_HEADER, layers),
        _write(folder / f"{experiment.name}-totals.csv", TOTALS_HEADER, totals),
    ]


def _counted(experiment: Experiment, records: Sequence[CountRecord]) -> list[CountRecord]:
    """Return the records in the order of the experiment's networks."""
    by_name = {record.arm: record for record in records}
    return [by_name[network.name] for network in experiment.networks if network.name in by_name]


def _image(record: CountRecord) -> str:
    return "×".join(map(str, record.network.shape))


def _whole(row: dict[str, str]) -> list[int]:
    return [round(float(row[column])) for column in ("params", "macs")]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def _fixed(value: float | None, unit: float, digits: int) -> str:
    """Format `value / unit` with `digits` decimals, or two significant digits if it is too small for them."""
    if value is None:
        return "–"
    scaled = value / unit
    return f"{scaled:.2g}" if 0 < scaled < 10 ** (1 - digits) else f"{scaled:,.{digits}f}"


def _as_published(value: float | None, unit: float) -> str:
    """Format with the digits that the source gives."""
    return "–" if value is None else f"{value / unit:.6g}"
