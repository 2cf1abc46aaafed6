"""Made-up records of ended runs, and what a report says of them."""

from __future__ import annotations

from pathlib import Path

from resnet_repro.config.settings import RunSettings
from resnet_repro.design.experiment import Experiment
from resnet_repro.files import Table, write_json
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import FORMAT, collect
from resnet_repro.report.content import build_content
from resnet_repro.report.verdicts import judged

TEST_ERROR = {"plain-20": 9.7, "plain-56": 13.2, "resnet-20": 8.8, "resnet-56": 7.0, "plain-56-no-bn": 90.0}

CIFAR100 = {
    "name": "cifar100", "title": "CIFAR-100", "digest": "f" * 64, "standin": False, "train_images": 50_000,
    "test_images": 10_000, "classes": 100,
}  # fmt: skip

DIVERGED = {"status": "diverged", "diverged_at": 7, "final": {}, "best": {}, "weights_sha256": None}


def parent_of(experiment: str, arm: str, seed: int, weights: str, iterations: int = 64_000) -> dict:
    """What a run's record says of the run that it started from."""
    return {
        "experiment": experiment, "arm": arm, "seed": seed, "weights_sha256": weights,
        "iterations": iterations, "published_iterations": 64_000,
    }  # fmt: skip


def make_record(
    runs: Path,
    experiment: Experiment,
    arm: str,
    seed: int,
    budget: str = "paper",
    iterations: int = 64_000,
    prefix: int | None = None,
    **changes: object,
) -> Path:
    """A finished run's folder whose errors are those of the paper, give or take the seed.

    prefix: the step at which it ends, which is none of the evaluations.
    """
    settings = RunSettings(
        experiment.name,
        budget,
        experiment.arm(arm),
        seed,
        iterations,
        1_000,
        "cifar10",
        "d" * 64,
        "bf16",
        "cuda",
        prefix=prefix,
    )
    folder = run_folder(runs, experiment.name, budget, arm, seed)
    folder.mkdir(parents=True)
    error = TEST_ERROR.get(arm, 90.0) + 0.1 * seed
    metrics = Table(folder / "metrics.csv", ("running_train_error", "test_error"))
    metrics.rewind(0)
    metrics.append(
        {"iteration": step * iterations // 8, "running_train_error": error / step, "test_error": error + 8 - step}
        for step in range(1, 9)
        if step * iterations // 8 <= (iterations if prefix is None else prefix)
    )
    gradients = Table(folder / "gradients.csv", ("layer", "name", "norm"))
    gradients.rewind(0)
    gradients.append(
        {"iteration": step, "layer": layer, "name": f"conv{layer}", "norm": 0.1 * layer}
        for step in (1, 500)
        for layer in range(1, 10)
    )
    responses = Table(folder / "responses.csv", ("layer", "name", "std"))
    responses.rewind(0)
    responses.append({"iteration": iterations, "layer": i, "name": f"conv{i}", "std": 1 / i} for i in range(1, 10))
    response = {"plain-20": 1.82, "plain-56": 1.52, "resnet-20": 1.62, "resnet-56": 1.13}.get(arm, 0.1)
    data = {
        "format": FORMAT,
        "experiment": experiment.name,
        "arm": arm,
        "seed": seed,
        "profile": budget,
        "iterations": settings.stop_at,
        "status": "finished",
        "diverged_at": None,
        "final": {"train_error": error / 2, "test_error": error},
        "best": {"test_error": error - 0.2, "iteration": iterations - 1_000},
        "diagnostics": {
            "mean_response": response + 0.001 * seed,
            "early_gradient": (-4.0 if arm == "plain-56-no-bn" else -1.0) + 0.01 * seed,
            "gradient_decay": 0.1 + 0.01 * seed,
        },
        "model": {"layers": 20, "parameters": 269_722, "multiply_adds": 40_551_040},
        "recipe": settings.to_json()["arm"]["recipe"],
        "dataset": {
            "name": "cifar10", "title": "CIFAR-10", "digest": "d" * 64, "standin": False, "train_images": 50_000,
            "test_images": 10_000, "classes": 10,
        },
        "precision": "bf16",
        "device": "cuda",
        "hardware": "a made-up GPU",
        "threads": None,
        "compilation": "compiled",
        "activations": "stored",
        "peak_memory_mib": 800.0,
        "seconds": 3_600.0,
        "training_seconds": 3_200.0,
        "images_per_second": 9_000.0,
        "versions": {"torch": "2.14.1"},
        "commit": "0123456789ab",
        "finished_at": "2026-01-01T00:00:00Z",
        "weights_sha256": "a" * 64,
        "parent": None,
        "draws": None,
        "warmed_up_at": None,
        "settings": settings.to_json(),
    }  # fmt: skip
    write_json(folder / "record.json", data | changes)
    return folder


def content_of(experiment: Experiment, runs: Path, budget: str = "paper") -> dict:
    records = collect(runs, experiment.name, budget)
    return build_content(experiment, budget, records, judged(experiment, records), [], [])
