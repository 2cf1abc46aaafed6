"""The content of a report as plain data for the typesetter: formatted numbers and complete sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_repro.claims.judge import Judgement, rule_for
from resnet_repro.claims.results import Part
from resnet_repro.claims.wording import number_text, value_text
from resnet_repro.design.experiment import Experiment
from resnet_repro.figures.figure import Drawing
from resnet_repro.figures.published import he15_figure_of
from resnet_repro.records.record import AnyRecord, Record, only_counted, only_trained
from resnet_repro.report.banners import banners, is_other_data
from resnet_repro.report.costs import cost_rows
from resnet_repro.report.headline import headline
from resnet_repro.report.network_tables import totals_table
from resnet_repro.report.spread import spread_table
from resnet_repro.report.tables import arms_table, parameters_table, published_values, results_table, search_table
from resnet_repro.report.typeset import date_of
from resnet_repro.report.what_was_run import all_of, summary_of_runs

COUNTED = "counted"  # shown instead of the number of seeds

ARMS_CAPTION = (
    "Arms. Multiply-adds are those of convolutions and linear layers for one image. Minutes, images per second and seconds "
    "per step are means over seeds. Memory is the highest peak of the runs’ processes (on a GPU: allocated there). "
    "Asterisk: activations are recomputed in the backward pass."
)

FEATURES_CAPTION = " Minutes include the time to precompute features; speeds do not."

RESULTS_CAPTION = "{}, mean ± standard deviation over seeds."
AFTER_TRAINING, UNTRAINED = "Results after the last step", "Measurements of untrained networks"
ERRORS_CAPTION = " Errors are {}, on {} training images in evaluation mode and on {} test images."
BEST_CAPTION = " The best test error is the lowest of all evaluations."
IN_PERCENT, RELATIVE = "in percent", "mean squared errors divided by the variance of the target"

PREFIX_NOTE = (
    "Published: the paper's errors at the same step ({}), read from the curves of {}. Its training error is the "
    "running error on the augmented batches; “>” means that the curve is above the edge of the figure."
)


def build_content(
    experiment: Experiment,
    budget: str,
    records: Sequence[AnyRecord],
    judgements: Sequence[Judgement],
    figures: Mapping[str, Drawing],
    failed: Sequence[str],
) -> dict[str, Any]:
    """Return the data of the report document.

    figures: by name, the one for the first page first. failed: names of the runs whose process failed.
    """
    published = not is_other_data(experiment, only_trained(records))
    shown = [
        {"path": f"{experiment.name}-{name}.svg", "caption": drawing.caption, "alternative": drawing.alternative}
        for name, drawing in figures.items()
    ]
    return {
        "title": experiment.title,
        "date": date_of([record.finished_at for record in records]),
        "source": experiment.source,
        "question": experiment.question,
        "answers": headline(experiment, records, judgements),
        "banners": banners(experiment, budget, records, failed),
        "summary": summary_of_runs(records),
        **_tables(experiment, records, published),
        "claims": [claim_row(judgement) for judgement in judgements],
        "rule": rule_for(experiment.claims),
        "hero": shown[0] if shown else None,
        "figures": shown[1:],
        "deviations": list(experiment.deviations),
        "provenance": _provenance(records),
    }


def _tables(experiment: Experiment, records: Sequence[AnyRecord], published: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of the arms (`ran`) and of the results, each with its caption."""
    trained, counted = only_trained(records), only_counted(records)
    note = _published_note(experiment, trained) if published else ""
    if experiment.is_counted:
        return {"ran": [], "results": [totals_table(experiment, counted)]}
    caption = ARMS_CAPTION + (FEATURES_CAPTION if any(r.feature_seconds for r in trained) else "")
    spread_over_seeds = spread_table(experiment, trained)
    further = [table for table in (search_table(experiment, trained), parameters_table(counted)) if table]
    return {
        "ran": [arms_table(experiment, records) | {"caption": caption}, *further],
        "results": [
            results_table(experiment, trained, published)
            | {"caption": f"{_results_caption(experiment, trained)} {note}".strip()},
            *([spread_over_seeds] if spread_over_seeds else []),
        ],
    }


def _published_note(experiment: Experiment, records: Sequence[Record]) -> str:
    """Describe the published values of the results table and their source."""
    steps = sorted({record.settings.prefix for record in records if record.settings.prefix is not None})
    if not steps or not experiment.published:
        return experiment.published_note
    if not any(published_values(experiment, records).values()):
        return "The source shows no values for these nets at this step."
    figures = [he15_figure_of(record.arm, record.settings.iterations) for record in records]
    names = sorted({figure.name for figure in figures if figure is not None})
    return PREFIX_NOTE.format(" and ".join(f"{step:,}" for step in steps), " and ".join(names))


def _scored_on(experiment: Experiment, records: Sequence[Record], split: str) -> str:
    """Return the number of images of a split on which the arms of the results table were scored, e.g. "all 50,000".

    Older records omit the number of test images, which was always all.
    """
    shown = [record for record in records if not experiment.arm(record.arm).control]
    counts = {
        (record.final[f"{split}_images"], getattr(record.dataset, f"{split}_images"))
        for record in shown
        if f"{split}_images" in record.final
    }
    words = [f"all {scored:,}" if scored == total else f"{scored:,} of {total:,}" for scored, total in sorted(counts)]
    return " or ".join(words) or "all"


def claim_row(judgement: Judgement) -> dict[str, Any]:
    """Return a claim with its verdict and comparisons as reports show them."""
    claim = judgement.claim
    return {
        "name": claim.name,
        "source": claim.source,
        "text": claim.text,
        "note": claim.note,
        "verdict": judgement.verdict,
        "grade": grade_words(judgement),
        "own": claim.own,
        "reason": judgement.reason,
        "p": "" if judgement.p is None else _corrected(judgement),
        "parts": [
            {
                "statement": part.statement,
                "claimed": part.claimed,
                "effect": effect(part),
                "interval": bounds(part),
                "published": published_effect(part),
                "seeds": COUNTED if part.exact else str(part.seeds) + (", paired" if part.paired else ""),
                "verdict": part.verdict,
            }
            for part in judgement.parts
        ],
    }


def _corrected(judgement: Judgement) -> str:
    assert judgement.p is not None
    p = "< 0.0001" if judgement.p < 1e-4 else f"= {judgement.p:.4f}"
    claims = "claim" if judgement.family == 1 else "claims"
    return f"p {p} after Holm's correction for {judgement.family} {claims}"


def grade_words(judgement: Judgement) -> str:
    """Return the grade with the remarks that belong to it: reproduced, own claim or own test, changed after the data.

    Empty if the claim is not tested.
    """
    if judgement.grade is None:
        return ""
    remarks = [
        *(["reproduced"] if judgement.reproduced else []),
        *(["other size than published"] if any(part.agrees is False for part in judgement.parts) else []),
        *(["own claim"] if judgement.claim.own else ["own test"] if judgement.claim.own_test else []),
    ]
    return ", ".join([str(judgement.grade), *remarks]) + (" †" if judgement.changed else "")


def _results_caption(experiment: Experiment, trained: Sequence[Record]) -> str:
    """Describe the table of results: when and on which images its columns are measured."""
    metrics = {column.metric for column in experiment.columns}
    caption = RESULTS_CAPTION.format(AFTER_TRAINING if any(r.iterations for r in trained) else UNTRAINED)
    if metrics & {"train_error", "test_error", "validation_error", "train_relative_mse", "test_relative_mse"}:
        kind = RELATIVE if all(arm.task == "reconstruct" for arm in experiment.arms) else IN_PERCENT
        caption += ERRORS_CAPTION.format(kind, *(_scored_on(experiment, trained, split) for split in ("train", "test")))
    return caption + (BEST_CAPTION if "best_test_error" in metrics else "")


def effect(part: Part) -> str:
    """Format the effect with its unit, and with its sign if it is a difference. Logarithms become factors.

    Without an effect, the runs or their values are missing.
    """
    if part.interval is None:
        return "no value"
    return value_text(part.interval.estimate, part.unit, part.difference)


def bounds(part: Part) -> str:
    """Format the bounds of the 95 % interval; a dash without one."""
    if part.interval is None or part.interval.low is None or part.interval.high is None:
        return "–"
    return " to ".join(number_text(end, part.unit, part.difference) for end in (part.interval.low, part.interval.high))


def published_effect(part: Part) -> str:
    """Format the source's effect with its unit; a dash without one."""
    return "–" if part.published is None else value_text(part.published, part.unit, part.difference)


def _step_of(record: Record) -> str:
    """Describe how the steps were executed. On a CPU, and in older records, this is only whether they were compiled."""
    return record.compilation + ("" if record.step in ("eager", "none") else f", {record.step}")


def _provenance(records: Sequence[AnyRecord]) -> list[list[str]]:
    trained = only_trained(records)
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for package, number in record.versions.items():
            versions[package].add(number)
    parents = [
        f"{r.arm}/{r.seed} from {p.experiment}/{p.arm}/{p.seed} ({p.weights_sha256[:10]})"
        for r in trained
        if (p := r.parent)
    ]
    rows = [
        ["records", f"{len(records)}, the last from {max(r.finished_at for r in records)}"],
        ["commit", all_of(records, "commit")],
        ["hardware", all_of(records, "hardware")],
        ["precision", all_of(trained, "precision")],
        ["threads per run", all_of(trained, "threads")],
        *cost_rows(records),
        ["training step", ", ".join(sorted({_step_of(record) for record in trained}))],
        ["activations", all_of(trained, "activations")],
        [
            "versions",
            ", ".join(f"{package} {' / '.join(sorted(numbers))}" for package, numbers in sorted(versions.items())),
        ],
        ["data digest", ", ".join(sorted({r.dataset.digest for r in trained}))],
        ["weights", ", ".join(f"{r.arm}/{r.seed}: {(r.weights_sha256 or 'none')[:10]}" for r in trained)],
    ]
    if not trained:
        rows = [row for row in rows if row[0] in ("records", "commit", "versions")]
    reused = [f"{r.arm}/{r.seed} from {source}" for r in trained if (source := r.taken_over_from)]
    further = (("started from", parents), ("reused", reused))
    return rows + [[heading, ", ".join(words)] for heading, words in further if words]
