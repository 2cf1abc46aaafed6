"""Made-up records of every experiment, with tables of diagnostics, searches and counted networks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from made_records import DIVERGED, TEST_ERROR, make_record

from resnet_repro.config.arm import Arm, CountedArm
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import Record, collect, only_trained
from resnet_repro.tables import Table
from resnet_repro.training.count_network import count_network


def fill(table: Table, rows: Iterable[dict]) -> None:
    table.rewind(-1)
    table.append(rows)


def make_two_budgets(folder: Path) -> Path:
    """Three seeds of each arm of degradation at `paper`; single runs at `quick`, of which one diverged. Returns `folder`."""
    experiment = load_experiment("degradation")
    for arm in TEST_ERROR:
        for seed in range(3):
            make_record(folder, experiment, arm, seed)
    for arm in ("plain-20", "plain-56"):
        make_record(folder, experiment, arm, 0, "quick", 391)
    make_record(folder, experiment, "plain-20", 7, "quick", 391, **DIVERGED)
    return folder


def add_tables(folder: Path, experiment: Experiment, arm: str) -> None:
    """Write made-up tables of the arm's diagnostics."""
    watch = experiment.arm(arm).watch
    if "inputs" in watch:
        fill(
            Table(folder / "inputs.csv", ("layer", "name", "mean_shift", "std_shift")),
            [
                {"iteration": step, "layer": layer, "name": "c", "mean_shift": 0.1 * layer, "std_shift": 0.01 * layer}
                for step in (10, 20)
                for layer in (2, 3)
            ],
        )
    if "growth" in watch:
        fill(
            Table(folder / "growth.csv", ("layer", "name", "norm")),
            [
                {"iteration": step, "layer": layer, "name": f"layer1.{layer}.conv1", "norm": 2.0**-layer}
                for step in (0, 1, 10, 100, 1_000)
                for layer in range(1, 10)
            ],
        )
    if "curvature" in watch:
        rows = [{"iteration": step, "curvature": 50.0 - step / 10} for step in (0, 10, 100)]
        fill(Table(folder / "curvature.csv", ("curvature",)), rows)
    if "landscape" in watch:
        offsets = (-1.0, -0.5, 0.0, 0.5, 1.0)
        rows = [
            {"iteration": 20, "along": a, "across": b, "loss": 0.1 + a * a + b * b} for a in offsets for b in offsets
        ]
        fill(Table(folder / "landscape.csv", ("along", "across", "loss")), rows)
    if "shifts" in watch:
        rows = [{"iteration": 20, "pixels": pixels, "error": 2.0 + 5 * pixels} for pixels in range(5)]
        fill(Table(folder / "shifts.csv", ("pixels", "error")), rows)
    if "distance" in watch:
        rows = [{"iteration": step, "distance": 0.01 * step} for step in (0, 10, 20)]
        fill(Table(folder / "distance.csv", ("distance",)), rows)
    if "blocks" in watch:
        fill(
            Table(folder / "blocks.csv", ("place", "name", "changes_size", "error")),
            [
                {"iteration": 0, "place": place, "name": name, "changes_size": 0, "error": 10.0 + place}
                for place, name in enumerate(("all", "layer1.0", "layer1.1", "layer2.1"))
            ],
        )
    if "features" in watch:
        names = ("conv1", "layer1.0", "layer2.0")
        fill(
            Table(folder / "features.csv", ("place", "name", "probe_error", "recovered")),
            [
                {"iteration": 0, "place": place, "name": name, "probe_error": 60 - place, "recovered": 1 / place}
                for place, name in enumerate(names, start=1)
            ],
        )
        fill(
            Table(folder / "filters.csv", ("filter", "channel", "y", "x", "weight")),
            [
                {"iteration": 0, "filter": f, "channel": c, "y": y, "x": x, "weight": 0.1 * (f - c)}
                for f in range(4)
                for c in range(3)
                for y in range(3)
                for x in range(3)
            ],
        )
        fill(
            Table(folder / "maps.csv", ("place", "name", "channel", "y", "values")),
            [
                {"iteration": 0, "place": place, "name": name, "channel": channel, "y": y, "values": "0 1 2 3"}
                for place, name in enumerate(names, start=1)
                for channel in range(4)
                for y in range(4)
            ],
        )


def count(runs: Path, experiment: Experiment, network: CountedArm, budget: str = "paper") -> None:
    count_network(run_folder(runs, experiment.name, budget, network.name, 0), experiment.name, budget, network)


def make_study(runs: Path, experiment: Experiment, seeds: int = 1) -> list[Record]:
    """Make records of all arms of the published profile and of all counted networks. Returns those of the arms."""
    for network in experiment.networks:
        count(runs, experiment, network)
    for arm in experiment.arms_of(experiment.profile("paper")):
        search = found_search(experiment, arm) if arm.search else None
        for seed in range(seeds):
            errors = {"train_relative_mse": 0.1, "test_relative_mse": 0.2}
            results: dict[str, Any] = {"final": errors} if arm.task == "reconstruct" else {}
            if "agreement" in arm.watch:
                results["diagnostics"] = {f"agreement_{stage}": 0.1 * stage for stage in (1, 2, 3)}
            add_tables(make_record(runs, experiment, arm.name, seed, search=search, **results), experiment, arm.name)
    return only_trained(collect(runs, experiment.name, "paper"))


def found_search(experiment: Experiment, arm: Arm) -> dict:
    """The entry `search` of a record: the second candidate was the best, and the last one diverged."""
    assert arm.search is not None
    names, metric = arm.search.arms, arm.search.metric
    errors = [40.0, 30.0, *(35.0 + 10 * i for i in range(len(names) - 3)), None]
    rates = [experiment.arm(name).recipe.learning_rate for name in names]
    candidates = {
        name: {"learning_rate": rate, metric: error, "weights_sha256": "a" * 64}
        for name, rate, error in zip(names, rates, errors, strict=True)
    }
    return {"chosen": names[1], "learning_rate": rates[1], "metric": metric, "candidates": candidates}


TRAINED = [name for name in experiment_names() if not load_experiment(name).is_counted]
