"""Experiment files: consistency of their declarations, and a new experiment as one new file."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import REPO, cli

from resnet_repro.config.arm import Start, WarmUp
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import experiment_names, load_experiment, summary
from resnet_repro.diagnostics.along_training import DIAGNOSTICS
from resnet_repro.figures.published import he15_error_curves, he15_layer_responses
from resnet_repro.models import build
from resnet_repro.study.request import select_arms


@pytest.mark.parametrize("name", experiment_names())
def test_claims_and_published_values_refer_to_existing_arms(name: str) -> None:
    experiment = load_experiment(name)
    arms = set(experiment.names)
    assert len(arms) == len(experiment.names)
    for claim in experiment.claims:
        for comparison in claim.test:
            assert set(comparison.arms) <= arms, claim.name
    assert set(experiment.published) <= arms
    assert summary(name)


# Seeds and steps of the longest profile of experiments of this project, which have no published length.
OWN_LENGTHS = {"gradients": (8, 2_000), "rates": (3, 2_000), "beginnings": (3, 2_000)}


@pytest.mark.parametrize("name", experiment_names())
def test_profiles_train_existing_arms_and_all_arms_of_claims(name: str) -> None:
    experiment = load_experiment(name)
    assert [profile.name for profile in experiment.profiles] == ["quick", "paper"]
    paper = experiment.profile("paper")
    if experiment.is_counted:
        assert (paper.seeds, paper.dataset) == ((0,), experiment.dataset)
    else:
        seeds, _ = OWN_LENGTHS.get(name, (5, None))
        assert (paper.seeds, paper.dataset) == (tuple(range(seeds)), experiment.dataset)
    for profile in experiment.profiles:
        chosen = [arm.name for arm in experiment.arms_of(profile)]
        assert set(profile.arms or ()) <= {arm.name for arm in experiment.arms}
        assert set(profile.stretches) <= set(chosen)
        assert [arm.name for arm in select_arms(experiment, profile, None)[0]] == chosen, "a parent is missing"
    full = {arm.name for arm in (*experiment.arms_of(paper), *experiment.networks)}
    for claim in experiment.claims:
        for comparison in claim.test:
            assert set(comparison.arms) <= full, claim.name
    for arm in experiment.arms:
        published = OWN_LENGTHS[name][1] if name in OWN_LENGTHS else arm.recipe.iterations
        assert paper.steps(arm) >= published * arm.length, arm.name


@pytest.mark.slow
@pytest.mark.parametrize("name", experiment_names())
def test_arms_can_be_built_and_have_existing_diagnostics(name: str) -> None:
    experiment = load_experiment(name)
    for arm in (*experiment.arms, *experiment.networks):
        with torch.device("meta"):
            build(arm.model, 10, seed=0)
    for arm in experiment.arms:
        assert set(arm.watch) <= set(DIAGNOSTICS), arm.name


def test_only_the_deepest_nets_of_he15_table_6_have_a_warm_up() -> None:
    warmed_up = [arm.name for arm in load_experiment("depth").arms if arm.recipe.warm_up and not arm.control]
    assert warmed_up == ["resnet-110", "resnet-1202"]


def test_impl_d_nets_differ_from_those_as_written_in_statistics_or_rate_only() -> None:
    block = load_experiment("block")
    for kind in ("plain", "original", "preact"):
        written, corrected = block.arm(f"{kind}-as-written"), block.arm(f"{kind}-corrected")
        frozen = replace(corrected.model, options={**corrected.model.options, "statistics": "frozen"})
        assert corrected.model.options["statistics"] == "batch"
        assert replace(corrected, name=written.name, model=frozen) == written
        faster = block.arm(f"{kind}-as-written-0.005")
        assert (written.recipe.learning_rate, faster.recipe.learning_rate) == (0.003, 0.005)
        recipe = replace(faster.recipe, name=written.recipe.name, learning_rate=0.003)
        assert replace(faster, name=written.name, recipe=recipe) == written


def test_impl_d_is_trained_as_in_its_notebook() -> None:
    """45,000 images in a fixed order, of pixels 0 to 255, in float32, one evaluation at the end of each of 50 epochs."""
    block = load_experiment("block")
    for arm in (arm for arm in block.arms if "impl_d" in arm.model.builder):
        recipe = arm.recipe
        assert (recipe.optimizer, recipe.batch_size, recipe.iterations, recipe.milestones) == ("adam", 100, 22_500, ())
        assert (recipe.scaling, recipe.order, recipe.padding, recipe.flip) == ("none", "fixed", 0, False)
        assert (50_000 - recipe.validation_images) / recipe.batch_size == 450
        assert arm.precision == "fp32"
        assert block.profile("paper").evaluate_every(22_500) == 450


def test_nets_with_and_without_normalization_are_searched_alike() -> None:
    normalization = load_experiment("normalization")
    for net in ("plain-20", "plain-20-no-bn", "plain-20-noisy", "resnet-20", "resnet-20-no-bn"):
        arm = normalization.arm(f"{net}-searched")
        assert arm.search is not None and arm.share == arm.length == 1
        candidates = [normalization.arm(name) for name in arm.search.arms]
        assert [candidate.recipe.learning_rate for candidate in candidates] == [0.003, 0.01, 0.03, 0.1]
        for candidate in candidates:
            same = replace(candidate.recipe, name=arm.recipe.name, learning_rate=arm.recipe.learning_rate)
            assert same == arm.recipe and candidate.share == 0.5
            assert {**candidate.model.options, **({"norm": "noisy"} if "noisy" in net else {})} == arm.model.options
    noisy, usual = normalization.arm("plain-20-noisy-searched"), normalization.arm("plain-20-searched")
    assert noisy.search == usual.search, "the noisy net trains at the rate of the net without noise"


def test_construction_spends_the_same_budget_on_every_deep_net() -> None:
    construction = load_experiment("construction")
    for kind in ("plain", "resnet"):
        arms = {name: construction.arm(f"{kind}-{name}") for name in ("20", "56", "56-built", "56-on", "20-on")}
        lineage = [arms["20"], arms["56-built"], arms["56-on"]]
        assert [arm.start.arm for arm in lineage[1:] if arm.start] == [lineage[0].name, lineage[1].name]
        assert sum(arm.length for arm in lineage) == arms["56"].length == arms["20"].length + arms["20-on"].length


def test_acting_blocks_differ_in_their_first_scale_only() -> None:
    construction = load_experiment("construction")
    silent = construction.arm("resnet-56-built")
    for scale in (0.1, 1):
        built, on = (construction.arm(f"resnet-56-{name}-{scale:g}") for name in ("built", "on"))
        assert built.start is not None and silent.start is not None
        assert replace(built.start, scale=0.0) == silent.start and built.start.scale == scale
        same = replace(construction.arm("resnet-56-on"), name=on.name, start=Start(built.name, "copy"))
        assert on == same
    fast, slow = construction.arm("plain-20-on"), construction.arm("plain-20-on-slow")
    assert fast.start == slow.start and fast.recipe.learning_rate == 10 * slow.recipe.learning_rate


def test_each_net_is_searched_among_its_own_rates_by_training_error() -> None:
    """Nothing but the rate differs, so that the best run and its candidates are the same training at another length."""
    rates = load_experiment("rates")
    for net in ("plain-20", "plain-56", "resnet-20", "resnet-56"):
        best = rates.arm(f"{net}-best")
        assert best.search is not None and best.search.metric == "train_error" and best.length == 4
        candidates = [rates.arm(name) for name in best.search.arms]
        assert [candidate.recipe.learning_rate for candidate in candidates] == [0.003, 0.01, 0.03, 0.1]
        for arm in (*candidates, rates.arm(f"{net}-warm-up")):
            assert arm.model == best.model and arm.length == 1 and not arm.control
            assert arm.recipe.at(2_000) == arm.recipe, "no warm-up of compressed schedules"
            same = replace(arm.recipe, name=best.recipe.name, learning_rate=best.recipe.learning_rate, warm_up=None)
            assert same == best.recipe
    for net in ("plain-20", "plain-56"):
        long, short, best = (rates.arm(f"{net}{suffix}") for suffix in ("-long", "", "-best"))
        assert replace(long, name=net, length=1) == short and long.length == best.length
    assert rates.arm("plain-56-warm-up").recipe.warm_up == WarmUp(0.01, until_error=80.0)


def test_beginnings_differ_from_the_usual_start_in_the_start_only() -> None:
    beginnings = load_experiment("beginnings")
    usual = {kind: beginnings.arm(f"{kind}-56") for kind in ("plain", "resnet")}
    for kind, option, values in (
        ("plain", "init", ("identity", "dirac", "orthogonal")),
        ("resnet", "last_scale", (0.0, 0.1)),
    ):
        for value in values:
            name = f"{kind}-56-{value}" if kind == "plain" else f"resnet-56-last-{value:g}"
            arm = beginnings.arm(name)
            model = replace(usual[kind].model, options={**usual[kind].model.options, option: value})
            assert replace(usual[kind], name=name, model=model) == arm
    built, perturbed = beginnings.arm("plain-56-built-on"), beginnings.arm("plain-56-perturbed-on")
    assert built.start is not None
    assert replace(built, name=perturbed.name, start=replace(built.start, perturbation=0.1)) == perturbed
    rates = load_experiment("rates")
    for name in ("plain-20", "plain-56", "resnet-56"):  # trained once for both experiments
        assert beginnings.arm(name) == rates.arm(name)


def test_mnist_as_written_and_corrected_differ_only_in_the_output() -> None:
    mnist = load_experiment("mnist")
    for kind in ("mlp", "cnn", "lenet"):
        written, corrected = mnist.arm(f"{kind}-as-written"), mnist.arm(f"{kind}-corrected")
        logits = replace(written.model, options={**written.model.options, "output": "logits"})
        assert replace(written, name=corrected.name, model=logits) == corrected
    assert mnist.profile("quick").steps(mnist.arms[0]) == 10 * 469


def test_each_activation_is_searched_among_the_same_rates() -> None:
    activation = load_experiment("activation")
    for name in ("relu", "tanh", "sigmoid"):
        plain, dropout = activation.arm(name), activation.arm(f"{name}-dropout")
        assert plain.search is not None and plain.search == dropout.search
        candidates = [activation.arm(candidate) for candidate in plain.search.arms]
        assert [arm.recipe.learning_rate for arm in candidates] == [0.003, 0.01, 0.03, 0.1, 0.3]
        assert all({**arm.model.options, "dropout": 0.0} == plain.model.options for arm in candidates)
        assert all(arm.recipe.validation_images == 5_000 for arm in candidates)
    chosen = select_arms(activation, activation.profile("quick"), "tanh")[0]
    assert len(chosen) == 1 + 5, "the candidates are selected too"


def test_plain_and_residual_stacks_are_searched_and_trained_alike() -> None:
    identity = load_experiment("identity")
    for target in ("identity", "perturbed", "permuted"):
        for depth in (2, 8, 18, 36):
            plain, residual = (identity.arm(f"{kind}-{depth}-{target}") for kind in ("plain", "residual"))
            options = {**plain.model.options, "kind": "residual"}
            model = replace(plain.model, options=options)
            assert replace(plain, name=residual.name, model=model, search=residual.search) == residual
            assert options == {"kind": "residual", "depth": depth, "target": target}
            for arm in (plain, residual):
                assert arm.search is not None
                candidates = [identity.arm(name) for name in arm.search.arms]
                assert [candidate.recipe.learning_rate for candidate in candidates] == [0.03, 0.1, 0.3, 1.0]
                searched_on = "permuted" if target == "permuted" else "identity"
                for candidate in candidates:
                    same = replace(candidate.recipe, name=arm.recipe.name, learning_rate=arm.recipe.learning_rate)
                    assert same == arm.recipe and candidate.share == 0.5
                    assert candidate.model.options == {**arm.model.options, "target": searched_on}
    at_once, warmed_up = identity.arm("residual-36-at-once"), identity.arm("residual-36-identity")
    recipe = replace(warmed_up.recipe, name=at_once.recipe.name, warm_up=None)
    assert replace(warmed_up, name=at_once.name, recipe=recipe, search=at_once.search) == at_once
    assert all(arm.task == "reconstruct" and arm.precision == "fp32" for arm in identity.arms)
    assert all(arm.recipe.weight_decay == 0 for arm in identity.arms), "decay would help to find F(x) = 0"


def test_published_values_agree_with_published_curves(degradation: Experiment) -> None:
    for arm in ("plain-20", "plain-56"):
        curves = he15_error_curves(arm)
        assert curves["test"][1][-1] == pytest.approx(degradation.published[arm]["test_error"], abs=0.1)
        last = curves["train"][1][-10:]
        assert sum(last) / 10 == pytest.approx(degradation.published[arm]["train_error"], abs=0.06)
    for arm in ("plain-20", "plain-56", "resnet-20", "resnet-56"):
        responses = he15_layer_responses(arm)
        assert responses is not None
        mean = sum(responses[1]) / len(responses[1])
        assert mean == pytest.approx(degradation.published[arm]["mean_response"], abs=0.03)


def test_experiment_files_do_not_import_torch() -> None:
    code = (
        "import sys; from resnet_repro.design.registry import load_experiment, experiment_names;"
        "[load_experiment(name) for name in experiment_names()];"
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'wandb')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0


@pytest.mark.slow
def test_the_documented_experiment_runs_as_printed(tiny_data: Path, tmp_path: Path) -> None:
    source = re.search(r"```python\n(\"\"\"Does depth.*?)```", (REPO / "docs" / "new-experiment.md").read_text(), re.S)
    assert source is not None
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "deeper.py").write_text(source[1])
    process = cli(
        "run", "deeper", "--dataset", "standin-tiny", "--iterations", "1", "--data-dir", tiny_data, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert re.search(r"P1  not tested .*stand-in", process.stdout)
    *_, answer, seeds, remark, report = process.stdout.strip().splitlines()
    assert re.fullmatch(r"After 1 steps resnet-32 has [\d.]+ % test error, resnet-20 [\d.]+ %\.", answer)
    assert (seeds, report) == ("One seed.", "report: reports/deeper.pdf")
    assert "stand-in" in remark and "cifar10" in remark
    assert (tmp_path / "reports" / "deeper.pdf").exists()
