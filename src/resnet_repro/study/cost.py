"""Expected costs of runs: multiply-adds, and the memory that they need on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from resnet_repro.config.settings import RunSettings, Scored
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.launch import Load
from resnet_repro.launch.sharing import CONTEXT
from resnet_repro.study.run import Run, net_of

_COUNTED: dict[tuple[str, int, tuple[int, int, int]], dict[str, int]] = {}


def expected_costs(runs: Sequence[Run], datasets: Mapping[str, DatasetFacts]) -> dict[str, float]:
    """The expected multiply-adds of each run, by the run's name. A backward pass counts as two forward passes.

    datasets: facts of the runs' data sets, by name.
    """
    return {run.name: cost_of(run.settings, datasets[run.settings.dataset]) for run in runs}


def cost_of(settings: RunSettings, facts: DatasetFacts) -> float:
    """The expected multiply-adds of a run on a data set."""
    return float(described(settings, facts)["multiply_adds"] * _images(settings, facts))


def _images(settings: RunSettings, facts: DatasetFacts) -> int:
    """The forward passes on one image to which a run amounts."""
    from resnet_repro.data.stream import EVALUATION_IMAGES

    arm = settings.arm
    train_images = min(facts.train_images, arm.recipe.train_images or facts.train_images)
    if arm.features == "once":
        return train_images + facts.test_images  # steps and scores then cost next to nothing
    images = 3 * arm.recipe.batch_size * settings.stop_at
    if settings.stretch is not None:
        return images
    evaluations = settings.stop_at // settings.evaluate_every
    scored = settings.scored or Scored(max(EVALUATION_IMAGES, facts.test_images), train_images, facts.test_images)
    images += min(scored.train, train_images) + min(scored.test, facts.test_images)
    along = min(EVALUATION_IMAGES, scored.along, train_images) + min(scored.along, facts.test_images)
    return images + evaluations * along


def described(settings: RunSettings, facts: DatasetFacts) -> dict[str, int]:
    """Size and cost of a run's network, as `complexity.describe` has them. Counted once for each network."""
    from resnet_repro.diagnostics.complexity import describe

    shape = shape_of(settings, facts)
    key = (repr(settings.arm.model), facts.classes, shape)
    if key not in _COUNTED:
        _COUNTED[key] = describe(settings.arm.model, facts.classes, shape)
    return _COUNTED[key]


def heaviest(runs: Sequence[Run], datasets: Mapping[str, DatasetFacts]) -> Load:
    """The largest load of a run on a GPU: multiply-adds of a training step, and an estimate of its memory in bytes.

    Two numbers are stored for each number of a layer's output (measured on resnet-56 and resnet-1202). The estimate
    doubles this, since a CUDA graph has a memory pool beside that of the eager steps.
    """
    from resnet_repro.diagnostics.complexity import KIB_PER_NUMBER, build_on_meta, layer_costs, totals

    operations, memory = 0.0, CONTEXT
    for settings in {net_of(run.settings): run.settings for run in runs}.values():
        facts, model = datasets[settings.dataset], settings.arm.model
        batch = settings.arm.recipe.batch_size
        costs = totals(layer_costs(build_on_meta(model, facts.classes), shape_of(settings, facts)))
        operations = max(operations, costs["macs"] * batch)
        kept = 2 * costs["memory_kib"] / KIB_PER_NUMBER * batch * (2 if settings.precision == "bf16" else 4)
        memory = max(memory, CONTEXT + round(2 * kept))
    return Load(operations, memory)


def shape_of(settings: RunSettings, facts: DatasetFacts) -> tuple[int, int, int]:
    """(C, H, W) of an image at the input of the run's network."""
    channels, height, width = facts.shape
    return channels, settings.resolution or height, settings.resolution or width


def with_descendants(runs: Sequence[Run], costs: Mapping[str, float]) -> dict[str, float]:
    """The cost of each run, by name, plus that of the most expensive chain of runs that wait for it."""
    children: dict[Path, list[Run]] = {}
    for run in runs:
        for source in run.sources:
            children.setdefault(source, []).append(run)

    @cache
    def chain(run: Run) -> float:
        return costs[run.name] + max((chain(child) for child in children.get(run.folder, [])), default=0.0)

    return {run.name: chain(run) for run in runs}
