"""Warnings at the top of a report: stand-ins, other data, short budgets, stretches, missing and failed runs."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_repro.config.recipes import SLOW_START
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.parsing import listed
from resnet_repro.records.record import AnyRecord, Record, only_trained


def banners(experiment: Experiment, budget: str, records: Sequence[AnyRecord], failed: Sequence[str]) -> list[str]:
    """Return the warnings of a report, gravest first.

    failed: names of the runs whose process failed, e.g. "plain-20 seed 3".
    """
    trained = only_trained(records)
    texts = [
        _standin(trained),
        _substitute_weights(trained),
        _other_data(experiment, trained),
        _coarse(experiment, trained),
        _prefix(trained),
        _short(trained),
        _stretches(trained),
        _broken(trained),
        _missing(experiment, budget, records, failed),
        f"FAILED RUNS. {listed(failed)}. See the log.txt of each run." if failed else "",
        _diverged(trained),
        _skipped(trained),
    ]
    return [text for text in texts if text]


def is_other_data(experiment: Experiment, records: Sequence[Record]) -> bool:
    """Whether the runs use real data other than the experiment's own, so that published numbers do not apply."""
    datasets = {(r.dataset.name, r.dataset.standin) for r in records if r.settings.arm.dataset is None}
    return any(name != experiment.dataset and not standin for name, standin in datasets)


def has_substitute_weights(record: Record) -> bool:
    """Whether the run began with a backbone trained as a substitute for the intended pretrained weights."""
    return record.weights_from is not None and record.weights_from.substitute


def _backbone_arm(record: Record) -> str | None:
    """Return the arm whose backbone the run starts from, or would without external weights; None without a backbone."""
    start = record.settings.arm.start
    return start.arm if start is not None and start.how == "backbone" else None


def is_coarse(record: Record, resolution: int | None) -> bool:
    """Whether the run saw smaller images than the published `resolution`, in pixels per side."""
    return bool(resolution and record.settings.resolution and record.settings.resolution < resolution)


def _substitute_weights(records: Sequence[Record]) -> str:
    affected = [record for record in records if has_substitute_weights(record)]
    if not affected:
        return ""
    sources = [record for record in records if record.arm in {_backbone_arm(other) for other in affected}]
    trainings = sorted({f"{r.dataset.title}, {r.settings.iterations:,} steps" for r in sources})
    return (
        f"SUBSTITUTE WEIGHTS. {', '.join(sorted({r.arm for r in affected}))} start from a backbone trained here "
        f"({'; '.join(trainings)}) instead of torchvision's ImageNet weights. No claim about pretrained weights is judged "
        "on them."
    )


def _coarse(experiment: Experiment, records: Sequence[Record]) -> str:
    resolution = experiment.published_resolution
    sides = sorted({r.settings.resolution for r in records if is_coarse(r, resolution) and r.settings.resolution})
    if not sides:
        return ""
    return f"LOW RESOLUTION. Images of {', '.join(map(str, sides))} pixels per side instead of {resolution}."


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
        "are not shown. Verdicts apply to this data set."
    )


def _short(records: Sequence[Record]) -> str:
    # Substitute backbones have no published length.
    substitutes = {arm for record in records if (arm := _backbone_arm(record)) and has_substitute_weights(record)}
    records = [record for record in records if record.arm not in substitutes and record.settings.prefix is None]
    shorter = [(ours, theirs) for ours, theirs in schedules(records) if ours < theirs]
    if not shorter:
        return ""
    parts = [
        f"{ours:,} of the published {theirs:,} iterations ({_percent(ours, theirs)} %)" for ours, theirs in shorter
    ]
    return (
        f"SHORT BUDGET. {'; '.join(parts)}, with the schedule scaled to this length{_slow_start(records)}. "
        "Errors are far from the published ones; verdicts apply to this budget."
    )


def _slow_start(records: Sequence[Record]) -> str:
    """Describe the warm-up of compressed schedules, for nets that do not learn at the full rate from the first step."""
    slow = [record.settings for record in records if record.settings.arm.recipe.name == SLOW_START.name]
    if not slow:
        return ""
    warm_up, longest = slow[0].arm.recipe.warm_up, max(settings.iterations for settings in slow)
    assert warm_up is not None and warm_up.steps is not None
    steps = "all steps" if longest <= warm_up.steps else f"the first {warm_up.steps:,} steps"
    return (
        f"; {steps} use a learning rate of at most {warm_up.learning_rate:g}, the paper's remedy for deep nets, which learn "
        "nothing for hundreds of steps at the full rate"
    )


def _prefix(records: Sequence[Record]) -> str:
    """Warn that the runs end within the published schedule; unlike a short budget, a prefix does not compress it."""
    cut = schedules([record for record in records if record.settings.prefix is not None])
    if not cut:
        return ""
    parts = [
        f"{ours:,} of the published {theirs:,} iterations (prefix {100 * ours / theirs:.3g} %)" for ours, theirs in cut
    ]
    return f"PREFIX. {'; '.join(parts)}, with the published learning rates at the same steps."


def _percent(part: int, whole: int) -> str:
    """Format with one decimal, or with two significant digits below 0.1 %."""
    share = 100 * part / whole
    return f"{share:.1f}" if share >= 0.1 else f"{share:.2g}"


def schedules(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Return the distinct (iterations, published iterations) of the runs, normalized to an arm of length 1.

    If some runs are prefixes, these alone count, by the iterations done; arms whose share of the schedule ends before the
    prefix are ignored. If no run was trained, the schedules are those of the runs whose weights they read.
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
    return f"STRETCH ONLY. {'; '.join(parts)}. These runs are timed and measured, but not scored."


def _broken(records: Sequence[Record]) -> str:
    counts = [record.dataset.broken_images for record in records]
    if not any(counts):
        return ""
    return f"LEFT OUT. {max(counts):,} images could not be read; the records list the first ones."


def _missing(experiment: Experiment, budget: str, records: Sequence[AnyRecord], failed: Sequence[str]) -> str:
    profile = Budget.parse(budget).profile_of(experiment)
    if profile is None:
        return ""
    seeds = sorted({r.seed for r in only_trained(records)} | set(profile.seeds))
    finished = {(r.arm, r.seed) for r in records}
    expected = sorted(experiment.runs_of(profile, seeds), key=lambda run: run[1])  # by seed
    unneeded = needless(experiment, only_trained(records))
    names = [f"{arm} seed {seed}" for arm, seed in expected if (arm, seed) not in finished and arm not in unneeded]
    names = [name for name in names if name not in failed]
    command = Budget.parse(budget).command(experiment, seeds=seeds)
    return f"MISSING RUNS. {listed(names)}. To train them: {command}" if names else ""


def needless(experiment: Experiment, records: Sequence[Record]) -> set[str]:
    """Return the arms that only train substitutes for weights which the runs have found."""
    replaced = {arm for record in records if record.settings.weights and (arm := _backbone_arm(record))}
    return replaced - {arm.start.arm for arm in experiment.arms if arm.start and arm.start.how != "backbone"}


def _diverged(records: Sequence[Record]) -> str:
    names = [f"{r.arm} seed {r.seed} at step {r.diverged_at:,}" for r in records if r.status == "diverged"]
    if not names:
        return ""
    return f"DIVERGED. {listed(names)}: the loss was no longer finite. Diverged runs count with the error of guessing."


def _skipped(records: Sequence[Record]) -> str:
    names = [f"{r.arm} seed {r.seed}: {r.skipped}" for r in records if r.status == "skipped"]
    return f"SKIPPED. {'; '.join(names)}." if names else ""
