"""Sentences on the runs of a report: data, seeds, hardware, recipes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from resnet_repro.config.arm import Recipe, WarmUp
from resnet_repro.config.schedule import warm_up_threshold
from resnet_repro.parsing import plural
from resnet_repro.records.record import AnyRecord, Record, only_trained

SCALINGS = {
    "pixel-mean": "per-pixel mean subtracted",
    "none": "pixels in 0 to 255",
    "unit": "pixels in [0, 1]",
    "standard": "channels of zero mean and unit variance",
    "imagenet": "channels scaled by ImageNet's statistics",
}


def summary_of_runs(records: Sequence[AnyRecord]) -> str:
    """Describe the runs in sentences: data, hardware and recipes."""
    trained = only_trained(records)
    parts = [_trained(trained)] if trained else []
    if count := len(records) - len(trained):
        parts.append(f"{plural(count, 'network')} counted layer by layer from the modules, without data.")
    return " ".join(parts)


def _trained(records: Sequence[Record]) -> str:
    datasets: dict[str, list[Record]] = {}
    for record in records:
        datasets.setdefault(record.dataset.title, []).append(record)
    seeds = sorted({r.seed for r in records})
    minutes = sum(r.seconds + (r.feature_seconds or 0.0) for r in records) / 60
    recipes: dict[tuple[str, int], list[Record]] = {}
    candidates = {arm for record in records for arm in _candidates(record)}
    for record in records:
        if record.settings.iterations and record.arm not in candidates:
            recipes.setdefault((record.recipe.name, record.recipe.train_images), []).append(record)
    return " ".join(
        [
            f"{' and '.join(_on(runs) for runs in datasets.values())}, {plural(len(seeds), 'seed')} "
            f"({', '.join(map(str, seeds))}), {all_of(records, 'precision')} on {all_of(records, 'hardware')}"
            f"{_together(records)}, {minutes:.0f} run-minutes in all.",
            *[_recipe(runs) for runs in recipes.values()],
        ]
    )


def _on(records: Sequence[Record]) -> str:
    """Describe the data set of the runs, with their number."""
    dataset = records[0].dataset
    digests = sorted({r.dataset.digest[:12] for r in records})
    sides = sorted({r.settings.resolution for r in records if r.settings.resolution})
    pixels = f" at {' and '.join(f'{side}×{side}' for side in sides)} pixels" if sides else ""
    of = "listing" if dataset.class_images else "contents"
    return (
        f"{plural(len(records), 'run')} on {dataset.title}{pixels} ({dataset.train_images:,} training and "
        f"{dataset.test_images:,} test images, {of} digest {', '.join(digests)}…)"
    )


def _candidates(record: Record) -> Collection[str]:
    """Return the arms of the run's learning-rate search, which have their own table."""
    return record.search.candidates if record.search else ()


def _recipe(records: Sequence[Record]) -> str:
    """Describe a recipe in one sentence, with the lengths of its runs."""
    recipe, dataset = records[0].recipe, records[0].dataset
    lengths = sorted({(r.settings.iterations, r.settings.prefix) for r in records if r.settings.prefix is not None})
    lengths = lengths or sorted({(r.settings.iterations, None) for r in records})
    steps = [f"the first {cut:,} of {n:,}" if cut is not None else f"{n:,}" for n, cut in lengths]
    optimizer = ("Adam, β₁" if recipe.optimizer == "adam" else "SGD, momentum") + f" {recipe.momentum:g}"
    searched = any(_candidates(record) for record in records)
    rate = "learning rate from a search" if searched else f"learning rate {recipe.learning_rate:g}"
    if recipe.milestones:
        fractions = " and ".join(f"{100 * m / recipe.iterations:.3g}" for m in recipe.milestones)
        rate += f" divided by {recipe.divide_by:g} at {fractions} % of the steps"
    if warm_up := records[0].settings.arm.recipe.warm_up:
        rate += _warm_up(warm_up, records)
    parts = [
        optimizer,
        f"weight decay {recipe.weight_decay:g}",
        rate,
        SCALINGS[recipe.scaling],
        _augmentation(recipe, in_folders=dataset.class_images is not None),
    ]
    if recipe.order == "fixed":
        parts.append("images in the same order in every epoch")
    if recipe.train_images and "train" in dataset.used:
        parts.append(f"{dataset.used['train']:,} of the training images used")
    if recipe.validation_images:
        parts.append(f"{recipe.validation_images:,} training images held out for validation")
    return (
        f"Recipe {recipe.name} ({recipe.source}): {' or '.join(steps)} steps of batch "
        f"{recipe.batch_size}; {'; '.join(parts)}."
    )


def _warm_up(warm_up: WarmUp, records: Sequence[Record]) -> str:
    if warm_up.until_error is None:
        return f", at most {warm_up.learning_rate:g} for the first {warm_up.steps:,} steps"
    ends = sorted({r.warmed_up_at for r in records if r.warmed_up_at})
    until = warm_up_threshold(warm_up.until_error, records[0].dataset.classes)
    words = f", {warm_up.learning_rate:g} until the running training error is under {until:.3g} %"
    return words + (f" (at step {', '.join(f'{end:,}' for end in ends)})" if ends else " (not reached)")


def _augmentation(recipe: Recipe, in_folders: bool) -> str:
    """Describe the augmentation: pad and crop for images in memory, scale and crop for class folders."""
    if recipe.scale and in_folders:
        low, high = recipe.scale
        parts = [f"shorter side scaled to {low} to {high} pixels for a crop of 224"]
    else:
        parts = [f"pad {recipe.padding}, random crop"] if recipe.padding else []
    parts += ["horizontal flip"] if recipe.flip else []
    parts += [f"colours shifted by {recipe.color:g} σ"] if recipe.color else []
    return ", ".join(parts) or "no augmentation"


def _together(records: Sequence[Record]) -> str:
    """Return the number of processes per run, each on its own device; empty if it is one."""
    counts = sorted({record.processes for record in records} - {1})
    return f", {' or '.join(map(str, counts))} processes per run" if counts else ""


def all_of(records: Sequence[AnyRecord], key: str) -> str:
    """List the distinct values of a record entry."""
    return ", ".join(sorted({str(getattr(record, key)) for record in records}))
