"""Score a run after its last step and write its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import Data
from resnet_repro.diagnostics.complexity import describe, training_operations
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.diagnostics.gradients import gradient_diagnostics
from resnet_repro.diagnostics.learning_curve import along_the_way
from resnet_repro.diagnostics.predictions import PredictionCollector, Predictions
from resnet_repro.diagnostics.responses import layer_responses
from resnet_repro.files import typed
from resnet_repro.hardware import device_name
from resnet_repro.models.weights import save_weights, state_sha256
from resnet_repro.records.entries import Dataset, Energy, FoundRate, ModelFacts, Parent, WeightsFrom
from resnet_repro.records.layout import WEIGHTS, parent_folder
from resnet_repro.records.predictions import packed, write_predictions
from resnet_repro.records.provenance import utc_now, versions
from resnet_repro.records.record import Record, find_record
from resnet_repro.surroundings import printable
from resnet_repro.tables import DIGITS, Table
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.diagnostics_callback import DiagnosticsCallback
from resnet_repro.training.monitor import Monitor

RESPONSE_IMAGES = 1_000


BROKEN_NAMED = 20  # unreadable images that a record names; it counts all


@dataclass(frozen=True)
class RunInfo:
    """How a run was trained, for its record."""

    commit: str | None
    """Git commit of the code. None: unknown."""
    begun_at: str | None = None
    """UTC time in ISO 8601 at which the run was first prepared. None: unknown."""
    parent: Parent | None = None
    """The run whose weights this run started from."""
    pairing_key: str | None = None
    """Digest of the run's random choices, see `start.pairing_key`."""
    search: FoundRate | None = None
    """The search that found the learning rate. None: the rate is the recipe's."""
    feature_seconds: float | None = None
    """Seconds spent on features that were computed once, before training. None: features were computed every step."""
    compilation: str = "not compiled"
    """The choice of `execution.choose_kernels`."""
    step: str = "none"
    """How steps were taken, see `Classifier.how_taken`. "none": the run was skipped."""
    activations: str = "none"
    """Either "stored" or "recomputed"; "none" for a skipped run."""
    activation_bytes: int | None = None
    """Bytes that storing the activations of one step takes, in each process."""
    peak_memory_mib: float = 0.0
    """Peak memory of rank 0 in MiB, also before a resume. 0: unknown."""


def finish(module: Classifier, monitor: Monitor, callback: DiagnosticsCallback, info: RunInfo, step: int) -> str:
    """Score the network after its last step, and write weights and record.

    The record is written last, because it marks the run as done. A stretch of the schedule is not scored.
    Returns "finished" or "diverged". If several processes train together, all must call this: they score the network
    together, and rank 0 writes.
    """
    folder, settings, data = monitor.folder, monitor.settings, monitor.data
    final: dict[str, Any] = {}
    predictions = None
    if not monitor.diverged_at and not _is_finite(module):  # the last loss was finite, its update was not
        monitor.diverged_at = step
    status = "diverged" if monitor.diverged_at else "finished"
    if status == "finished" and settings.stretch is None:
        monitor.say("evaluating", step)
        final, predictions = _score(module, monitor, step)
    broken = sorted({image for images in data.dist.all_gather(data.broken()) for image in images})
    lone_steps = max(data.dist.all_gather(module.lone_steps))
    energies = data.dist.all_gather(monitor.energy.state())
    if not data.dist.is_main:  # the other ranks' tables lack the rows written before a resume
        return status
    diagnostics = gradient_diagnostics(monitor.gradients.path, settings.iterations)
    if final:
        if settings.prefix is None or not step:
            _complete_metrics(monitor, step, final)
        diagnostics |= along_the_way(monitor.metrics.path, settings.iterations) | _since_the_start(
            folder, settings, final
        )
        diagnostics |= _responses(module, monitor, step)
        diagnostics |= callback.finish(module)
    weights = None
    if status == "finished":
        save_weights(module.net, folder / WEIGHTS)
        weights = state_sha256(module.net.state_dict())
    if predictions is not None and predictions.logits is not None:
        facts = {
            "split": "test",
            "dataset": data.facts.name,
            "dataset_digest": data.digest,
            "weights_sha256": weights or "",
        }
        write_predictions(folder, predictions.logits, predictions.labels, facts)
    monitor.tick()
    energies[0] = monitor.energy.state()  # with the measurements since
    _record(
        folder,
        settings,
        data,
        info,
        broken,
        status=status,
        iterations=step,
        diverged_at=monitor.diverged_at or None,
        warmed_up_at=module.warmed_up_at,
        lone_steps=lone_steps,
        final=final,
        best=monitor.best or {},
        diagnostics={name: value for name, value in diagnostics.items() if math.isfinite(value)},
        seconds=round(monitor.seconds, 1),
        training_seconds=round(monitor.training_seconds, 3),
        images_per_second=round(monitor.training_images / max(monitor.training_seconds, 1e-9), 1),
        operations=_operations(settings, data, monitor.training_images),
        energy=_of_all(energies),
        weights_sha256=weights,
        test_correct=None if predictions is None else packed(predictions.correct),
    ).write()
    return status


def _operations(settings: RunSettings, data: Data, images: int) -> float:
    """The operations of the training steps on so many images, and of features that were computed once before them."""
    spec, classes = settings.arm.model, data.classes
    step = training_operations(spec, classes, data.shape)
    if settings.arm.features != "once":
        return float(images * step)
    features, _ = next(iter(data.batches("train", 1)))
    head = training_operations(spec, classes, tuple(features.shape[1:]))
    return float(data.images("train") * (step - head) + images * head)


def _of_all(states: Sequence[Mapping[str, Any]]) -> Energy | None:
    """The energy of all processes of a run, from the states of their meters; None without any."""
    joules = sum(state["joules"] for state in states)
    if not joules:
        return None
    basis = dict.fromkeys(words for state in states for words in state["basis"])
    return Energy(round(joules, 1), all(state["measured"] for state in states), ", ".join(basis))


def write_skipped(folder: Path, settings: RunSettings, data: Data, reason: str, commit: str | None) -> None:
    """Write the record of a run that was not trained, with the reason. Raises OSError."""
    nothing = {"final": {}, "best": {}, "diagnostics": {}, "weights_sha256": None}
    _record(folder, settings, data, RunInfo(commit), status="skipped", skipped=reason, **nothing).write()


def _record(
    folder: Path,
    settings: RunSettings,
    data: Data,
    info: RunInfo,
    broken: Sequence[tuple[str, str]] = (),
    **outcome: Any,
) -> Record:
    """The record of a run with this outcome. broken: (file, reason) of the images that could not be read."""
    recipe = settings.arm.recipe
    if info.search:
        recipe = replace(recipe, learning_rate=info.search.learning_rate)
    return Record(
        folder=folder,
        experiment=settings.experiment,
        arm=settings.arm.name,
        seed=settings.seed,
        budget=settings.budget,
        parent=info.parent,
        search=info.search,
        weights_from=_weights_from(settings),
        pairing_key=info.pairing_key,
        model=typed(describe(settings.arm.model, data.classes, data.shape), ModelFacts),
        recipe=recipe,
        dataset=Dataset(**data.facts_for_record() | _left_out(broken)),
        feature_seconds=info.feature_seconds,
        processes=data.dist.size,
        precision=settings.precision,
        device=settings.device,
        hardware=device_name(settings.device),
        threads=torch.get_num_threads() if settings.device == "cpu" else None,
        compilation=info.compilation,
        step=info.step,
        activations=info.activations,
        activation_mib=None if info.activation_bytes is None else round(info.activation_bytes / 2**20, 1),
        peak_memory_mib=round(info.peak_memory_mib, 1) or None,
        versions=versions(),
        commit=info.commit,
        begun_at=info.begun_at,
        finished_at=utc_now(),
        settings=settings,
        **outcome,
    )


def _weights_from(settings: RunSettings) -> WeightsFrom | None:
    """The origin of a pretrained backbone. None: the run does not start from one."""
    start = settings.arm.start
    if start is None or start.how != "backbone":
        return None
    if settings.weights is not None:
        return WeightsFrom(settings.weights.name, substitute=False)
    return WeightsFrom(f"the run {start.arm}", substitute=True)


def _left_out(broken: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The record's entries on images that could not be read: their number, and the first by name."""
    named = {printable(file): printable(reason) for file, reason in broken[:BROKEN_NAMED]}
    return {"broken_images": len(broken), "broken": named} if broken else {}


def _score(module: Classifier, monitor: Monitor, step: int) -> tuple[dict[str, Any], Predictions | None]:
    """The final metrics, and the predictions for the test images."""
    settings, data, dist = monitor.settings, monitor.data, monitor.data.dist
    limit, images = settings.scored and settings.scored.test, data.images("test")
    collector = PredictionCollector(min(limit or images, images), data.classes)
    final = monitor.score_finished(module, step, collector)
    views = data.ten_views("test", limit, dist) if settings.arm.recipe.ten_crop else None
    if views is not None:
        final["test_error_10crop"] = evaluate(module.net, views, module.device, settings.precision, dist).error
    return final, collector.gather(dist)


def _complete_metrics(monitor: Monitor, step: int, final: dict[str, Any]) -> None:
    final = {name: value for name, value in final.items() if name in monitor.metrics.columns}  # no 10-crop error
    if step:
        monitor.metrics.complete(step, final)
    else:  # never trained: the table has no row of a last step
        monitor.metrics.rewind(-1)
        monitor.metrics.append([{"iteration": 0, **final}])


def _is_finite(module: Classifier) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in module.net.parameters())


def _since_the_start(folder: Path, settings: RunSettings, final: dict[str, Any]) -> dict[str, float]:
    """Changes of the errors since the parent run, in percentage points, as `<error>_change`."""
    source = parent_folder(folder, settings)
    parent = find_record(source) if source else None
    if parent is None:
        return {}
    changes = {}
    for error in ("train_error", "test_error"):
        before = parent.value(error)
        if before is not None:
            changes[f"{error}_change"] = final[error] - before
    return changes


def _responses(module: Classifier, monitor: Monitor, step: int) -> dict[str, float]:
    """Write responses.csv. Returns the mean over layers, or nothing for nets without convolutions."""
    if monitor.settings.arm.features == "once":  # the data are features: no image passes through the layers
        return {}
    batches = monitor.data.batches("train", RESPONSE_IMAGES)
    responses = layer_responses(module.net, batches, module.device, monitor.settings.precision)
    table = Table(monitor.folder / "responses.csv", ("layer", "name", "std"), DIGITS)
    table.rewind(-1)  # an earlier attempt may have written it before it was killed
    table.append(
        {"iteration": step, "layer": i, "name": name, "std": std} for i, (name, std) in enumerate(responses, start=1)
    )
    return {"mean_response": mean(std for _, std in responses)} if responses else {}
