"""Figures of gradients by layer and of the surface of the loss, from made-up tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import make_record

from resnet_repro.config.arm import Arm
from resnet_repro.design.experiment import Experiment
from resnet_repro.figures.agreement import agreement_by_depth
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.growth import growth_by_layer, norms_after_steps
from resnet_repro.figures.surface import curvature_along, landscapes
from resnet_repro.records.record import collect, only_trained

ARMS = ("plain-20", "resnet-20")


@pytest.fixture
def arms(degradation: Experiment) -> list[Arm]:
    return [degradation.arm(name) for name in ARMS]


@pytest.fixture
def context(degradation: Experiment, tmp_path: Path) -> Context:
    """Two seeds of two arms: gradients double per layer towards the input at step 0 and are equal at step 100."""
    for place, arm in enumerate(ARMS):
        for seed in (0, 1):
            make_record(tmp_path, degradation, arm, seed)
            folder = tmp_path / "degradation" / "paper" / arm / f"seed{seed}"
            norms = {0: [8.0, 4.0, 2.0], 100: [3.0, 3.0, 3.0]}
            rows = [f"{step},{i},conv{i},{norm}" for step, of in norms.items() for i, norm in enumerate(of, start=1)]
            write(folder / "growth.csv", "iteration,layer,name,norm", rows)
            curvatures = {0: 50.0 * (place + 1), 1: float("nan"), 100: 5.0}
            write(folder / "curvature.csv", "iteration,curvature", [f"{s},{c}" for s, c in curvatures.items()])
            offsets = (-1.0, 0.0, 1.0)
            plane = [f"9,{a},{b},{0.1 + a**2 + 2 * (b > 0)}" for a in offsets for b in offsets]
            write(folder / "landscape.csv", "iteration,along,across,loss", plane)
    return Context(only_trained(collect(tmp_path, "degradation", "paper")), 64_000)


def write(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n")


def drawn(spec: FigureSpec, context: Context) -> Drawing:
    figure = spec.draw(context)
    assert figure is not None
    return figure


def lines(ax: Any) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}


def test_norms_are_relative_to_the_last_layer_and_beside_the_theory(arms: list[Arm], context: Context) -> None:
    figure, caption, alternative = drawn(growth_by_layer({"plain": arms[:1], "none": []}), context)
    (ax,) = figure.axes
    assert lines(ax)["20 layers"] == pytest.approx([1.0, 2.0, 4.0])
    assert lines(ax)["theory"] == pytest.approx([1.0, 1.211**2], rel=1e-3)
    assert "1.211" in caption
    assert "plain: 20 layers have 4.00 times the norm." in alternative


def test_a_depth_looks_alike_in_all_panels(degradation: Experiment, context: Context) -> None:
    """Also if a panel lacks a shallower net."""
    plain = [degradation.arm(name) for name in ("plain-56", "plain-20")]
    residual = [degradation.arm(name) for name in ("resnet-56", "resnet-20")]
    only_residual = Context([record for record in context.records if record.arm == "resnet-20"], 64_000)
    colors = [
        next(line.get_color() for line in figure.axes[-1].get_lines() if line.get_label() == "20 layers")
        for figure, *_ in (
            drawn(growth_by_layer({"plain": plain, "residual": residual}), context),
            drawn(growth_by_layer({"residual": residual}), only_residual),
            drawn(growth_by_layer({"residual": residual[1:]}), only_residual),
        )
    ]
    assert colors[0] == colors[1] != colors[2]


def test_norms_after_steps_have_a_line_for_each_measured_step(arms: list[Arm], context: Context) -> None:
    figure, *_ = drawn(norms_after_steps(arms), context)
    assert [ax.get_title() for ax in figure.axes] == list(ARMS)
    measured = {label: y for label, y in lines(figure.axes[0]).items() if label.startswith("step")}
    assert measured == {"step 0": pytest.approx([1, 2, 4]), "step 100": pytest.approx([1, 1, 1])}


def test_curvature_has_its_limit_and_leaves_out_what_is_not_finite(arms: list[Arm], context: Context) -> None:
    figure, caption, alternative = drawn(curvature_along(arms, 38.0), context)
    shown = lines(figure.axes[0])
    assert shown["resnet-20"] == pytest.approx([100.0, 5.0])
    assert set(shown["limit of stability"]) == {38.0} and "38" in caption
    assert "resnet-20 falls from 100 to 5.00. The limit of stability is 38." in alternative


def test_landscape_has_its_first_direction_along_the_columns(arms: list[Arm], context: Context) -> None:
    figure, _, alternative = drawn(landscapes(arms), context)
    ax = figure.axes[0]
    assert [panel.get_title() for panel in figure.axes] == list(ARMS)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (-1, 1))
    lowest = np.vstack([path.vertices for path in ax.collections[0].get_paths()[:1]])
    assert (lowest[:, 1] <= 0.1).all()  # the loss is lower where the second direction is not positive
    assert "has 0.100 at the network and 0.100 to 3.10 on the edge of the plane" in alternative


@pytest.mark.parametrize("has_runs", [True, False])
@pytest.mark.parametrize("draw", [growth_by_layer, norms_after_steps, landscapes, curvature_along])
def test_runs_without_measurements_leave_no_figure(
    draw: Any, has_runs: bool, arms: list[Arm], degradation: Experiment, tmp_path: Path
) -> None:
    if has_runs:
        make_record(tmp_path, degradation, "plain-20", 0)
    records = only_trained(collect(tmp_path, "degradation", "paper"))
    spec = {growth_by_layer: lambda: draw({"plain": arms}), curvature_along: lambda: draw(arms, 38.0)}
    assert spec.get(draw, lambda: draw(arms))().draw(Context(records, 64_000)) is None


def test_agreement_is_drawn_over_the_depth_by_stage(degradation: Experiment, tmp_path: Path) -> None:
    plain = [degradation.arm(name) for name in ("plain-20", "plain-56")]
    cosines = {"plain-20": 0.4, "plain-56": 0.1}
    for name, cosine in cosines.items():
        for seed in (0, 1):
            values = {"agreement_1": cosine + 0.1 * seed, "agreement_3": cosine / 2}
            make_record(tmp_path, degradation, name, seed, diagnostics=values)
    context = Context(only_trained(collect(tmp_path, "degradation", "paper")), 64_000)
    groups = {"plain": plain, "residual": [degradation.arm("resnet-20")]}
    figure, caption, alternative = drawn(agreement_by_depth(groups), context)
    assert [ax.get_title() for ax in figure.axes] == ["stage 1", "stage 3"], "stage 2 was not measured"
    assert lines(figure.axes[0])["plain"] == pytest.approx([0.45, 0.15])
    assert lines(figure.axes[1])["plain"] == pytest.approx([0.2, 0.05])
    assert "residual" not in lines(figure.axes[0])
    assert "same label" in caption
    assert "stage 1: plain falls from 0.450 to 0.150" in alternative
    assert agreement_by_depth({"residual": [degradation.arm("resnet-20")]}).draw(context) is None
