"""What a report says, as plain data for the typesetter: every number formatted here, every sentence complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from resnet_repro.analysis.claims import Judgement, Part, Results
from resnet_repro.experiment import Arm, Experiment
from resnet_repro.results import Record

RULE = (
    "An effect is a difference of means over seeds with its 95 % interval (Welch's t; a paired t where both arms share "
    "initialization and data order). With three seeds or more a claim is reproduced where the whole interval lies on the "
    "claimed side, not reproduced where it lies on the other, else undecided. One seed can only be observed or not "
    "observed; two decide nothing. A claim of several parts needs them all. Below the budget that a claim needs, on "
    "stand-in data, and where runs are missing, it is undecided. Errors are those after the last step; the best value "
    "along the way stands beside them and decides nothing."
)


def results_of(experiment: Experiment, records: Sequence[Record]) -> Results:
    """What the claims are judged on."""
    values: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for record in records:
        metrics = record.data["final"].keys() | record.data["diagnostics"].keys()
        row = {metric: value for metric in metrics if (value := record.value(metric)) is not None}
        values[record.arm][record.seed] = row
    return Results(
        values,
        paper_budget=all(r.settings.iterations >= r.settings.arm.recipe.iterations for r in records),
        standin=any(r.data["dataset"]["standin"] for r in records),
    )


def build_content(
    experiment: Experiment,
    budget: str,
    iterations: int,
    records: Sequence[Record],
    judgements: Sequence[Judgement],
    figures: Sequence[tuple[str, str]],
    failed: Sequence[str],
) -> dict[str, Any]:
    """The document's data. figures are (name, caption); failed names runs whose process broke."""
    return {
        "title": experiment.title,
        "source": experiment.source,
        "question": experiment.question,
        "banners": _banners(experiment, budget, iterations, records, failed),
        "summary": _summary(experiment, iterations, records),
        "arms": [_arm_row(arm, records) for arm in experiment.arms],
        "errors": [_error_row(arm, records, experiment) for arm in experiment.arms if not arm.control],
        "published_note": experiment.published_note,
        "claims": [_claim_row(judgement) for judgement in judgements],
        "rule": RULE,
        "figures": [{"path": f"{experiment.name}-{name}.pdf", "caption": caption} for name, caption in figures],
        "deviations": list(experiment.deviations),
        "provenance": _provenance(records),
    }


def _of(arm: str, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.arm == arm]


def _banners(
    experiment: Experiment, budget: str, iterations: int, records: Sequence[Record], failed: Sequence[str]
) -> list[str]:
    banners = []
    standins = {r.data["dataset"]["title"] for r in records if r.data["dataset"]["standin"]}
    if standins:
        banners.append(
            f"STAND-IN DATA. These nets were trained on a {', '.join(sorted(standins))}, not on the published data set. "
            "No claim is judged on it."
        )
    published = experiment.arms[0].recipe.iterations
    if iterations < published:
        banners.append(
            f"SHORT BUDGET. {iterations:,} of the published {published:,} iterations "
            f"({100 * iterations / published:.1f} %), the schedule scaled with them. "
            "Errors are far from the published ones; verdicts speak of this budget."
        )
    seeds = sorted({r.seed for r in records} | set(experiment_seeds(experiment, budget)))
    have = {(r.arm, r.seed) for r in records}
    missing = [f"{a.name} seed {s}" for s in seeds for a in experiment.arms if (a.name, s) not in have]
    missing = [name for name in missing if name not in failed]
    if missing:
        banners.append(f"MISSING RUNS. {_listed(missing)}. The same command trains them.")
    if failed:
        banners.append(f"FAILED RUNS. {_listed(list(failed))}. Their log.txt says why.")
    diverged = [f"{r.arm} seed {r.seed} at step {r.data['diverged_at']:,}" for r in records if r.status == "diverged"]
    if diverged:
        banners.append(f"DIVERGED. {_listed(diverged)}: the loss was no longer finite.")
    return banners


def experiment_seeds(experiment: Experiment, budget: str) -> tuple[int, ...]:
    """The seeds that a profile asks for; none for a budget that is no profile."""
    return next((profile.seeds for profile in experiment.profiles if profile.name == budget), ())


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else ", ".join(names[:12]) + f" and {len(names) - 12} more"


def _summary(experiment: Experiment, iterations: int, records: Sequence[Record]) -> str:
    first = records[0].data
    seeds = sorted({r.seed for r in records})
    minutes = sum(r.data["seconds"] for r in records) / 60
    recipe = first["recipe"]
    data = first["dataset"]
    digests = sorted({r.data["dataset"]["digest"][:12] for r in records})
    milestones = [round(m * iterations / recipe["iterations"]) for m in recipe["milestones"]]
    return (
        f"{len(records)} runs on {data['title']} ({data['train_images']:,} training and {data['test_images']:,} test "
        f"images, contents digest {', '.join(digests)}…): {iterations:,} iterations of batch {recipe['batch_size']}, "
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))}), "
        f"{_all(records, 'precision')} on {_all(records, 'hardware')}, {minutes:.0f} run-minutes in all. "
        f"Recipe {recipe['name']} ({recipe['source']}): SGD, momentum {recipe['momentum']:g}, weight decay "
        f"{recipe['weight_decay']:g}, learning rate {recipe['learning_rate']:g} divided by {recipe['divide_by']:g} at "
        f"{' and '.join(f'{m:,}' for m in milestones)}; pad {recipe['padding']}, random crop, horizontal flip."
    )


def _all(records: Sequence[Record], key: str) -> str:
    return ", ".join(sorted({str(record.data[key]) for record in records}))


def _arm_row(arm: Arm, records: Sequence[Record]) -> list[str]:
    mine = _of(arm.name, records)
    if not mine:
        return [arm.name, "", "", "", "", "none", "", ""]
    model = mine[0].data["model"]
    return [
        arm.name + (" (control)" if arm.control else ""),
        str(model["layers"]),
        f"{model['parameters'] / 1e6:.2f} M",
        f"{model['multiply_adds'] / 1e6:.1f} M",
        f"{mine[0].data['iterations']:,}",
        ", ".join(str(r.seed) for r in mine),
        f"{mean(r.data['seconds'] for r in mine) / 60:.1f}",
        f"{mean(r.data['images_per_second'] for r in mine):,.0f}",
    ]


def _error_row(arm: Arm, records: Sequence[Record], experiment: Experiment) -> list[str]:
    mine = _of(arm.name, records)
    published = experiment.published.get(arm.name, {})
    best = [r.data["best"]["test_error"] for r in mine if r.data["best"] and r.status == "finished"]
    return [
        arm.name,
        _spread([r.value("train_error") for r in mine]),
        _spread([r.value("test_error") for r in mine]),
        _spread(best),
        _spread([r.value("mean_response") for r in mine]),
        _published(published.get("train_error")),
        _published(published.get("test_error")),
        _published(published.get("mean_response")),
        str(sum(r.status == "finished" for r in mine)),
    ]


def _spread(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation over seeds; the value alone where there is one."""
    found = [value for value in values if value is not None]
    if not found:
        return "–"
    return f"{mean(found):.2f}" + (f" ± {stdev(found):.2f}" if len(found) > 1 else "")


def _published(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _claim_row(judgement: Judgement) -> dict[str, Any]:
    claim = judgement.claim
    return {
        "name": claim.name,
        "source": claim.source,
        "text": claim.text,
        "note": claim.note,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "parts": [
            {
                "statement": part.statement,
                "effect": _effect(part, comparison.unit),
                "interval": _bounds(part),
                "seeds": str(part.seeds),
                "verdict": part.verdict,
            }
            for part, comparison in zip(judgement.parts, claim.test, strict=True)
        ],
    }


def _effect(part: Part, unit: str) -> str:
    return "no runs" if part.interval is None else f"{_signed(part.interval.estimate)} {unit}"


def _bounds(part: Part) -> str:
    if part.interval is None or part.interval.low is None or part.interval.high is None:
        return "–"
    return f"{_signed(part.interval.low)} to {_signed(part.interval.high)}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _provenance(records: Sequence[Record]) -> list[list[str]]:
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for package, number in record.data["versions"].items():
            versions[package].add(number)
    return [
        ["records", f"{len(records)}, the last of {max(str(r.data['finished_at']) for r in records)}"],
        ["commit", _all(records, "commit")],
        ["hardware", _all(records, "hardware")],
        ["precision", _all(records, "precision")],
        ["threads a run", _all(records, "threads")],
        ["training step", _all(records, "compilation")],
        [
            "versions",
            ", ".join(f"{package} {' / '.join(sorted(found))}" for package, found in sorted(versions.items())),
        ],
        ["data digest", ", ".join(sorted({r.data["dataset"]["digest"] for r in records}))],
        ["weights", ", ".join(f"{r.arm}/{r.seed}: {(r.data['weights_sha256'] or 'none')[:10]}" for r in records)],
    ]
