"""Experiment files: what they declare, and that a new one is one new file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, cli

from resnet_repro.discovery import experiment_names, load_experiment, summary
from resnet_repro.errors import UserError
from resnet_repro.experiment import Experiment, RunSettings, select_arms
from resnet_repro.report.published import he15_error_curves, he15_layer_responses
from resnet_repro.study import scaled_profile


@pytest.fixture
def degradation() -> Experiment:
    return load_experiment("degradation")


def test_degradation_is_the_papers(degradation: Experiment) -> None:
    compared = [arm.name for arm in degradation.arms if not arm.control]
    assert compared == ["plain-20", "plain-56", "resnet-20", "resnet-56"]
    assert [claim.name for claim in degradation.claims] == ["D1", "D2", "D3", "D4", "D5", "D6"]
    paper = degradation.profile("paper")
    assert (paper.iterations, len(paper.seeds), paper.dataset) == (64_000, 5, "cifar10")
    assert degradation.profile("quick").dataset == "auto"
    assert degradation.published["resnet-56"]["test_error"] == 6.97


@pytest.mark.parametrize("name", experiment_names())
def test_every_claim_names_arms_that_are_there(name: str) -> None:
    experiment = load_experiment(name)
    arms = {arm.name for arm in experiment.arms}
    assert len(arms) == len(experiment.arms)
    for claim in experiment.claims:
        for comparison in claim.test:
            assert {comparison.arm, comparison.than} - {None} <= arms, claim.name
    assert set(experiment.published) <= arms
    assert summary(name)


def test_paired_comparisons_are_of_twins_alone(degradation: Experiment) -> None:
    for claim in degradation.claims:
        for comparison in claim.test:
            if comparison.paired:
                assert comparison.than is not None
                assert comparison.arm.split("-")[1] == comparison.than.split("-")[1]


def test_published_numbers_agree_with_the_curves(degradation: Experiment) -> None:
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


def test_settings_survive_the_disk(degradation: Experiment) -> None:
    arm = degradation.arm("plain-56-no-bn")
    settings = RunSettings("degradation", "quick", arm, 0, 391, 131, "cifar10", "d", "bf16", "cpu")
    assert RunSettings.from_json(settings.to_json()) == settings
    assert settings.stop_at == 39
    with pytest.raises(UserError, match="another version"):
        RunSettings.from_json({"arm": {}})


def test_budgets_have_folders_of_their_own(degradation: Experiment) -> None:
    assert scaled_profile(degradation, "quick", None).name == "quick"
    assert scaled_profile(degradation, "quick", 391).name == "quick"
    longer = scaled_profile(degradation, "quick", 2_000)
    assert (longer.name, longer.iterations, longer.evaluations) == ("2000it", 2_000, 4)
    assert scaled_profile(degradation, "paper", 8_000).evaluate_every == 1_000
    assert [arm.name for arm in select_arms(degradation, "resnet-20, plain-20")] == ["plain-20", "resnet-20"]


def test_experiment_files_import_no_torch() -> None:
    code = (
        "import sys; from resnet_repro.discovery import load_experiment; load_experiment('degradation');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'wandb')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0


def test_the_readmes_experiment_is_all_it_takes(tiny_data: Path, tmp_path: Path) -> None:
    source = re.search(r"```python\n(\"\"\"Does depth.*?)```", (REPO / "README.md").read_text(), re.S)
    assert source is not None
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "deeper.py").write_text(source[1])
    process = cli(
        "run", "deeper", "--dataset", "standin-tiny", "--iterations", "1", "--data-dir", tiny_data, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert "P1  undecided (stand-in data)" in process.stdout
    assert (tmp_path / "reports" / "deeper.pdf").exists()
