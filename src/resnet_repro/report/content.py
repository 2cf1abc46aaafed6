"""What a report says, as plain data for the typesetter: every number formatted here, every sentence complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from resnet_repro.claims.comparisons import Part
from resnet_repro.claims.judge import Judgement, rule_for
from resnet_repro.design.experiment import Experiment
from resnet_repro.records.record import AnyRecord, Record, only_counted, only_trained
from resnet_repro.report.banners import banners, is_other_data
from resnet_repro.report.headline import headline
from resnet_repro.report.network_tables import totals_table
from resnet_repro.report.tables import arms_table, parameters_table, published_values, results_table, search_table
from resnet_repro.report.what_was_run import all_of, summary_of_runs

COUNTED = "counted"  # what stands in place of the number of seeds


ARMS_CAPTION = (
    "Arms. Multiply-adds of convolutions and linear layers for one image; minutes, training speed and seconds a step are "
    "means over seeds, memory the most that a run’s process held (on a GPU: allocated there). An asterisk: activations "
    "were recomputed in the backward pass."
)


FEATURES_CAPTION = (
    " Minutes have the time for features that are computed once, before the training; speeds have it not."
)


RESULTS_CAPTION = (
    "Results after the last step, errors in percent, mean ± standard deviation over seeds: on {} training images in "
    "evaluation mode, and on {} test images."
)


PREFIX_NOTE = (
    "Published: the paper's errors at the same step, {}, read from the curves of He15 figure 6; the training error there is "
    "the running one, on the batches as they were trained on, and “>” stands where the figure is cut off below the curve."
)


def build_content(
    experiment: Experiment,
    budget: str,
    records: Sequence[AnyRecord],
    judgements: Sequence[Judgement],
    figures: Sequence[tuple[str, str]],
    failed: Sequence[str],
) -> dict[str, Any]:
    """The document's data. figures are (name, caption), the one for the first page first; failed names runs whose process
    broke."""
    published = not is_other_data(experiment, only_trained(records))
    shown = [{"path": f"{experiment.name}-{name}.pdf", "caption": caption} for name, caption in figures]
    return {
        "title": experiment.title,
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
    """Tables of what was run and of what came out, each with its caption."""
    trained, counted = only_trained(records), only_counted(records)
    note = _published_note(experiment, trained) if published else ""
    if experiment.is_counted:
        return {"ran": [], "results": [totals_table(experiment, counted)]}
    caption = ARMS_CAPTION + (FEATURES_CAPTION if any(r.feature_seconds for r in trained) else "")
    scored = [_scored_on(experiment, trained, split) for split in ("train", "test")]
    further = [table for table in (search_table(experiment, trained), parameters_table(counted)) if table]
    return {
        "ran": [arms_table(experiment, records) | {"caption": caption}, *further],
        "results": [
            results_table(experiment, trained, published)
            | {"caption": f"{RESULTS_CAPTION.format(*scored)} {note}".strip()}
        ],
    }


def _published_note(experiment: Experiment, records: Sequence[Record]) -> str:
    """What the published values of the table are, and where they are read."""
    steps = sorted({record.settings.prefix for record in records if record.settings.prefix is not None})
    if not steps or not experiment.published:
        return experiment.published_note
    if not any(published_values(experiment, records).values()):
        return "No figure of the source shows these nets at the step where ours end."
    return PREFIX_NOTE.format(" and ".join(f"{step:,}" for step in steps))


def _scored_on(experiment: Experiment, records: Sequence[Record], split: str) -> str:
    """On how many images of a split the arms of the table of results were scored: "all 50,000"; older records do not tell
    it of the test images, which were all.
    """
    shown = [record for record in records if not experiment.arm(record.arm).control]
    counts = {
        (record.final[f"{split}_images"], getattr(record.dataset, f"{split}_images"))
        for record in shown
        if f"{split}_images" in record.final
    }
    words = [f"all {scored:,}" if scored == there else f"{scored:,} of {there:,}" for scored, there in sorted(counts)]
    return " or ".join(words) or "all"


def claim_row(judgement: Judgement) -> dict[str, Any]:
    """A claim as reports show it."""
    claim = judgement.claim
    return {
        "name": claim.name,
        "source": claim.source,
        "text": claim.text,
        "note": claim.note,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "p": "" if judgement.p is None else _corrected(judgement),
        "parts": [
            {
                "statement": part.statement,
                "effect": effect(part),
                "interval": bounds(part),
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


def effect(part: Part) -> str:
    """The effect with its unit; with its sign where it is a difference."""
    if part.interval is None:
        return "no runs"
    return f"{number(part.interval.estimate, sign=part.difference)} {part.unit}".rstrip()


def bounds(part: Part) -> str:
    """The ends of the 95 % interval, a dash where there is none."""
    if part.interval is None or part.interval.low is None or part.interval.high is None:
        return "–"
    return " to ".join(number(end, sign=part.difference) for end in (part.interval.low, part.interval.high))


def signed(value: float) -> str:
    """With its sign, to two decimals, or to two significant digits where those would be zeros."""
    text = f"{value:+.2g}" if 0 < abs(value) < 0.1 else f"{value:+.2f}"
    return text.replace("-", "−")


def number(value: float, sign: bool) -> str:
    """`signed`, or for what is counted without a sign and with thousands set apart; whole numbers stay whole."""
    if sign:
        return signed(value)
    if value == int(value):
        return f"{value:,.0f}".replace("-", "−")
    return signed(value).removeprefix("+") if abs(value) < 1_000 else f"{value:,.1f}".replace("-", "−")


def _step_of(record: Record) -> str:
    """How the steps of a run were taken. On a CPU, and in records of earlier versions, compiled or not says all."""
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
        ["records", f"{len(records)}, the last of {max(r.finished_at for r in records)}"],
        ["commit", all_of(records, "commit")],
        ["hardware", all_of(records, "hardware")],
        ["precision", all_of(trained, "precision")],
        ["threads a run", all_of(trained, "threads")],
        ["training step", ", ".join(sorted({_step_of(record) for record in trained}))],
        ["activations", all_of(trained, "activations")],
        [
            "versions",
            ", ".join(f"{package} {' / '.join(sorted(found))}" for package, found in sorted(versions.items())),
        ],
        ["data digest", ", ".join(sorted({r.dataset.digest for r in trained}))],
        ["weights", ", ".join(f"{r.arm}/{r.seed}: {(r.weights_sha256 or 'none')[:10]}" for r in trained)],
    ]
    if not trained:
        rows = [row for row in rows if row[0] in ("records", "commit", "versions")]
    taken = [f"{r.arm}/{r.seed} from {source}" for r in trained if (source := r.taken_over_from)]
    further = (("started from", parents), ("taken over", taken))
    return rows + [[heading, ", ".join(words)] for heading, words in further if words]
