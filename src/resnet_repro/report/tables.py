"""Tables of a report: arms with their costs, results beside the published values, searches, parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from resnet_repro.config.arm import Arm, CountedArm
from resnet_repro.design.experiment import Column, Experiment
from resnet_repro.figures.published import he15_errors_at, he15_figure_of
from resnet_repro.parsing import plural, seed_list
from resnet_repro.records.entries import ModelFacts
from resnet_repro.records.metrics import COUNTS, metrics_of
from resnet_repro.records.record import AnyRecord, CountRecord, Record, only_counted, only_trained

ARM_HEADER = (
    "arm",
    "layers",
    "parameters",
    "multiply-adds",
    "steps",
    "seeds",
    "minutes",
    "images/s",
    "s/step",
    "memory",
)


def arms_table(experiment: Experiment, records: Sequence[AnyRecord]) -> dict[str, Any]:
    """Return the table of arms and their costs: one row for each arm with runs and each counted network."""
    trained, networks = only_trained(records), {record.arm: record for record in only_counted(records)}
    rows = [_arm_row(arm, runs) for arm in experiment.arms if (runs := _of(arm, trained))]
    rows += [
        _network_row(network, networks[network.name]) for network in experiment.networks if network.name in networks
    ]
    return {"header": list(ARM_HEADER), "align": ["left", *["right"] * 4, "left", *["right"] * 4], "rows": rows}


def results_table(experiment: Experiment, records: Sequence[Record], published: bool) -> dict[str, Any]:
    """Return the experiment's columns for each arm with runs, without controls; published values follow their column.

    For prefixes, the published values are the paper's errors at the step where ours end, not at the end of its schedule.
    """
    header, align = ["arm"], ["left"]
    compared = [arm for arm in experiment.arms if not arm.control]
    shown = {arm.name: runs for arm in compared if (runs := _of(arm, records))}
    source_values = published_values(experiment, records) if published else {}
    with_published = {metric for arm in shown for metric in source_values.get(arm, {})}
    for column in experiment.columns:
        header.append(column.heading)
        if column.metric in with_published:
            header.append("published")
    align += ["right"] * len(header)
    rows = [
        _result_row(experiment, arm, runs, source_values.get(arm, {}), with_published) for arm, runs in shown.items()
    ]
    return {"header": [*header, "seeds"], "align": align, "rows": rows}


def published_values(experiment: Experiment, records: Sequence[Record]) -> Mapping[str, Mapping[str, float]]:
    """Return the source's {arm: {metric: value}} at the step where the runs end.

    A value is infinite if the curve is above the edge of the source's figure at that step.
    """
    cut = {record.arm: record.settings for record in records if record.settings.prefix is not None}
    if not cut:
        return experiment.published
    by_arm = {
        arm: he15_errors_at(arm, settings.stop_at, settings.iterations)
        for arm, settings in cut.items()
        if arm in experiment.published
    }
    trained_whole = {record.arm for record in records} - {*cut}
    whole = {arm: values for arm, values in experiment.published.items() if arm in trained_whole}
    return whole | {arm: {f"{split}_error": value for split, value in errors.items()} for arm, errors in by_arm.items()}


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def search_table(experiment: Experiment, records: Sequence[Record]) -> dict[str, Any] | None:
    """Return the candidates' scores by learning rate for each run that searched its rate; None without a search."""
    searches = [
        (arm.name, record.seed, record.search)
        for arm in experiment.arms
        for record in _of(arm, records)
        if record.search is not None
    ]
    if not searches:
        return None
    rates = sorted({candidate.learning_rate for _, _, search in searches for candidate in search.candidates.values()})
    metrics = sorted({_words(search.metric) for _, _, search in searches})
    several = len(metrics) > 1
    rows = []
    for arm, seed, search in searches:
        scores = {candidate.learning_rate: search.score(name) for name, candidate in search.candidates.items()}
        cells = ["–" if rate not in scores else _score(scores[rate]) for rate in rates]
        named = [_words(search.metric)] if several else []
        rows.append([arm, str(seed), *named, *cells, f"{search.learning_rate:g}"])
    return {
        "header": ["arm", "seed", *["lowest"] * several, *[f"{rate:g}" for rate in rates], "chosen"],
        "align": ["left", "right", *["left"] * several, *["right"] * (len(rates) + 1)],
        "rows": rows,
        "caption": (
            f"Search for the learning rates: {', '.join(metrics)} of the candidate runs by rate, at the same seed. The rate "
            "with the lowest value is chosen; test images play no part."
        ),
    }


def parameters_table(records: Sequence[CountRecord]) -> dict[str, Any] | None:
    """Return the parameters of each part of partly frozen counted networks and of others with the same parts.

    None without a partly frozen network.
    """
    parts = {record.arm: record.model.parts for record in records if record.model.parts}
    partly_frozen = [of_net for of_net in parts.values() if any(frozen for _, _, frozen in of_net)]
    if not partly_frozen:
        return None
    names = [part for part, _, _ in partly_frozen[0]]
    shown = {arm: of_net for arm, of_net in parts.items() if [part for part, _, _ in of_net] == names}
    header = ["part", *(f"{arm}: {kind}" for arm in shown for kind in ("trainable", "frozen"))]
    rows = [
        [name, *(f"{count:,}" for of_net in shown.values() for count in of_net[index][1:])]
        for index, name in enumerate(names)
    ]
    return {
        "header": header,
        "align": ["left", *["right"] * (len(header) - 1)],
        "rows": rows,
        "caption": "Parameters of the networks' parts, counted on the modules.",
    }


def _score(value: float | None) -> str:
    if value is None:
        return "diverged"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def result_of(record: Record, metric: str) -> float | None:
    """Return a metric of `records.metrics`, or "best_test_error"; None if the run lacks it.

    A diverged run has the errors of guessing.
    """
    if metric == "best_test_error":
        is_whole = record.status == "finished"
        return record.best.get("test_error") if is_whole else metrics_of(record).get("test_error")
    return metrics_of(record).get(metric)


def _of(arm: Arm, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.arm == arm.name]


def _arm_row(arm: Arm, runs: Sequence[Record]) -> list[str]:
    ran = [record for record in runs if record.status != "skipped"]
    trained = [record for record in ran if record.iterations]
    rates = [record.images_per_second for record in trained]
    seconds = [record.training_seconds / record.iterations for record in trained]
    return [
        *_network_cells(arm, runs[0].model),
        _steps(runs),
        seed_list([record.seed for record in runs]),
        _mean([(record.seconds + (record.feature_seconds or 0.0)) / 60 for record in ran], 1),
        _mean(rates, 0),
        _mean(seconds, 3 if seconds and mean(seconds) < 1 else 1),
        _memory(ran),
    ]


def _network_row(network: CountedArm, record: CountRecord) -> list[str]:
    return [*_network_cells(network, record.model), "counted", *["–"] * 5]


def _network_cells(arm: Arm | CountedArm, model: ModelFacts) -> list[str]:
    return [
        arm.name + (" (control)" if arm.control else ""),
        str(model.layers),
        f"{model.parameters / 1e6:.2f} M" if model.parameters >= 1e5 else f"{model.parameters / 1e3:.1f} k",
        f"{model.multiply_adds / 1e6:.1f} M",
    ]


def _steps(runs: Sequence[Record]) -> str:
    """Format the steps of the arm's runs, with "of" the full length for stretches, prefixes and diverged runs."""
    record, settings = runs[0], runs[0].settings
    if record.status == "skipped":
        return "skipped"
    if not settings.iterations:
        return "not trained"
    is_part = settings.stretch is not None or settings.prefix is not None
    whole = settings.iterations if is_part else settings.stop_at
    ends = sorted({r.diverged_at or settings.stop_at for r in runs})
    return f"{', '.join(f'{end:,}' for end in ends)}" + (f" of {whole:,}" if ends != [whole] else "")


def _memory(ran: Sequence[Record]) -> str:
    peaks = [record.peak_memory_mib for record in ran if record.peak_memory_mib]
    if not peaks:
        return "–"
    text = f"{max(peaks):,.0f} MiB"
    return text + ("*" if any(record.activations == "recomputed" for record in ran) else "")


def _result_row(
    experiment: Experiment, arm: str, runs: Sequence[Record], source: Mapping[str, float], with_published: set[str]
) -> list[str]:
    row = [arm]
    for column in experiment.columns:
        row.append(_spread([result_of(record, column.metric) for record in runs], column))
        if column.metric in with_published:
            value = source.get(column.metric)
            row.append("–" if value is None else _published(value, runs[0], column.digits))
    seeds = str(sum(record.status == "finished" for record in runs))
    diverged = sum(record.status == "diverged" for record in runs)
    return [*row, seeds + (f" + {diverged} diverged" if diverged else "")]


def _published(value: float, record: Record, digits: int) -> str:
    """Format a published value, or "> edge" if the figure cuts it off."""
    if math.isfinite(value):
        return _fixed(value, digits)
    figure = he15_figure_of(record.arm, record.settings.iterations)
    assert figure is not None
    return f"> {figure.top:g}"


def _spread(values: Sequence[float | None], column: Column) -> str:
    """Format mean ± standard deviation over seeds; the value alone for a single seed or a count.

    If some runs lack the value, the number of those that have it stands behind.
    """
    present = [value for value in values if value is not None]
    if not present:
        return "–"
    text = _fixed(mean(present), column.digits)
    is_count = column.metric in COUNTS  # the same at every seed
    text += f" ± {stdev(present):.{column.digits}f}" if len(present) > 1 and not is_count else ""
    return text + (f" ({plural(len(present), 'seed')})" if len(present) < len(values) and not is_count else "")


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{mean(values):,.{digits}f}" if values else "–"


def _fixed(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace("-", "−")
