"""Searches for a learning rate: candidates run first, the best rate is used, and changed candidates are detected."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import cli, make_settings, prepare_run, start_run
from made_records import record_in
from trained_runs import run_here, steps_of, wait_for

from resnet_repro.config.arm import Arm, ModelSpec, Search
from resnet_repro.config.recipes import FOUR_LAYERS
from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.records.layout import run_folder, source_folders
from resnet_repro.records.record import read_record
from resnet_repro.records.resume import state_of
from resnet_repro.tables import read_rows, series
from resnet_repro.training.start import Skip, found_rate

RECIPE = replace(FOUR_LAYERS, batch_size=32, validation_images=200, train_images=200)


NET = ModelSpec("four_layers.four_layers", {"activation": "relu"})


RATES = {"slow": 0.001, "good": 0.02, "wild": 1e30}


CANDIDATES = {
    name: Arm(name, NET, replace(RECIPE, learning_rate=rate), control=True, share=0.5) for name, rate in RATES.items()
}


SEARCHED = Arm("searched", NET, RECIPE, search=Search(tuple(CANDIDATES)))


def settings_of(arm: Arm, data: Path, **changes: object) -> RunSettings:
    return make_settings(data, 12, arm, experiment="activation", **changes)


@pytest.fixture(scope="module")
def study(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of three candidates, one of which diverges, and of the arm that searches among them."""
    runs_dir = tmp_path_factory.mktemp("search")
    folders = {}
    for arm in (*CANDIDATES.values(), SEARCHED):
        folders[arm.name] = prepare_run(runs_dir, settings_of(arm, tiny_data), tiny_data)
        assert run_here(folders[arm.name]) == ("diverged" if arm.name == "wild" else "finished")
    return folders


@pytest.mark.slow
def test_a_search_uses_the_rate_of_the_best_candidate(study: dict[str, Path], tiny_data: Path) -> None:
    errors = {name: read_record(study[name]).value("validation_error") for name in ("slow", "good")}
    best = min(errors, key=lambda name: (errors[name], RATES[name]))
    search = read_record(study["searched"]).search
    assert search and (search.chosen, search.learning_rate, search.metric) == (best, RATES[best], "validation_error")
    assert (search.score("wild"), search.score("slow")) == (None, errors["slow"])
    rates = series(read_rows(study["searched"] / "metrics.csv"), "learning_rate")[1]
    assert set(rates) == {RATES[best]}
    assert read_record(study["searched"]).recipe.learning_rate == RATES[best]
    assert state_of(study["searched"], settings_of(SEARCHED, tiny_data)) == "done"


def make_candidates(folder: Path, settings: RunSettings, scores: dict[str, tuple[float, float | None]]) -> Path:
    """Write records of candidates with (rate, validation error); None: diverged. Returns the searching run's folder."""
    assert settings.arm.search is not None
    arm = replace(settings.arm, search=replace(settings.arm.search, arms=tuple(scores)))
    settings = replace(settings, arm=arm)
    searching = run_folder(folder, settings.experiment, settings.budget, arm.name, settings.seed)
    for source, (rate, error) in zip(source_folders(searching, settings), scores.values(), strict=True):
        source.mkdir(parents=True)
        diverged = {"status": "diverged", "diverged_at": 5} if error is None else {"status": "finished"}
        outcome = diverged | {"final": {"validation_error": error}}
        record_in(source, settings, **outcome, recipe=settings.to_json()["arm"]["recipe"] | {"learning_rate": rate})
    return searching


def rate_of(folder: Path, data: Path, scores: dict[str, tuple[float, float | None]]) -> float:
    settings = settings_of(SEARCHED, data)
    searching = make_candidates(folder, settings, scores)
    assert settings.arm.search is not None
    arm = replace(settings.arm, search=replace(settings.arm.search, arms=tuple(scores)))
    return found_rate(searching, replace(settings, arm=arm))[0].learning_rate


def test_the_lowest_error_wins_and_ties_go_to_the_lower_rate(tiny_data: Path, tmp_path: Path) -> None:
    assert rate_of(tmp_path / "a", tiny_data, {"a": (0.1, 40.0), "b": (0.01, 50.0), "c": (0.3, 30.0)}) == 0.3
    assert rate_of(tmp_path / "b", tiny_data, {"a": (0.1, 40.0), "b": (0.01, 40.0), "c": (0.3, 45.0)}) == 0.01
    assert rate_of(tmp_path / "c", tiny_data, {"a": (0.1, None), "b": (0.01, 90.0)}) == 0.01


def test_a_search_by_speed_ignores_candidates_that_never_arrive(tiny_data: Path, tmp_path: Path) -> None:
    arm = replace(SEARCHED, search=Search(("never", "late", "early"), "doublings_to_25"))
    settings = settings_of(arm, tiny_data)
    searching = run_folder(tmp_path, settings.experiment, settings.budget, arm.name, settings.seed)
    speeds = ((0.1, {}), (0.01, {"doublings_to_25": 11.0}), (0.03, {"doublings_to_25": 9.5}))
    for source, (rate, speed) in zip(source_folders(searching, settings), speeds, strict=True):
        source.mkdir(parents=True)
        recipe = settings.to_json()["arm"]["recipe"] | {"learning_rate": rate}
        record_in(source, settings, diagnostics=speed, recipe=recipe)
    recipe, found = found_rate(searching, settings)
    assert found and (recipe.learning_rate, found.chosen, found.metric) == (0.03, "early", "doublings_to_25")
    assert [found.score(name) for name in ("never", "late", "early")] == [None, 11.0, 9.5]


def test_a_search_by_training_error_does_not_see_validation_errors(tiny_data: Path, tmp_path: Path) -> None:
    arm = replace(SEARCHED, search=Search(("low", "high"), "train_error"))
    settings = settings_of(arm, tiny_data)
    searching = run_folder(tmp_path, settings.experiment, settings.budget, arm.name, settings.seed)
    finals = (
        (0.01, {"train_error": 30.0, "validation_error": 60.0}),
        (0.1, {"train_error": 40.0, "validation_error": 50.0}),
    )
    for source, (rate, final) in zip(source_folders(searching, settings), finals, strict=True):
        source.mkdir(parents=True)
        recipe = settings.to_json()["arm"]["recipe"] | {"learning_rate": rate}
        record_in(source, settings, final=final, recipe=recipe)
    recipe, found = found_rate(searching, settings)
    assert found and (recipe.learning_rate, found.chosen, found.metric) == (0.01, "low", "train_error")
    assert [found.score(name) for name in ("low", "high")] == [30.0, 40.0]


def test_a_search_is_skipped_without_survivors_and_fails_without_records(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(Skip, match=r"none of .*2 candidates"):
        rate_of(tmp_path, tiny_data, {"a": (0.1, None), "b": (0.01, None)})
    settings = settings_of(SEARCHED, tiny_data)
    searching = run_folder(tmp_path / "empty", settings.experiment, settings.budget, "searched", 0)
    with pytest.raises(UserError, match=r"slow/seed0 .*no finished run.*searched.*run slow"):
        found_rate(searching, settings)


@pytest.mark.slow
def test_a_run_with_changed_candidates_does_not_count_as_done(
    study: dict[str, Path], tiny_data: Path, tmp_path: Path
) -> None:
    runs_dir = tmp_path / "runs"
    shutil.copytree(study["searched"].parents[3], runs_dir)
    searched = run_folder(runs_dir, "activation", "12it", "searched", 0)
    slow = run_folder(runs_dir, "activation", "12it", "slow", 0) / "record.json"
    slow.write_text(json.dumps(json.loads(slow.read_text()) | {"weights_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"slow/seed0\b.*delete .*searched/seed0"):
        state_of(searched, settings_of(SEARCHED, tiny_data))


@pytest.mark.slow
def test_a_checkpoint_with_another_learning_rate_is_rejected(tiny_data: Path, tmp_path: Path) -> None:
    settings = make_settings(tiny_data, 60, replace(SEARCHED, search=Search(("a", "b"))), experiment="activation")
    make_candidates(tmp_path, settings, {"a": (0.01, 40.0), "b": (0.02, 50.0)})
    folder = prepare_run(tmp_path, settings, tiny_data, checkpoint_seconds=0.0)
    process = start_run(folder)
    wait_for(lambda: steps_of(folder) >= 2)
    process.kill()
    process.wait()
    other = run_folder(tmp_path, "activation", "60it", "b", 0) / "record.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"final": {"validation_error": 30.0}}))
    with pytest.raises(UserError, match=r"learning rate 0\.01\b.* 0\.02\b.*delete"):
        run_here(folder)


EXPERIMENT = '''"""Which rate is best for a small net?  A test."""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import below
from resnet_repro.config.arm import Arm, ModelSpec, Search
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.config.recipes import FOUR_LAYERS

RECIPE = replace(FOUR_LAYERS, batch_size=32, validation_images=100, train_images=200)
NET = ModelSpec("four_layers.four_layers", {"activation": "relu"})


def tuned() -> Experiment:
    candidates = [Arm(f"at-{r}", NET, replace(RECIPE, learning_rate=r), control=True, share=0.5) for r in (0.001, 0.01)]
    searched = Arm("searched", NET, RECIPE, search=Search(tuple(arm.name for arm in candidates)))
    return Experiment(
        name="tuned", title="Tuned", question="Which?", source="a test", dataset="cifar10", arms=[searched, *candidates],
        profiles=[Profile("quick", iterations=4, seeds=(0,), evaluations=1)],
        claims=[Claim("Q1", "a test", "It learns.", test=[below("test_error", "searched", 100.0, unit="%")])],
        figures=[], published={}, published_note="", deviations=[],
    )
'''


@pytest.mark.slow
def test_a_study_trains_candidates_first_and_reports_the_search(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tuned.py").write_text(EXPERIMENT)
    process = cli(
        "run", "tuned", "--arms", "searched", "--dataset", "standin-tiny", "--data-dir", tiny_data, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    budget = tmp_path / "runs" / "tuned" / "quick-standin-tiny"
    searched = read_record(budget / "searched" / "seed0")
    for candidate in ("at-0.001", "at-0.01"):
        assert read_record(budget / candidate / "seed0").finished_at <= searched.finished_at
    assert searched.search and searched.search.learning_rate in (0.001, 0.01)
    assert (tmp_path / "reports" / "tuned.pdf").exists()
