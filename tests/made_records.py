"""Made-up records of ended runs, and the content of reports on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnet_repro.config.settings import RunSettings
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.files import read_json, write_json
from resnet_repro.records.entries import Dataset, ModelFacts
from resnet_repro.records.layout import RECORD, run_folder
from resnet_repro.records.record import Record, collect
from resnet_repro.report.content import build_content
from resnet_repro.report.verdicts import judged
from resnet_repro.tables import Table

TEST_ERROR = {"plain-20": 9.7, "plain-56": 13.2, "resnet-20": 8.8, "resnet-56": 7.0, "plain-56-no-bn": 90.0}

CIFAR100 = {
    "name": "cifar100", "title": "CIFAR-100", "digest": "f" * 64, "standin": False, "train_images": 50_000,
    "test_images": 10_000, "classes": 100,
}  # fmt: skip

DIVERGED = {"status": "diverged", "diverged_at": 7, "final": {}, "best": {}, "weights_sha256": None}


def parent_of(experiment: str, arm: str, seed: int, weights: str, iterations: int = 64_000) -> dict:
    """The entry `parent` of a record: the run that it started from."""
    return {
        "experiment": experiment, "arm": arm, "seed": seed, "weights_sha256": weights,
        "iterations": iterations, "published_iterations": 64_000,
    }  # fmt: skip


def declared(
    arm: str = "plain-20", budget: str = "quick", seed: int = 0, experiment: str = "degradation"
) -> RunSettings:
    """The settings with which the experiment trains the arm today."""
    spec = load_experiment(experiment)
    profile, of_arm = Budget.parse(budget).profile_of(spec), spec.arm(arm)
    assert profile is not None
    steps = profile.steps(of_arm)
    return RunSettings(
        experiment, budget, replace(of_arm, recipe=of_arm.recipe.at(profile.iterations or of_arm.recipe.iterations)),
        seed, steps, profile.evaluate_every(steps), "cifar10", "d" * 64, "bf16", "cpu",
        prefix=profile.prefix_of(of_arm), scored=profile.scored(of_arm),
    )  # fmt: skip


def record_in(folder: Path, settings: RunSettings, **changes: object) -> Path:
    """Write the record of a finished run. changes: entries in their JSON form."""
    record = Record(
        folder=folder,
        experiment=settings.experiment,
        arm=settings.arm.name,
        seed=settings.seed,
        budget=settings.budget,
        status="finished",
        iterations=settings.stop_at,
        final={"test_error": 9.5},
        best={},
        diagnostics={},
        seconds=3_600.0,
        training_seconds=3_200.0,
        images_per_second=9_000.0,
        weights_sha256="a" * 64,
        parent=None,
        pairing_key=None,
        model=ModelFacts(20, 269_722, 40_551_040),
        recipe=settings.arm.recipe,
        dataset=Dataset("cifar10", "CIFAR-10", "d" * 64, False, 10, 50_000, 10_000),
        precision="bf16",
        device="cuda",
        hardware="a made-up GPU",
        threads=None,
        compilation="compiled",
        activations="stored",
        peak_memory_mib=800.0,
        versions={"torch": "2.14.1"},
        commit="0123456789ab",
        finished_at="2030-01-01T00:00:00Z",
        settings=settings,
    )
    record.write()
    write_json(folder / RECORD, (read_json(folder / RECORD) or {}) | changes)
    return folder


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
    """Make the folder of a finished run with the errors of the paper, slightly different for each seed.

    prefix: the step at which the run ends; it does not coincide with an evaluation.
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
    parts = ("running_train", "train", "test", "validation")
    columns = (f"{part}_{kind}" for part in parts for kind in ("loss", "error"))
    metrics = Table(folder / "metrics.csv", tuple(columns))
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
    results = {
        "final": {"train_error": error / 2, "test_error": error},
        "best": {"test_error": error - 0.2, "iteration": iterations - 1_000},
        "diagnostics": {
            "mean_response": response + 0.001 * seed,
            "early_gradient": (-4.0 if arm == "plain-56-no-bn" else -1.0) + 0.01 * seed,
            "gradient_decay": 0.1 + 0.01 * seed,
        },
    }
    return record_in(folder, settings, **results | changes)


def content_of(experiment: Experiment, runs: Path, budget: str = "paper") -> dict:
    records = collect(runs, experiment.name, budget)
    return build_content(experiment, budget, records, judged(experiment, records), {}, [])
