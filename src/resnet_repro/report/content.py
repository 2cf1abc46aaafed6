"""What a report says, as plain data for the typesetter: every number formatted here, every sentence complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from resnet_repro.analysis.claims import Judgement, rule_for
from resnet_repro.analysis.comparisons import Part, Results
from resnet_repro.experiment import Experiment, WarmUp
from resnet_repro.report.banners import banners, has_substitute_weights, is_coarse, is_other_data
from resnet_repro.report.counted import counted
from resnet_repro.report.counts import totals_table
from resnet_repro.report.tables import arms_table, parameters_table, results_table, search_table
from resnet_repro.results import Record
from resnet_repro.training.schedule import warm_up_threshold

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
SCALINGS = {
    "pixel-mean": "per-pixel mean subtracted",
    "unit": "pixels in [0, 1]",
    "standard": "channels of zero mean and unit variance",
    "imagenet": "channels scaled as ImageNet's",
}


def results_of(records: Sequence[Record], resolution: int | None = None) -> Results:
    """What the claims are judged on. resolution: the published one, in pixels; a lower one is short of the budget too."""
    values: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    draws: dict[str, dict[int, str | None]] = defaultdict(dict)
    origins: dict[str, dict[int, str | None]] = defaultdict(dict)
    runs = {(record.settings.experiment, record.arm, record.seed): record for record in records}
    for record in records:
        values[record.arm][record.seed] = counted(record)
        draws[record.arm][record.seed] = record.data["draws"]
        origins[record.arm][record.seed] = _origin(record, runs)
    return Results(
        values,
        standin=any(r.data["dataset"]["standin"] for r in records),
        short=frozenset(r.arm for r in records if not r.is_counted and (_is_short(r) or is_coarse(r, resolution))),
        prefixes={r.arm: r.settings.prefix for r in records if r.settings.prefix is not None},
        substitute=frozenset(r.arm for r in records if has_substitute_weights(r)),
        draws=draws,
        origins=origins,
    )


def _origin(record: Record, runs: Mapping[tuple[str, str, int], Record]) -> str | None:
    """The digest of the first trained net that a run goes back to, by way of other runs; None if it began untrained."""
    parent = record.data["parent"]
    if parent is None:
        return None
    earlier = runs.get((parent["experiment"], parent["arm"], parent["seed"]))
    if earlier is None or earlier.data["weights_sha256"] != parent["weights_sha256"]:
        return parent["weights_sha256"]
    return _origin(earlier, runs) or parent["weights_sha256"]


def _is_short(record: Record) -> bool:
    steps, published = record.schedule
    return steps < published or record.settings.stretch is not None


def build_content(
    experiment: Experiment,
    budget: str,
    records: Sequence[Record],
    judgements: Sequence[Judgement],
    figures: Sequence[tuple[str, str]],
    failed: Sequence[str],
) -> dict[str, Any]:
    """The document's data. figures are (name, caption); failed names runs whose process broke."""
    published = not is_other_data(experiment, records)
    return {
        "title": experiment.title,
        "source": experiment.source,
        "question": experiment.question,
        "banners": banners(experiment, budget, records, failed),
        "summary": _summary(records),
        **_tables(experiment, records, published),
        "claims": [claim_row(judgement) for judgement in judgements],
        "rule": rule_for(experiment.claims),
        "figures": [{"path": f"{experiment.name}-{name}.pdf", "caption": caption} for name, caption in figures],
        "deviations": list(experiment.deviations),
        "provenance": _provenance(records),
    }


def _tables(experiment: Experiment, records: Sequence[Record], published: bool) -> dict[str, list[dict[str, Any]]]:
    """Tables of what was run and of what came out, each with its caption."""
    note = experiment.published_note if published else ""
    if experiment.is_counted:
        return {"ran": [], "results": [totals_table(experiment, records)]}
    caption = ARMS_CAPTION + (FEATURES_CAPTION if any(r.data.get("feature_seconds") for r in records) else "")
    scored = [_scored_on(experiment, records, split) for split in ("train", "test")]
    further = [table for table in (search_table(experiment, records), parameters_table(records)) if table]
    return {
        "ran": [arms_table(experiment, records) | {"caption": caption}, *further],
        "results": [
            results_table(experiment, records, published)
            | {"caption": f"{RESULTS_CAPTION.format(*scored)} {note}".strip()}
        ],
    }


def _scored_on(experiment: Experiment, records: Sequence[Record], split: str) -> str:
    """On how many images of a split the arms of the table of results were scored: "all 50,000"; older records do not tell
    it of the test images, which were all.
    """
    shown = [record for record in records if not experiment.arm(record.arm).control and not record.is_counted]
    counts = {
        (record.data["final"][f"{split}_images"], record.data["dataset"][f"{split}_images"])
        for record in shown
        if f"{split}_images" in record.data["final"]
    }
    words = [f"all {scored:,}" if scored == there else f"{scored:,} of {there:,}" for scored, there in sorted(counts)]
    return " or ".join(words) or "all"


def _summary(records: Sequence[Record]) -> str:
    """What was run, in sentences."""
    trained = [record for record in records if not record.is_counted]
    parts = [_trained(trained)] if trained else []
    if count := len(records) - len(trained):
        parts.append(
            f"{count} network{'s' * (count > 1)} counted layer by layer, from the modules themselves and without data."
        )
    return " ".join(parts)


def _trained(records: Sequence[Record]) -> str:
    datasets: dict[str, list[Record]] = {}
    for record in records:
        datasets.setdefault(record.data["dataset"]["title"], []).append(record)
    seeds = sorted({r.seed for r in records})
    minutes = sum(r.data["seconds"] for r in records) / 60
    recipes: dict[str, list[Record]] = {}
    candidates = {arm for record in records for arm in _candidates(record)}
    for record in records:
        if record.settings.iterations and record.arm not in candidates:
            recipes.setdefault(record.data["recipe"]["name"], []).append(record)
    return " ".join(
        [
            f"{' and '.join(_on(mine) for mine in datasets.values())}, {len(seeds)} seed{'s' * (len(seeds) > 1)} "
            f"({', '.join(map(str, seeds))}), {all_of(records, 'precision')} on {all_of(records, 'hardware')}"
            f"{_together(records)}, {minutes:.0f} run-minutes in all.",
            *[_recipe(mine) for mine in recipes.values()],
        ]
    )


def _on(records: Sequence[Record]) -> str:
    """So many runs on a data set, and what that is."""
    data = records[0].data["dataset"]
    digests = sorted({r.data["dataset"]["digest"][:12] for r in records})
    sides = sorted({r.settings.resolution for r in records if r.settings.resolution})
    pixels = f" at {' and '.join(f'{side}×{side}' for side in sides)} pixels" if sides else ""
    of = "listing" if "class_images" in data else "contents"
    return (
        f"{len(records)} run{'s' * (len(records) > 1)} on {data['title']}{pixels} ({data['train_images']:,} training and "
        f"{data['test_images']:,} test images, {of} digest {', '.join(digests)}…)"
    )


def _candidates(record: Record) -> Collection[str]:
    """The arms among which the run's learning rate was searched; the table of the search shows them."""
    return (record.data.get("search") or {"candidates": {}})["candidates"]


def _recipe(records: Sequence[Record]) -> str:
    """One recipe in a sentence, with the lengths that its runs have."""
    recipe: Mapping[str, Any] = records[0].data["recipe"]
    lengths = sorted({r.settings.iterations for r in records})
    optimizer = ("Adam, β₁" if recipe["optimizer"] == "adam" else "SGD, momentum") + f" {recipe['momentum']:g}"
    searched = any(_candidates(record) for record in records)
    rate = "learning rate searched for" if searched else f"learning rate {recipe['learning_rate']:g}"
    if recipe["milestones"]:
        fractions = " and ".join(f"{100 * m / recipe['iterations']:.3g}" for m in recipe["milestones"])
        rate += f" divided by {recipe['divide_by']:g} at {fractions} % of the steps"
    if warm_up := records[0].settings.arm.recipe.warm_up:
        rate += _warm_up(warm_up, records)
    parts = [
        optimizer,
        f"weight decay {recipe['weight_decay']:g}",
        rate,
        SCALINGS[recipe["scaling"]],
        _augmentation(recipe, "class_images" in records[0].data["dataset"]),
    ]
    used = records[0].data["dataset"].get("used", {}).get("train")
    if recipe.get("train_images") and used:
        parts.append(f"{used:,} of the training images used")
    if recipe["validation_images"]:
        parts.append(f"{recipe['validation_images']:,} of the training images held out for validation")
    return (
        f"Recipe {recipe['name']} ({recipe['source']}): {' or '.join(f'{n:,}' for n in lengths)} steps of batch "
        f"{recipe['batch_size']}; {'; '.join(parts)}."
    )


def _warm_up(warm_up: WarmUp, records: Sequence[Record]) -> str:
    if warm_up.until_error is None:
        return f", at most {warm_up.learning_rate:g} for the first {warm_up.steps:,} steps"
    ends = sorted({r.data["warmed_up_at"] for r in records if r.data["warmed_up_at"]})
    until = warm_up_threshold(warm_up.until_error, records[0].data["dataset"]["classes"])
    words = f", {warm_up.learning_rate:g} until the running training error is under {until:.3g} %"
    return words + (f" (at step {', '.join(f'{end:,}' for end in ends)})" if ends else " (not reached)")


def _augmentation(recipe: Mapping[str, Any], in_folders: bool) -> str:
    """What is drawn on an image: pad and crop of images in memory, scale and crop of those of class folders."""
    if recipe.get("scale") and in_folders:
        low, high = recipe["scale"]
        parts = [f"shorter side scaled to {low} to {high} pixels for a crop of 224"]
    else:
        parts = [f"pad {recipe['padding']}, random crop"] if recipe["padding"] else []
    parts += ["horizontal flip"] if recipe["flip"] else []
    parts += [f"colours shifted by {recipe['color']:g} σ"] if recipe.get("color") else []
    return ", ".join(parts) or "no augmentation"


def _together(records: Sequence[Record]) -> str:
    """How many processes, each on a device of its own, carried out a run; nothing where it was one."""
    counts = sorted({record.data.get("processes", 1) for record in records} - {1})
    return f", {' or '.join(map(str, counts))} processes together" if counts else ""


def all_of(records: Sequence[Record], key: str) -> str:
    """The values that the records have of an entry, each once."""
    return ", ".join(sorted({str(record.data[key]) for record in records}))


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


def _provenance(records: Sequence[Record]) -> list[list[str]]:
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for package, number in record.data["versions"].items():
            versions[package].add(number)
    parents = [
        f"{r.arm}/{r.seed} from {p['experiment']}/{p['arm']}/{p['seed']} ({p['weights_sha256'][:10]})"
        for r in records
        if (p := r.data["parent"])
    ]
    trained = [record for record in records if not record.is_counted] or records
    rows = [
        ["records", f"{len(records)}, the last of {max(str(r.data['finished_at']) for r in records)}"],
        ["commit", all_of(records, "commit")],
        ["hardware", all_of(records, "hardware")],
        ["precision", all_of(trained, "precision")],
        ["threads a run", all_of(trained, "threads")],
        ["training step", all_of(trained, "compilation")],
        ["activations", all_of(trained, "activations")],
        [
            "versions",
            ", ".join(f"{package} {' / '.join(sorted(found))}" for package, found in sorted(versions.items())),
        ],
        ["data digest", ", ".join(sorted({r.data["dataset"]["digest"] for r in trained}))],
        ["weights", ", ".join(f"{r.arm}/{r.seed}: {(r.data['weights_sha256'] or 'none')[:10]}" for r in trained)],
    ]
    if all(record.is_counted for record in records):
        rows = [row for row in rows if row[0] in ("records", "commit", "versions")]
    taken = [f"{r.arm}/{r.seed} from {source}" for r in records if (source := r.data.get("taken_over_from"))]
    further = (("started from", parents), ("taken over", taken))
    return rows + [[heading, ", ".join(words)] for heading, words in further if words]
