"""Rows of the tables of runs and of claims: the same for CSV files, LaTeX and pandas.

The keys of a row are the columns below, which docs/python.md lists for users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Comparison, Exact, Frequency
from resnet_repro.claims.judge import Judgement
from resnet_repro.claims.results import Part
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import Record
from resnet_repro.report.content import bounds, effect

RUNS: Mapping[str, str] = {
    "experiment": "name of the experiment",
    "budget": "folder of the budget: quick, paper, 8000it, prefix34000 ...",
    "arm": "the configuration, e.g. plain-20",
    "seed": "seed of weights, data order and augmentation",
    "status": "finished, diverged (with the errors and losses of guessing) or skipped",
    "steps": "training steps taken",
    "schedule_steps": "steps of the schedule, those of the run it started from included",
    "published_steps": "steps of the published schedule",
    "diverged_at": "first step whose loss was not finite",
    "train_error": "final error on training images, %",
    "validation_error": "final error on held-out training images, %",
    "test_error": "final error on test images, %",
    "train_loss": "final loss on training images, nats; of a reconstruction, relative squared error",
    "validation_loss": "final loss on held-out training images, same unit",
    "test_loss": "final loss on test images, same unit",
    "train_images": "training images scored after the last step",
    "test_images": "test images scored after the last step",
    "best_test_error": "lowest test error of all evaluations, %",
    "best_at": "step of the lowest test error",
    "seconds": "wall-clock time of training and evaluation, s",
    "training_seconds": "time of the training steps, and of features computed before, s",
    "step_seconds": "mean time of a training step, s",
    "images_per_second": "training images per second, without evaluation",
    "peak_memory_mib": "peak memory of a process, MiB; on a GPU: allocated there",
    "layers": "layers with weights on the main path",
    "parameters": "parameters of the network",
    "trainable_parameters": "parameters that are trained",
    "multiply_adds": "multiply-adds of a forward pass on one image",
    "learning_rate": "initial learning rate",
    "batch_size": "images per step",
    "dataset": "name of the data set",
    "dataset_digest": "SHA-256 of the data",
    "standin": "whether the data are the synthetic stand-in",
    "device": "cpu, cuda or mps",
    "hardware": "name of the CPU or GPU",
    "precision": "bf16 or fp32",
    "threads": "CPU threads",
    "processes": "processes that trained the run together",
    "compilation": "whether the forward pass was compiled, or why not",
    "torch": "version of PyTorch",
    "commit": "commit of the code; + if it was modified",
    "finished_at": "UTC time in ISO 8601",
    "weights_sha256": "SHA-256 of the final weights",
    "parent": "run that the first weights come from, as experiment/arm/seed",
    "taken_over_from": "experiment that trained the run, if another one did",
    "pairing_key": "runs with equal keys shared first weights and data order",
}
"""{column: meaning and unit} of the table of runs. Further metrics of the runs follow, in alphabetical order."""

CLAIMS: Mapping[str, str] = {
    "claim": "identifier, e.g. D1",
    "experiment": "name of the experiment",
    "budget": "folder of the budget of the judged runs; empty without runs",
    "text": "the statement",
    "source": "publication and section",
    "own": "whether the claim is this project's and not a source's",
    "verdict": "supported, contradicted, inconclusive, not tested, seen once or not seen",
    "reason": "why the claim is not tested or inconclusive",
    "grade": "basis of the verdict: exact, published, prefix, compressed or substitute",
    "grade_percent": "steps in % of the published ones, for prefix and compressed",
    "reproduced": "whether it is supported at grade published, with effects like the published ones",
    "changed": "whether its comparisons are younger than their runs",
    "comparisons": "number of comparisons; the columns from here to agrees show the least certain one",
    "statement": "the compared quantity and the arms",
    "effect": "the effect over seeds, in unit",
    "unit": "unit of effect, interval, thresholds and published; decades and doublings are logarithms of factors",
    "low": "lower end of the 95 % interval",
    "high": "upper end of the 95 % interval",
    "threshold_low": "the effect is claimed to be above; empty: no such bound",
    "threshold_high": "the effect is claimed to be below; empty: no such bound",
    "seeds": "seeds of the comparison; 0 for counted numbers",
    "paired": "whether the interval is on differences per seed",
    "published": "the source's effect",
    "agrees": "whether the effect agrees with the published one",
    "seeds_planned": "seeds planned before the runs",
    "p": "p-value after Holm's correction",
    "family": "number of claims over which p is corrected",
    "effect_shown": "the effect as the report prints it",
    "interval_shown": "the interval as the report prints it",
}
"""{column: meaning and unit} of the table of claims."""

WORDS = {
    "experiment", "budget", "arm", "status", "dataset", "dataset_digest", "device", "hardware", "precision", "compilation",
    "torch", "commit", "finished_at", "weights_sha256", "parent", "taken_over_from", "pairing_key",
    "claim", "text", "source", "verdict", "reason", "grade", "statement", "unit", "effect_shown", "interval_shown",
}  # fmt: skip
"""Columns of words. Columns that are neither here nor in the next two sets have numbers."""
WHOLE = {
    "seed", "steps", "schedule_steps", "published_steps", "diverged_at", "train_images", "test_images", "best_at", "layers",
    "parameters", "trainable_parameters", "multiply_adds", "batch_size", "threads", "processes", "iteration",
    "comparisons", "seeds", "seeds_planned", "family",
}  # fmt: skip
"""Columns of whole numbers."""
FLAGS = {"standin", "own", "reproduced", "changed", "paired", "agrees"}
"""Columns of truths."""


def run_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return a row for each run. None: the run lacks the value, or it does not apply.

    Keys: those of `RUNS`, then the other metrics of `records.metrics` that any of the runs has, in alphabetical order.
    """
    pairs = [(record, metrics_of(record)) for record in records]
    further = sorted({metric for _, metrics in pairs for metric in metrics} - RUNS.keys())
    return [_run_row(record, metrics) | {name: metrics.get(name) for name in further} for record, metrics in pairs]


def _run_row(record: Record, metrics: Mapping[str, float]) -> dict[str, Any]:
    steps, published = record.schedule
    parent, is_finished = record.parent, record.status == "finished"
    facts = {
        "experiment": record.experiment,
        "budget": record.budget,
        "arm": record.arm,
        "seed": record.seed,
        "status": record.status,
        "steps": record.iterations,
        "schedule_steps": steps,
        "published_steps": published,
        "diverged_at": record.diverged_at,
        "best_test_error": record.best.get("test_error") if is_finished else None,
        "best_at": record.best.get("iteration") if is_finished else None,
        "seconds": record.seconds,
        "images_per_second": record.images_per_second if record.iterations else None,
        "peak_memory_mib": record.peak_memory_mib,
        "layers": record.model.layers,
        "learning_rate": record.recipe.learning_rate,
        "batch_size": record.recipe.batch_size,
        "dataset": record.dataset.name,
        "dataset_digest": record.dataset.digest,
        "standin": record.dataset.standin,
        "device": record.device,
        "hardware": record.hardware,
        "precision": record.precision,
        "threads": record.threads,
        "processes": record.processes,
        "compilation": record.compilation,
        "torch": record.versions.get("torch"),
        "commit": record.commit,
        "finished_at": record.finished_at,
        "weights_sha256": record.weights_sha256,
        "parent": f"{parent.experiment}/{parent.arm}/{parent.seed}" if parent else None,
        "taken_over_from": record.taken_over_from,
        "pairing_key": record.pairing_key,
    }
    counts = ("train_images", "test_images", "parameters", "trainable_parameters", "multiply_adds")
    values = {name: round(value) if name in counts else value for name, value in metrics.items()}
    return {name: facts.get(name, values.get(name)) for name in RUNS}


def claim_row(judgement: Judgement, experiment: str, budget: str | None) -> dict[str, Any]:
    """Return the row of a judged claim, with the keys of `CLAIMS`. None: the value does not apply."""
    claim = judgement.claim
    place = least_certain(judgement)
    comparison, part = claim.test[place], judgement.parts[place]
    low, high = _thresholds(comparison)
    interval, grade = part.interval, judgement.grade
    return {
        "claim": claim.name,
        "experiment": experiment,
        "budget": budget,
        "text": claim.text,
        "source": claim.source,
        "own": claim.own,
        "verdict": judgement.verdict,
        "reason": judgement.reason or None,
        "grade": grade.kind if grade else None,
        "grade_percent": grade.percent if grade else None,
        "reproduced": judgement.reproduced,
        "changed": judgement.changed,
        "comparisons": len(judgement.parts),
        "statement": part.statement,
        "effect": interval.estimate if interval else None,
        "unit": part.unit,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "threshold_low": low,
        "threshold_high": high,
        "seeds": part.seeds,
        "paired": part.paired,
        "published": part.published,
        "agrees": part.agrees,
        "seeds_planned": None if claim.exact else claim.seeds,
        "p": judgement.p,
        "family": judgement.family or None,
        "effect_shown": effect(part) if interval else None,
        "interval_shown": bounds(part) if interval and interval.low is not None else None,
    }


def _thresholds(comparison: Comparison | Frequency | Exact) -> tuple[float | None, float | None]:
    """Return the bounds of the claimed effect, None where it is unbounded."""
    return comparison.low, None if isinstance(comparison, Frequency) else comparison.high


def least_certain(judgement: Judgement) -> int:
    """Return the index of the comparison that supports the claim least, which decides its verdict.

    Of counted comparisons, this is the first that fails, or else the first. Comparisons without runs are left out unless
    there are no others.
    """
    judged = [index for index, part in enumerate(judgement.parts) if part.interval is not None]
    if not judged:
        return 0
    if judgement.claim.exact:
        return next((index for index in judged if judgement.parts[index].verdict != "supported"), judged[0])
    return min(judged, key=lambda index: (_support(judgement.claim, judgement.parts, index), index))


def _support(claim: Claim, parts: Sequence[Part], index: int) -> float:
    comparison = claim.test[index]
    assert not isinstance(comparison, Exact)
    return comparison.support(parts[index])
