"""Results and verdicts of an experiment, from its records."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Comparison
from resnet_repro.claims.grade import PUBLISHED, SUBSTITUTE, Grade, weakest
from resnet_repro.claims.judge import Judgement, judge_all
from resnet_repro.claims.results import Results
from resnet_repro.design.experiment import Experiment
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import AnyRecord, Record, only_trained
from resnet_repro.report.banners import has_substitute_weights, is_coarse
from resnet_repro.report.tables import published_values


def results_of(records: Sequence[AnyRecord], resolution: int | None = None, dataset: str | None = None) -> Results:
    """Return the results on which claims are judged.

    resolution: the published one, in pixels per side; arms with runs at a lower one count as below the budget. dataset:
    the published one; arms with runs on another have the grade of a substitute.
    """
    values: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    pairing_keys: dict[str, dict[int, str | None]] = defaultdict(dict)
    origins: dict[str, dict[int, str | None]] = defaultdict(dict)
    trained = only_trained(records)
    runs = {(record.settings.experiment, record.arm, record.seed): record for record in trained}
    for record in records:
        values[record.arm][record.seed] = metrics_of(record)
    begun: dict[str, datetime] = {}
    grades: dict[str, list[Grade]] = defaultdict(list)
    for record in trained:
        finished = datetime.fromisoformat(record.finished_at)
        # Older records do not tell when they began; pauses of interrupted runs are then missing.
        start = (
            datetime.fromisoformat(record.begun_at) if record.begun_at else finished - timedelta(seconds=record.seconds)
        )
        begun[record.arm] = min(start, begun.get(record.arm, start))
        grades[record.arm].append(grade_of(record, resolution, dataset))
        pairing_keys[record.arm][record.seed] = record.pairing_key
        origins[record.arm][record.seed] = _origin(record, runs)
    return Results(
        values,
        standin=any(r.dataset.standin for r in trained),
        short=frozenset(r.arm for r in trained if _is_short(r) or is_coarse(r, resolution)),
        prefixes={r.arm: r.settings.prefix for r in trained if r.settings.prefix is not None},
        substitute=frozenset(r.arm for r in trained if has_substitute_weights(r)),
        pairing_keys=pairing_keys,
        origins=origins,
        grades={arm: weakest(of_arm) for arm, of_arm in grades.items()},
        begun={arm: start.isoformat() for arm, start in begun.items()},
    )


def grade_of(record: Record, resolution: int | None = None, dataset: str | None = None) -> Grade:
    """Return the basis that a run gives to a verdict, by its data, resolution and length, see `results_of`."""
    is_other = dataset is not None and record.settings.arm.dataset is None and record.dataset.name != dataset
    if is_other or is_coarse(record, resolution):
        return SUBSTITUTE
    steps, published = record.schedule
    settings = record.settings
    if settings.stretch is not None:
        return Grade("prefix", 100 * settings.stretch / published)
    if steps >= published:
        return PUBLISHED
    return Grade("compressed" if settings.prefix is None else "prefix", 100 * steps / published)


def _origin(record: Record, runs: Mapping[tuple[str, str, int], Record]) -> str | None:
    """Return the digest of the first trained net among a run's ancestors; None if the run began untrained."""
    parent = record.parent
    if parent is None:
        return None
    earlier = runs.get((parent.experiment, parent.arm, parent.seed))
    if earlier is None or earlier.weights_sha256 != parent.weights_sha256:
        return parent.weights_sha256
    return _origin(earlier, runs) or parent.weights_sha256


def _is_short(record: Record) -> bool:
    steps, published = record.schedule
    return steps < published or record.settings.stretch is not None


def judged(experiment: Experiment, records: Sequence[AnyRecord]) -> list[Judgement]:
    """Return the verdicts on the experiment's claims, given these records."""
    results = results_of(records, experiment.published_resolution, experiment.dataset)
    trained = only_trained(records)
    cut = {record.arm for record in trained if record.settings.prefix is not None}
    ends = published_values(experiment, trained)
    return judge_all([_at_their_step(claim, cut, ends) for claim in experiment.claims], results)


def _at_their_step(claim: Claim, cut: AbstractSet[str], ends: Mapping[str, Mapping[str, float]]) -> Claim:
    """Return the claim with the source's effects at the step where prefixes end, instead of at the end of its schedule.

    cut: the arms with prefixes. ends: from `published_values`.
    """
    test = [
        replace(c, published=_effect_at_step(c, cut, ends)) if isinstance(c, Comparison) and cut & {*c.arms} else c
        for c in claim.test
    ]
    return replace(claim, test=test)


def _effect_at_step(
    comparison: Comparison, cut: AbstractSet[str], ends: Mapping[str, Mapping[str, float]]
) -> float | None:
    """Return the effect in the source's curves at the step where the runs end; None if a curve is missing or cut off."""
    if comparison.published is None or not cut >= {*comparison.arms}:
        return None
    effect = sum(weight * ends.get(arm, {}).get(comparison.metric, math.inf) for arm, weight in comparison.terms)
    return effect if math.isfinite(effect) else None
