"""Results and verdicts of an experiment, from its records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from resnet_repro.claims.comparisons import Results
from resnet_repro.claims.judge import Judgement, judge_all
from resnet_repro.design.experiment import Experiment
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import AnyRecord, Record, only_trained
from resnet_repro.report.banners import has_substitute_weights, is_coarse


def results_of(records: Sequence[AnyRecord], resolution: int | None = None) -> Results:
    """Return the results on which claims are judged.

    resolution: the published one, in pixels per side; arms with runs at a lower one count as below the budget.
    """
    values: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    pairing_keys: dict[str, dict[int, str | None]] = defaultdict(dict)
    origins: dict[str, dict[int, str | None]] = defaultdict(dict)
    trained = only_trained(records)
    runs = {(record.settings.experiment, record.arm, record.seed): record for record in trained}
    for record in records:
        values[record.arm][record.seed] = metrics_of(record)
    for record in trained:
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
    )


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
    return judge_all(experiment.claims, results_of(records, experiment.published_resolution))
