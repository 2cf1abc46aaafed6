"""Relative errors of reconstructions against depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_records import make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.figures.figure import Context
from resnet_repro.figures.reconstruction import EXACT
from resnet_repro.records.record import collect, only_trained

ERRORS = {
    ("plain", "identity"): {2: 0.04, 36: 0.5},
    ("residual", "identity"): {2: 0.0, 36: 1e-12},
    ("residual", "perturbed"): {8: 0.002},
}


@pytest.fixture
def identity(tmp_path: Path) -> Experiment:
    experiment = load_experiment("identity")
    for (kind, target), by_depth in ERRORS.items():
        for depth, error in by_depth.items():
            final = {"train_loss": error, "test_loss": 2 * error}
            diagnostics = {"input_relative_mse": 0.007 if target == "perturbed" else 0.0}
            name = f"{kind}-{depth}-{target}"
            make_record(tmp_path, experiment, name, 0, final=final, best={}, diagnostics=diagnostics)
    return experiment


def test_a_panel_per_target_has_a_line_per_kind_and_split(identity: Experiment, tmp_path: Path) -> None:
    drawn = identity.figures[0].draw(Context(only_trained(collect(tmp_path, "identity", "paper")), 500))
    assert drawn is not None
    axes = drawn[0].axes
    assert [ax.get_title() for ax in axes] == ["target: the input x", "target: x, perturbed by a tenth"]
    assert all(ax.get_yscale() == "log" for ax in axes)
    lines = [
        {
            str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
            for line in ax.get_lines()
        }
        for ax in axes
    ]
    assert lines[0]["plain, training images"] == ([2, 36], pytest.approx([0.04, 0.5]))
    assert lines[0]["plain, test images"] == ([2, 36], pytest.approx([0.08, 1.0]))
    assert lines[0]["residual, test images"] == ([2, 36], pytest.approx([EXACT, EXACT]))
    assert "input, unchanged" not in lines[0], "no error to draw"
    assert lines[1]["residual, training images"] == ([8], pytest.approx([0.002]))
    assert lines[1]["input, unchanged"][1] == pytest.approx([0.007, 0.007])


def test_without_runs_there_is_no_figure(identity: Experiment) -> None:
    assert identity.figures[0].draw(Context([], 0)) is None
