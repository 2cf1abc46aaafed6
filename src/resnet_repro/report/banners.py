"""What a reader must know before any number: stand-ins, other data, short budgets, stretches, missing and failed runs."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.records.record import AnyRecord, Record, only_trained

NAMED = 12  # runs named one by one before the rest is counted


def banners(experiment: Experiment, budget: str, records: Sequence[AnyRecord], failed: Sequence[str]) -> list[str]:
    """The warnings that stand on top of a report, the gravest first. failed: names of runs whose process broke."""
    trained = only_trained(records)
    found = [
        _standin(trained),
        _substitute_weights(trained),
        _other_data(experiment, trained),
        _coarse(experiment, trained),
        _prefix(trained),
        _short(trained),
        _stretches(trained),
        _broken(trained),
        _missing(experiment, budget, records, failed),
        f"FAILED RUNS. {_listed(failed)}. Their log.txt says why." if failed else "",
        _diverged(trained),
        _skipped(trained),
    ]
    return [text for text in found if text]


def is_other_data(experiment: Experiment, records: Sequence[Record]) -> bool:
    """Whether the runs are on real data other than the experiment's own, so that published numbers do not apply."""
    datasets = {(r.dataset.name, r.dataset.standin) for r in records if r.settings.arm.dataset is None}
    return any(name != experiment.dataset and not standin for name, standin in datasets)


def has_substitute_weights(record: Record) -> bool:
    """Whether the run began with a backbone that was trained in place of the weights wanted."""
    return record.weights_from is not None and record.weights_from.substitute


def _backbone_arm(record: Record) -> str | None:
    """The arm whose backbone the run begins with, or would but for weights from outside."""
    start = record.settings.arm.start
    return start.arm if start is not None and start.how == "backbone" else None


def is_coarse(record: Record, resolution: int | None) -> bool:
    """Whether the run saw its images at fewer pixels a side than the published `resolution`."""
    return bool(resolution and record.settings.resolution and record.settings.resolution < resolution)


def _substitute_weights(records: Sequence[Record]) -> str:
    begun = [record for record in records if has_substitute_weights(record)]
    if not begun:
        return ""
    sources = [record for record in records if record.arm in {_backbone_arm(other) for other in begun}]
    how = sorted({f"{r.dataset.title}, {r.settings.iterations:,} steps" for r in sources})
    return (
        f"SUBSTITUTE WEIGHTS. In place of torchvision's ImageNet weights {', '.join(sorted({r.arm for r in begun}))} begin "
        f"with a backbone that was trained here ({'; '.join(how)}). No claim about pretrained weights is judged on them."
    )


def _coarse(experiment: Experiment, records: Sequence[Record]) -> str:
    resolution = experiment.published_resolution
    found = sorted({r.settings.resolution for r in records if is_coarse(r, resolution) and r.settings.resolution})
    if not found:
        return ""
    return f"LOW RESOLUTION. Images of {', '.join(map(str, found))} pixels a side in place of {resolution}."


def _standin(records: Sequence[Record]) -> str:
    titles = sorted({r.dataset.title for r in records if r.dataset.standin})
    if not titles:
        return ""
    return (
        f"STAND-IN DATA. These nets were trained on a {', '.join(titles)}, not on the published data set. "
        "No claim is judged on it."
    )


def _other_data(experiment: Experiment, records: Sequence[Record]) -> str:
    if not is_other_data(experiment, records):
        return ""
    titles = ", ".join(sorted({r.dataset.title for r in records if r.settings.arm.dataset is None}))
    return (
        f"OTHER DATA SET. These nets were trained on {titles}; the published numbers are for {experiment.dataset} and "
        "are not shown. Verdicts speak of this data set."
    )


def _short(records: Sequence[Record]) -> str:
    stand_ins = {arm for record in records if (arm := _backbone_arm(record)) and has_substitute_weights(record)}
    records = [
        record
        for record in records
        if record.arm not in stand_ins and record.settings.prefix is None  # nobody has published the former's length
    ]
    shorter = [(mine, theirs) for mine, theirs in schedules(records) if mine < theirs]
    if not shorter:
        return ""
    parts = [
        f"{mine:,} of the published {theirs:,} iterations ({_percent(mine, theirs)} %)" for mine, theirs in shorter
    ]
    return (
        f"SHORT BUDGET. {'; '.join(parts)}, the schedule scaled with them{_slow_start(records)}. "
        "Errors are far from the published ones; verdicts speak of this budget."
    )


def _slow_start(records: Sequence[Record]) -> str:
    """What compressed schedules do for nets that do not stand the published rate from the first step, and why."""
    slow = [record.settings for record in records if (w := record.settings.arm.recipe.warm_up) and w.steps]
    if not slow:
        return ""
    warm_up, longest = slow[0].arm.recipe.warm_up, max(settings.iterations for settings in slow)
    assert warm_up is not None and warm_up.steps is not None
    steps = "all steps" if longest <= warm_up.steps else f"the first {warm_up.steps:,} steps"
    return (
        f"; {steps} are taken at {warm_up.learning_rate:g} at most, the paper's remedy for deep nets, which learn nothing for "
        "hundreds of steps at the full rate"
    )


def _prefix(records: Sequence[Record]) -> str:
    """Says that the runs are the beginning of the published schedule, which a short budget is not."""
    cut = schedules([record for record in records if record.settings.prefix is not None])
    if not cut:
        return ""
    parts = [
        f"{mine:,} of the published {theirs:,} iterations (prefix {100 * mine / theirs:.0f} %)" for mine, theirs in cut
    ]
    return f"PREFIX. {'; '.join(parts)}: same rates at the same steps as published."


def _percent(part: int, whole: int) -> str:
    """To a decimal, or to two significant digits where that would say nothing."""
    share = 100 * part / whole
    return f"{share:.1f}" if share >= 0.1 else f"{share:.2g}"


def schedules(records: Sequence[Record]) -> list[tuple[int, int]]:
    """(iterations, published ones) of the schedules, as if every arm had the recipe's own length.

    Of prefixes the iterations done, without those of arms whose share of the schedule ends before. Of runs that are not
    trained themselves, those behind the weights that they read.
    """
    cut = [record for record in records if record.settings.prefix is not None]
    trained = {
        (round(s.followed / s.arm.length), s.arm.recipe.iterations)
        for s in (record.settings for record in cut or records)
        if s.arm.length
    }
    return sorted(trained or {r.schedule for r in records if r.parent})


def _stretches(records: Sequence[Record]) -> str:
    stretches = {r.arm: r.settings for r in records if r.settings.stretch is not None and r.status != "skipped"}
    if not stretches:
        return ""
    parts = [f"{arm}: {settings.stop_at:,} of {settings.iterations:,} steps" for arm, settings in stretches.items()]
    return f"STRETCH ONLY. {'; '.join(parts)}. Timed and measured, not scored."


def _broken(records: Sequence[Record]) -> str:
    counts = [record.dataset.broken_images for record in records]
    if not any(counts):
        return ""
    return f"LEFT OUT. {max(counts):,} images could not be read; the records name the first of them."


def _missing(experiment: Experiment, budget: str, records: Sequence[AnyRecord], failed: Sequence[str]) -> str:
    profile = Budget.parse(budget).profile_of(experiment)
    if profile is None:
        return ""
    seeds = sorted({r.seed for r in only_trained(records)} | set(profile.seeds))
    have = {(r.arm, r.seed) for r in records}
    due = sorted(experiment.runs_of(profile, seeds), key=lambda run: run[1])  # seed by seed
    needless = _needless(experiment, only_trained(records))
    names = [f"{arm} seed {seed}" for arm, seed in due if (arm, seed) not in have and arm not in needless]
    names = [name for name in names if name not in failed]
    how = Budget.parse(budget).command(experiment, seeds=seeds)
    return f"MISSING RUNS. {_listed(names)}. They are trained by: {how}" if names else ""


def _needless(experiment: Experiment, records: Sequence[Record]) -> set[str]:
    """Arms that were to be trained for want of weights, which the runs have found."""
    found = {arm for record in records if record.settings.weights and (arm := _backbone_arm(record))}
    return found - {arm.start.arm for arm in experiment.arms if arm.start and arm.start.how != "backbone"}


def _diverged(records: Sequence[Record]) -> str:
    names = [f"{r.arm} seed {r.seed} at step {r.diverged_at:,}" for r in records if r.status == "diverged"]
    if not names:
        return ""
    return f"DIVERGED. {_listed(names)}: the loss was no longer finite. They count with the error of guessing."


def _skipped(records: Sequence[Record]) -> str:
    names = [f"{r.arm} seed {r.seed}: {r.skipped}" for r in records if r.status == "skipped"]
    return f"SKIPPED. {'; '.join(names)}." if names else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= NAMED else ", ".join(names[:NAMED]) + f" and {len(names) - NAMED} more"
