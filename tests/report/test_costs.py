"""Operations and energy in reports: counted and measured, or estimated for records without them."""

from __future__ import annotations

from pathlib import Path

from made_records import DIVERGED, make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.records.record import Record, collect
from resnet_repro.report.costs import cost_rows, costs_of, trained_once
from resnet_repro.report.summary import summary_content

MEASURED = {"operations": 2e15, "energy": {"joules": 7.2e6, "measured": True, "basis": "NVML, 1 of a GPU"}}
STATED = {"operations": 1e15, "energy": {"joules": 3.6e5, "measured": False, "basis": "stated 24 W"}}
OLD = {"device": "cpu", "threads": 2}  # an hour; 40,551,040 multiply-adds per image, 64,000 steps of 128 images


def test_counted_and_measured_costs_are_added(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, **MEASURED)
    make_record(tmp_path, degradation, "plain-20", 1, **STATED)
    records = collect(tmp_path, "degradation", "paper")
    costs = costs_of(records)
    assert (costs.operations, costs.energy) == ("3 PFLOP", "2 kWh measured, 0.1 kWh estimated")
    assert cost_rows(records) == [
        ["training operations", "3 PFLOP (two per multiply-add; counted, forward and backward)"],
        ["energy", "2 kWh measured, 0.1 kWh estimated (NVML, 1 of a GPU; stated 24 W)"],
    ]


def test_costs_of_older_records_are_estimated(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, **OLD)
    records = collect(tmp_path, "degradation", "paper")
    costs = costs_of(records)
    assert costs.assumed == 6 * 40_551_040 * 64_000 * 128
    assert costs.estimated == 3_600 * 24
    assert (costs.operations, costs.energy) == ("about 1.99 PFLOP", "0.024 kWh estimated")
    assert cost_rows(records)[1][1] == "0.024 kWh estimated (stated 24 W)"


def test_a_frozen_backbone_counts_without_a_backward_pass(degradation: Experiment, tmp_path: Path) -> None:
    model = {"layers": 20, "parameters": 1_000, "multiply_adds": 10, "trainable_parameters": 100}
    make_record(tmp_path, degradation, "plain-20", 0, model=model)
    make_record(tmp_path, degradation, "plain-20", 1, model=model, feature_seconds=2.0)  # 50,000 images, once
    at_each_step, once = (costs_of([record]).assumed for record in collect(tmp_path, "degradation", "paper"))
    assert (at_each_step, once) == (2 * 10 * 64_000 * 128, 2 * 10 * 50_000)


def test_small_runs_have_smaller_units(degradation: Experiment, tmp_path: Path) -> None:
    small = {"operations": 3.72e11, "energy": {"joules": 270.0, "measured": False, "basis": "stated 12 W"}}
    make_record(tmp_path, degradation, "plain-20", 0, **small)
    costs = costs_of(collect(tmp_path, "degradation", "paper"))
    assert (costs.operations, costs.energy) == ("0.372 TFLOP", "0.075 Wh estimated")


def test_steps_of_a_prefix_count_once(degradation: Experiment, tmp_path: Path) -> None:
    """The record of a longer prefix includes the time and energy of the shorter one that it continued."""
    for prefix in (16_000, 34_000):
        make_record(
            tmp_path, degradation, "plain-20", 0, f"prefix{prefix}", prefix=prefix, weights_sha256=f"{prefix:064}"
        )
    make_record(tmp_path, degradation, "plain-20", 1, "prefix16000", prefix=16_000, weights_sha256="c" * 64)
    records = [r for budget in ("prefix16000", "prefix34000") for r in collect(tmp_path, "degradation", budget)]
    assert sorted((r.budget, r.seed) for r in trained_once(records)) == [("prefix16000", 1), ("prefix34000", 0)]


def test_a_diverged_run_that_was_taken_over_counts_once(degradation: Experiment, tmp_path: Path) -> None:
    for budget in ("paper", "copy"):
        make_record(tmp_path, degradation, "plain-20", 0, budget, **DIVERGED)
    records = [r for budget in ("paper", "copy") for r in collect(tmp_path, "degradation", budget)]
    assert len(records) == 2 and len(trained_once(records)) == 1


def test_runs_that_were_skipped_cost_nothing(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, status="skipped", weights_sha256=None)
    records = collect(tmp_path, "degradation", "paper")
    costs = costs_of(records)
    assert (costs.runs, costs.operations, costs.energy, cost_rows(records)) == (0, "–", "–", [])


def test_a_reused_run_counts_once_in_the_sum_of_all(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, **MEASURED)
    make_record(tmp_path, degradation, "plain-20", 0, "copy", taken_over_from="degradation", **MEASURED)
    make_record(tmp_path, degradation, "plain-20", 1, **STATED, weights_sha256="b" * 64)
    records = [r for budget in ("paper", "copy") for r in collect(tmp_path, "degradation", budget)]
    assert [r.seed for r in trained_once(records) if isinstance(r, Record)] == [0, 1]
    content = summary_content([degradation], {"degradation": ["paper", "copy"]}, tmp_path)
    facts = [section["ran"] for section in content["experiments"]]
    assert [(f["operations"], f["energy"]) for f in facts] == [
        ("3 PFLOP", "2 kWh measured, 0.1 kWh estimated"), ("2 PFLOP", "2 kWh measured"),
    ]  # fmt: skip
    assert content["costs"].startswith("All together: 2 runs, each once, 2 run-hours, 3 PFLOP, 2 kWh measured, 0.1 kWh")
