"""Answers: filled with means over seeds, and omitted if a number is missing or misleading."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_records import CIFAR100, DIVERGED, make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.files import write_json
from resnet_repro.records.record import collect, only_trained
from resnet_repro.report.headline import decimals, headline
from resnet_repro.report.verdicts import judged


def answers(experiment: Experiment, runs: Path, budget: str = "paper") -> list[str]:
    records = only_trained(collect(runs, experiment.name, budget))
    return headline(experiment, records, judged(experiment, records))


def answering(experiment: Experiment, *templates: str) -> Experiment:
    return replace(experiment, answers=templates)


def add(runs: Path, experiment: Experiment, errors: dict[str, Sequence[float]], **changes: object) -> None:
    """Write runs of 391 steps. errors: {arm: training error of each seed}; test errors are 0.5 points higher."""
    for arm, values in errors.items():
        for seed, error in enumerate(values):
            content: dict[str, Any] = {"final": {"train_error": error, "test_error": error + 0.5}} | changes
            make_record(runs, experiment, arm, seed, "quick", 391, **content)


def test_degradation_answer_in_full(degradation: Experiment, tmp_path: Path) -> None:
    add(tmp_path, degradation, {"plain-56": [86.7], "plain-20": [62.9], "resnet-56": [53.9], "resnet-20": [52.8]})
    sentences = answers(degradation, tmp_path, "quick")
    assert sentences[0] == (
        "After 391 steps plain-56 has 87 % training error, plain-20 63 %; with shortcuts they have 54 and 53 %."
    )
    assert sentences[-1] == "One seed."


def test_numbers_are_means_over_seeds(degradation: Experiment, tmp_path: Path) -> None:
    asked = answering(degradation, "plain-20 has {plain-20.train_error} %.")
    add(tmp_path, degradation, {"plain-20": [30.0, 40.0, 80.0]})
    assert answers(asked, tmp_path, "quick") == ["plain-20 has 50 %.", "Means over 3 seeds."]


def test_differing_seed_counts_follow_their_sentence(degradation: Experiment, tmp_path: Path) -> None:
    templates = "A: {plain-20.train_error}.", "B: {plain-56.train_error}."
    asked = answering(degradation, *templates, "C: {plain-20.train_error}, {plain-56.train_error}.")
    add(tmp_path, degradation, {"plain-20": [30.0, 40.0], "plain-56": [80.0]})
    assert answers(asked, tmp_path, "quick") == [
        "A: 35 (means over 2 seeds).", "B: 80 (one seed).", "C: 35, 80 (means over 1 to 2 seeds).",
    ]  # fmt: skip


def test_clauses_without_their_numbers_are_omitted(degradation: Experiment, tmp_path: Path) -> None:
    add(tmp_path, degradation, {"plain-56": [86.7], "plain-20": [62.9], "resnet-20": [52.8]})
    assert answers(degradation, tmp_path, "quick")[:2] == [
        "After 391 steps plain-56 has 87 % training error, plain-20 63 %.",
        "On the test images plain-56 errs on 87 % and plain-20 on 63 %.",
    ]
    asked = answering(degradation, "No {resnet-56.test_error}; but {plain-20.test_error}.", "{plain-20.no_such}.")
    (fallback,) = answers(asked, tmp_path, "quick")
    assert ". Of 6 claims: " in fallback


def test_experiment_without_answers_counts_its_verdicts(degradation: Experiment, paper_runs: Path) -> None:
    assert answers(replace(degradation, answers=()), paper_runs) == [
        "Of 6 claims: 5 supported (D1, D2, D3, D4, D6); 1 contradicted (D5)."
    ]


def test_mean_is_omitted_if_a_seed_lacks_the_value(degradation: Experiment, tmp_path: Path) -> None:
    asked = answering(degradation, "{plain-20.doublings_to_25:doublings} steps.", "{plain-20.train_error} %.")
    add(tmp_path, degradation, {"plain-20": [30.0]}, diagnostics={"doublings_to_25": 10.0})
    assert answers(asked, tmp_path, "quick")[0] == "1,024 steps."
    final = {"train_error": 40.0, "test_error": 40.0}
    make_record(tmp_path, degradation, "plain-20", 1, "quick", 391, final=final, diagnostics={})  # never reached 25 %
    assert answers(asked, tmp_path, "quick") == ["35 %.", "Means over 2 seeds."]


def test_diverged_runs_of_named_arms_are_reported(degradation: Experiment, tmp_path: Path) -> None:
    asked = answering(degradation, "{plain-20.train_error} %.")
    add(tmp_path, degradation, {"plain-20": [30.0], "plain-56": [40.0]})
    make_record(tmp_path, degradation, "plain-20", 1, "quick", 391, **DIVERGED)
    make_record(tmp_path, degradation, "plain-56", 1, "quick", 391, **DIVERGED)  # not in an answer
    assert answers(asked, tmp_path, "quick") == [
        "60 %.",
        "Means over 2 seeds.",
        "1 of 2 seeds of plain-20 diverged and counts with the error and the loss of guessing.",
    ]


@pytest.mark.parametrize(
    ("dataset", "remark"),
    [
        ({**CIFAR100, "standin": True}, r"stand-in .* cifar10\.$"),
        (CIFAR100, r"CIFAR-100, not cifar10\.$"),
    ],
)
def test_remark_names_other_data(degradation: Experiment, tmp_path: Path, dataset: dict, remark: str) -> None:
    add(tmp_path, degradation, {"plain-20": [30.0], "plain-56": [40.0]}, dataset=dataset)
    assert re.search(remark, answers(degradation, tmp_path, "quick")[-1])


def test_unscored_stretch_contributes_no_error(tmp_path: Path) -> None:
    depth = load_experiment("depth")
    make_record(tmp_path, depth, "resnet-110", 0, "quick", 391)
    folder = make_record(tmp_path, depth, "resnet-1202", 0, "quick", 391, final={}, best={})
    data = json.loads((folder / "record.json").read_text())
    data["settings"]["stretch"] = 8
    write_json(folder / "record.json", data | {"iterations": 8})
    assert answers(depth, tmp_path, "quick") == [
        "A step of training takes 400.0 s and 0.78 GiB with 1202 layers; 8.2 s and 0.78 GiB with 110.",
        "One seed.",
    ]


def test_forms_ratios_and_differences(degradation: Experiment, tmp_path: Path) -> None:
    asked = answering(
        degradation,
        "{plain-20.gradient_decay:decades} times.",
        "{plain-56.gradient_decay - plain-20.gradient_decay:decades} times.",
        "{plain-20.parameters:count} parameters.",
        "{plain-20.parameters / plain-56.parameters} times.",
    )
    for arm, decay, parameters in (("plain-20", -1.0, 269_722), ("plain-56", 1.0, 853_018)):
        model = {"layers": 20, "parameters": parameters, "multiply_adds": 1}
        make_record(tmp_path, degradation, arm, 0, diagnostics={"gradient_decay": decay}, model=model)
    assert answers(asked, tmp_path) == ["0.1 times.", "100 times.", "269,722 parameters.", "0.32 times.", "One seed."]
    with pytest.raises(ValueError, match="invalid form 'percent'"):
        answers(answering(degradation, "{plain-20.parameters:percent}."), tmp_path)


def test_steps_are_those_of_the_named_arms(tmp_path: Path) -> None:
    construction = load_experiment("construction")
    asked = answering(
        construction,
        "{steps}: {plain-20.test_error}.",
        "{plain-56.steps}: {plain-20.test_error}.",
        "{steps}: {plain-20.test_error}, {plain-56.test_error}.",
    )
    make_record(tmp_path, construction, "plain-20", 0, "2000it", 2_000)
    make_record(tmp_path, construction, "plain-56", 0, "2000it", 4_000)
    assert answers(asked, tmp_path, "2000it")[:3] == ["2,000: 9.7.", "4,000: 9.7.", "2,000 or 4,000: 9.7, 13.2."]


def test_prefix_shows_the_length_of_its_schedule(degradation: Experiment, tmp_path: Path) -> None:
    make_record(tmp_path, degradation, "plain-20", 0, "prefix34000", prefix=34_000)
    asked = answering(degradation, "After {steps} steps {plain-20.test_error}.")
    assert answers(asked, tmp_path, "prefix34000")[0] == "After 34,000 of 64,000 steps 9.7."


@pytest.mark.parametrize(
    ("values", "digits"),
    [
        ([86.7, 62.9, 53.9, 52.8], 0),
        ([52.9, 53.4], 1),  # otherwise both are 53
        ([26.721, 26.722, 64.0], 0),  # one decimal does not tell the first two apart
        ([9.7, 13.2], 1),
        ([0.452, 0.777], 2),
        ([0.005, 0.17], 3),
        ([0.0, 0.0], 0),
        ([-10.9, 40.4], 1),
    ],
)
def test_decimals_tell_numbers_apart(values: list[float], digits: int) -> None:
    assert decimals(values) == digits


@pytest.mark.parametrize("name", experiment_names())
def test_answers_name_arms_of_their_experiment(name: str) -> None:
    from resnet_repro.report.headline import PLACE, arms_of

    experiment = load_experiment(name)
    named = {arm for answer in experiment.answers for place in PLACE.finditer(answer) for arm in arms_of(place[1])}
    assert named, f"{name} answers nothing"
    assert named <= set(experiment.names)
    assert all(answer.endswith(".") for answer in experiment.answers)
