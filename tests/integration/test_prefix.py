"""Prefixes of the published schedule: continuation by longer runs, and claims that a prefix decides."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import QUARTER, cli, make_settings, prepare_run
from made_records import content_of, make_record, parent_of
from made_results import DEEPER_IS_WORSE, judge, results
from trained_runs import content, run_here

from resnet_repro.claims.claim import Claim
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.schedule import learning_rate
from resnet_repro.config.settings import RunSettings
from resnet_repro.design.budgets import Budget
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.files import write_json
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import read_record
from resnet_repro.records.resume import state_of
from resnet_repro.records.reuse import take_over, take_up
from resnet_repro.tables import read_rows

WHOLE = 30  # steps of the whole schedule; an epoch has 8


def settings_for(data: Path, prefix: int | None, **changes: object) -> RunSettings:
    """The settings of a run of the whole schedule (None), or of its first `prefix` steps."""
    budget = "paper" if prefix is None else f"prefix{prefix}"
    return make_settings(data, WHOLE, **{"evaluate_every": 7, "budget": budget, "prefix": prefix, **changes})


def train_prefix(runs: Path, data: Path, prefix: int | None) -> Path:
    settings = settings_for(data, prefix)
    folder = prepare_run(runs, settings, data)
    assert run_here(folder) == "finished"
    return folder


@pytest.fixture(scope="module")
def in_one_go(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int | None, Path]:
    """The whole schedule and a prefix of 17 steps, each trained without interruption."""
    return {prefix: train_prefix(tmp_path_factory.mktemp("one"), tiny_data, prefix) for prefix in (17, None)}


@pytest.mark.slow
@pytest.mark.parametrize("first", [5, 14])  # inside an epoch; at an evaluation
def test_continued_prefix_is_bit_identical_to_an_uninterrupted_run(
    first: int, in_one_go: dict[int | None, Path], tiny_data: Path, tmp_path: Path
) -> None:
    train_prefix(tmp_path, tiny_data, first)
    for longer in (17, None):
        settings = settings_for(tiny_data, longer)
        folder = run_folder(tmp_path, "degradation", settings.budget, "plain-8", 0)
        assert take_up(folder, settings) == (first if longer else 17), "the longest prefix is continued"
        assert state_of(folder, settings) == "started"
        assert run_here(folder) == "finished"
        assert content(folder) == content(in_one_go[longer])


@pytest.mark.slow
def test_prefix_agrees_with_the_first_steps_of_the_whole_schedule(in_one_go: dict[int | None, Path]) -> None:
    prefix, whole = (read_record(in_one_go[steps]) for steps in (17, None))
    rows, all_rows = (read_rows(record.folder / "metrics.csv") for record in (prefix, whole))
    assert rows == all_rows[:17], "same rates, losses and evaluations at the same steps"
    assert [row["iteration"] for row in rows if row["test_error"]] == ["7", "14"]
    assert prefix.iterations == 17 and prefix.schedule == (17, 64_000)
    assert prefix.final["test_images"] == prefix.dataset.test_images
    assert (prefix.folder / "checkpoint.ckpt").exists(), "a longer prefix resumes from it"
    assert not (whole.folder / "checkpoint.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": 17},  # same length: taken over, not continued
        {"prefix": 16},
        {"evaluate_every": 5},
        {"precision": "bf16"},
        {"dataset_digest": "e" * 64},
        {"iterations": 60},
    ],
)
def test_run_with_another_schedule_is_not_continued(
    changes: dict[str, object], in_one_go: dict[int | None, Path], tiny_data: Path
) -> None:
    runs_dir = in_one_go[17].parents[3]
    settings = replace(settings_for(tiny_data, 20, budget="other"), **changes)  # type: ignore[arg-type]
    folder = run_folder(runs_dir, "degradation", "other", "plain-8", 0)
    assert take_up(folder, settings) is None
    assert not folder.exists()


def test_prefix_without_checkpoint_is_not_continued(tiny_data: Path, tmp_path: Path) -> None:
    train_prefix(tmp_path, tiny_data, 3)
    settings = settings_for(tiny_data, 4)
    folder = run_folder(tmp_path, "degradation", settings.budget, "plain-8", 0)
    (run_folder(tmp_path, "degradation", "prefix3", "plain-8", 0) / "checkpoint.ckpt").unlink()
    assert take_up(folder, settings) is None


@pytest.mark.slow
def test_prefix_with_damaged_checkpoint_is_not_continued(tiny_data: Path, tmp_path: Path) -> None:
    """A copy of the damaged checkpoint would make every attempt fail, even after the copy is deleted."""
    for prefix in (3, 4):
        train_prefix(tmp_path, tiny_data, prefix)
    checkpoint = run_folder(tmp_path, "degradation", "prefix4", "plain-8", 0) / "checkpoint.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1_000])
    settings = settings_for(tiny_data, 5)
    folder = run_folder(tmp_path, "degradation", settings.budget, "plain-8", 0)
    assert take_up(folder, settings) == 3, "the longest prefix with an intact checkpoint"
    assert not list(folder.glob(".*part"))


@pytest.mark.slow
@pytest.mark.parametrize(("step", "expected"), [(4, 5), (5, None), (9, None)])
def test_started_run_continues_from_a_prefix_that_is_further(
    step: int, expected: int | None, in_one_go: dict[int | None, Path], tiny_data: Path, tmp_path: Path
) -> None:
    train_prefix(tmp_path, tiny_data, 5)
    settings = settings_for(tiny_data, 17)
    folder = prepare_run(tmp_path, settings, tiny_data)
    (folder / "checkpoint.ckpt").write_bytes(b"saved by the run")
    write_json(folder / "progress.json", {"step": step})
    assert take_up(folder, settings) == expected
    assert (state_of(folder, settings) if expected else None) == ("started" if expected else None)
    if expected:
        assert run_here(folder) == "finished"
        assert content(folder) == content(in_one_go[17])


def test_run_with_unreadable_progress_keeps_its_checkpoint(tiny_data: Path, tmp_path: Path) -> None:
    train_prefix(tmp_path, tiny_data, 5)
    settings = settings_for(tiny_data, 17)
    folder = prepare_run(tmp_path, settings, tiny_data)
    (folder / "checkpoint.ckpt").write_bytes(b"saved by the run")
    (folder / "progress.json").write_text('{"step": ')
    assert take_up(folder, settings) is None
    assert (folder / "checkpoint.ckpt").read_bytes() == b"saved by the run"


@pytest.mark.slow
def test_steps_that_no_reading_has_seen_count_after_a_resume_without_steps(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed while it scored its network has no step left, and its prefix ends between two readings."""
    settings = replace(settings_for(tiny_data, 5, evaluate_every=600), iterations=600)
    whole, killed = (prepare_run(tmp_path / name, settings, tiny_data) for name in ("whole", "killed"))
    assert run_here(whole) == "finished"

    def kill(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("resnet_repro.training.train_run.finish", kill)
        with pytest.raises(KeyboardInterrupt):
            run_here(killed)
    assert run_here(killed) == "finished"
    expected, record = read_record(whole), read_record(killed)
    assert expected.operations and record.operations == expected.operations
    assert record.images_per_second > 0 and record.weights_sha256 == expected.weights_sha256


def test_run_that_ended_before_its_first_step_keeps_its_checkpoint(tiny_data: Path, tmp_path: Path) -> None:
    """Its progress may tell 0 steps, though the checkpoint holds more than the prefix."""
    train_prefix(tmp_path, tiny_data, 5)
    folder = prepare_run(tmp_path, settings_for(tiny_data, 17), tiny_data)
    (folder / "checkpoint.ckpt").write_bytes(b"saved by the run")
    write_json(folder / "progress.json", {"status": "starting", "step": 0})
    assert take_up(folder, settings_for(tiny_data, 17)) is None
    assert (folder / "checkpoint.ckpt").read_bytes() == b"saved by the run"


def test_untrained_arms_have_the_prefix_of_the_runs_they_read(tmp_path: Path) -> None:
    features = load_experiment("features")
    profile = features.prefix(34_000)
    assert {profile.prefix_of(arm) for arm in features.arms} == {34_000}
    parent = parent_of("degradation", "plain-20", 0, "a" * 64, 34_000)
    folder = make_record(
        tmp_path, features, "plain-20-trained", 0, "prefix34000", iterations=0, prefix=34_000, parent=parent
    )
    record = read_record(folder)
    assert record.settings.stop_at == 0 and record.schedule == (34_000, 64_000)
    banners = content_of(features, tmp_path, "prefix34000")["banners"]
    assert re.match(r"PREFIX\..*34,000 .*64,000 .*53\.1 %", banners[0])
    assert not any(text.startswith("SHORT BUDGET") for text in banners)


def test_arm_whose_share_ends_before_the_prefix_is_the_published_run(
    degradation: Experiment, tiny_data: Path, tmp_path: Path
) -> None:
    profile = degradation.prefix(34_000)
    lengths = {arm.name: profile.prefix_of(arm) for arm in degradation.arms}
    assert lengths.pop("plain-56-no-bn") is None  # its share, a tenth of the schedule, ends before the prefix
    assert {"plain-20", "plain-56", "resnet-20", "resnet-56"} <= set(lengths) and set(lengths.values()) == {34_000}
    control = cifar_arm("plain", 8, QUARTER, share=0.1)
    settings = settings_for(tiny_data, None, arm=control, budget="prefix17")
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    paper = replace(settings, budget="paper")
    assert take_over(run_folder(tmp_path, "degradation", "paper", "plain-8", 0), paper) == "degradation"


def test_prefix_profile_is_the_published_profile_cut_short(degradation: Experiment) -> None:
    paper, profile = degradation.profile("paper"), degradation.prefix(34_000)
    assert profile == replace(paper, name="prefix34000", prefix=34_000)
    assert profile.steps(degradation.arms[0]) == 64_000 and profile.evaluate_every(64_000) == 1_000
    assert degradation.prefix(64_000) == paper
    assert Budget.parse("prefix34000").profile_of(degradation) == profile


@pytest.mark.slow
def test_command_with_a_longer_prefix_continues_a_shorter_one(
    tiny_data: Path, quartered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hide the compiler: the length of the whole schedule would justify a compilation, which takes a minute.
    monkeypatch.setenv("PATH", str(tmp_path))

    def run(prefix: int):
        return cli(
            "run", "degradation", "--prefix", str(prefix), "--seeds", "0", "--arms", "plain-20", "--dataset",
            "standin-tiny", "--data-dir", tiny_data, "--runs-dir", tmp_path, "--reports-dir", tmp_path / "reports",
            "--precision", "fp32", cwd=quartered,
        )  # fmt: skip

    assert run(2).returncode == 0
    process = run(3)
    assert process.returncode == 0, process.stderr
    assert "plain-20 seed 0: its first 2 steps have been trained" in process.stdout
    record = read_record(run_folder(tmp_path, "degradation", "prefix3-standin-tiny", "plain-20", 0))
    assert record.iterations == 3
    settings = record.settings
    rates = [float(row["learning_rate"]) for row in read_rows(record.folder / "metrics.csv")]
    assert set(rates) <= {learning_rate(settings.arm.recipe, 64_000, step) for step in range(3)} == {0.1}
    run_file = json.loads((record.folder / "run.json").read_text())
    earlier = json.loads((tmp_path / "degradation/prefix2-standin-tiny/plain-20/seed0/run.json").read_text())
    assert run_file["id"] != earlier["id"], "each run has its own W&B recording"


@pytest.mark.parametrize(
    ("prefixes", "verdict", "reason"),
    [
        ({"deep": 34_000, "shallow": 34_000}, "supported", ""),
        ({"deep": 40_000, "shallow": 64_000}, "supported", ""),
        ({"deep": 33_999, "shallow": 34_000}, "not tested", "PREFIX=34000"),
        ({"deep": 34_000}, "not tested", "PREFIX=34000"),  # shallow has a compressed schedule
        ({"shallow": 34_000, "deep": 34_000, "missing": 0}, "not tested", "missing"),
    ],
)
def test_untested_claim_names_the_prefix_that_decides_it(prefixes: dict[str, int], verdict: str, reason: str) -> None:
    claim = Claim("D3", "He15", "", DEEPER_IS_WORSE.test, needs_paper_budget=True, from_prefix=34_000)
    deep = [] if prefixes.pop("missing", None) == 0 else [13.1, 13.2, 13.3]
    values = results({"deep": deep, "shallow": [9.6, 9.7, 9.8]}, short=("deep", "shallow"))
    judgement = judge(claim, replace(values, prefixes=prefixes))
    assert judgement.verdict == verdict
    assert reason in judgement.reason if reason else judgement.reason == ""


def test_short_prefix_decides_less_than_a_compressed_schedule() -> None:
    """At the published rate a deep net needs thousands of steps. A compressed schedule starts with a warm-up."""
    claim = Claim("D4", "He15", "", DEEPER_IS_WORSE.test, from_prefix=34_000)
    values = results({"deep": [13.1, 13.2, 13.3], "shallow": [9.6, 9.7, 9.8]}, short=("deep", "shallow"))
    assert judge(claim, values).verdict == "supported"
    assert judge(claim, replace(values, prefixes={"deep": 400, "shallow": 400})).verdict == "not tested"


def test_deciding_prefixes_include_the_first_division_of_the_rate() -> None:
    """The prefix that is trained for these claims must decide them."""
    for name, claims in (
        ("degradation", {"D1", "D2", "D3", "D4", "D6"}),
        ("depth", {"P1"}),
        ("shortcuts", {"S1", "S2", "S2-two", "S2-110"}),
    ):
        experiment = load_experiment(name)
        recipe = experiment.arms[0].recipe
        steps = {claim.name: claim.from_prefix for claim in experiment.claims if claim.from_prefix}
        assert set(steps) == claims
        for prefix in steps.values():
            assert learning_rate(recipe, recipe.iterations, prefix - 1) < recipe.learning_rate
