"""Training error against the learning rate: one line per net, the published rate marked, warmed-up nets apart."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from made_records import make_record
from made_reports import found_search

from resnet_repro.config.arm import Arm
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.figures.figure import Context
from resnet_repro.figures.style import PAPER_GREY
from resnet_repro.records.record import collect, only_trained


def error_of(arm: Arm, seed: int) -> float:
    """100 times the rate, 50 for deep nets on top, 30 with a warm-up or a search; 1 more for each seed."""
    deep = 50.0 if arm.model.options["depth"] == 56 else 0.0
    return seed + deep + (30.0 if arm.recipe.warm_up or arm.search else 100 * arm.recipe.learning_rate)


def draw(experiment: Experiment, runs: Path, seeds: int, left_out: str = "nothing") -> tuple[list, str]:
    """The axes and the caption, from made-up records. Searches of seed 0 choose a rate of 0.03, others 0.01."""
    for arm in experiment.arms:
        for seed in range(seeds if left_out not in arm.name else 0):
            recipe = asdict(arm.recipe)
            if arm.search:
                recipe = asdict(replace(arm.recipe, learning_rate=0.01 if seed else 0.03))
            make_record(
                runs, experiment, arm.name, seed, iterations=round(2_000 * arm.length), recipe=recipe,
                search=found_search(experiment, arm) if arm.search else None,
                final={"train_error": error_of(arm, seed), "test_error": 50.0},
            )  # fmt: skip
    (spec,) = [spec for spec in experiment.figures if spec.name == "errors_by_rate"]
    drawn = spec.draw(Context(only_trained(collect(runs, "rates", "paper")), 8_000))
    assert drawn is not None
    return drawn[0].axes, drawn[1]


def test_each_net_is_a_line_over_the_rates_with_its_warm_up_apart(tmp_path: Path) -> None:
    (by_rate, longer), caption = draw(load_experiment("rates"), tmp_path, seeds=3)
    lines = {line.get_label(): line for line in by_rate.get_lines()}
    for depth, base in ((20, 1.0), (56, 51.0)):  # the mean over seeds 0 to 2
        for kind in ("plain", "resnet"):
            x, y = lines[f"{kind}-{depth}"].get_data()
            assert list(x) == [0.003, 0.01, 0.03, 0.1]
            assert list(y) == pytest.approx([base + error for error in (0.3, 1, 3, 10)])
    assert by_rate.get_xscale() == "log"
    apart = [line for line in by_rate.get_lines() if len(line.get_xdata()) == 1 and line.get_xdata()[0] > 0.2]
    assert sorted(float(line.get_ydata()[0]) for line in apart) == [31.0, 31.0, 81.0, 81.0]
    (marked,) = [line for line in by_rate.get_lines() if line.get_color() == PAPER_GREY]
    assert list(marked.get_xdata()) == [0.1, 0.1]
    assert by_rate.get_title() == "2,000 steps at each rate" and longer.get_title() == "8,000 steps"
    assert [label.get_text() for label in by_rate.get_xticklabels()][-1] == "0.1 after\nwarm-up"
    assert [label.get_text() for label in longer.get_xticklabels()][1] == "plain-56\n0.01–0.03"
    assert "warm-up at 0.01" in caption and "(hollow)" in caption and "means over seeds" in caption


def test_longer_trainings_at_the_published_rate_are_hollow(tmp_path: Path) -> None:
    (_, longer), _ = draw(load_experiment("rates"), tmp_path, seeds=1)
    points = {
        (round(float(line.get_xdata()[0])), line.get_markerfacecolor() == "none"): float(line.get_ydata()[0])
        for line in longer.get_lines()
        if len(line.get_xdata())
    }
    best = {(0, False): 30.0, (1, False): 80.0, (2, False): 30.0, (3, False): 80.0}
    assert points == best | {(0, True): 10.0, (1, True): 60.0}


def test_what_has_no_runs_is_neither_drawn_nor_explained(tmp_path: Path) -> None:
    axes, caption = draw(load_experiment("rates"), tmp_path, seeds=1, left_out="warm-up")
    assert len(axes) == 2 and "warm-up" not in caption
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["0.003", "0.01", "0.03", "0.1"]
    axes, caption = draw(load_experiment("rates"), tmp_path / "short", seeds=1, left_out="best")
    assert len(axes) == 1 and "longer" not in caption
