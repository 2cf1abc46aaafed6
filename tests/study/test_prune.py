"""`resnet-repro runs`: the space that runs take, and what can be deleted of it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPO, cli, one_sentence
from made_records import declared, record_in

from resnet_repro.config.settings import RunSettings
from resnet_repro.design.registry import load_experiment
from resnet_repro.files import write_json
from resnet_repro.records.layout import run_folder
from resnet_repro.records.lock import hold
from resnet_repro.records.record import collect, only_trained
from resnet_repro.study.declared import is_declared
from resnet_repro.study.prune import Item, delete, item_lines, prunable
from resnet_repro.terminal import amount
from resnet_repro.tracking.receipt import Receipt, write_receipt

OLD = time.time() - 7_200


@pytest.fixture(autouse=True)
def compiler_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty compiler cache in place of this machine's."""
    cache = tmp_path / "torchinductor"
    cache.mkdir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    return cache


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of published weights in place of the repository's; it does not exist."""
    monkeypatch.setattr("resnet_repro.study.prune.PUBLISHED", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make(runs: Path, settings: RunSettings, *files: str, ended: bool = True) -> Path:
    """Make the folder of a run with some files of 1,000 bytes; run.json is two hours old."""
    folder = run_folder(runs, settings.experiment, settings.budget, settings.arm.name, settings.seed)
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"settings": settings.to_json(), "id": "0123abcd"})
    os.utime(folder / "run.json", (OLD, OLD))
    for name in files:
        (folder / name).write_bytes(b"x" * 1_000)
    return record_in(folder, settings) if ended else folder


def changed(settings: RunSettings) -> RunSettings:
    """Settings with a learning rate that no experiment declares."""
    return replace(settings, arm=replace(settings.arm, recipe=replace(settings.arm.recipe, learning_rate=0.123)))


def found(runs: Path, *names: str) -> dict[str, str]:
    """{path below `runs`: reason} of what can be deleted."""
    return {str(item.path.relative_to(runs)): item.reason for item in prunable(names, runs)[0]}


def test_a_finished_run_keeps_all_but_its_checkpoint(runs: Path) -> None:
    folder = make(runs, declared(), "checkpoint.ckpt", "weights.safetensors", "metrics.csv", ".metrics.csv.part")
    items, notes = prunable([], runs)
    assert [(item.path.name, item.size) for item in items] == [("checkpoint.ckpt", 1_000), (".metrics.csv.part", 1_000)]
    assert notes == []
    assert delete(items) == ("deleted 2 items, 2 kB", [])
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "record.json", "weights.safetensors", "metrics.csv", "lock",
    }  # fmt: skip
    assert prunable([], runs) == ([], [])


def test_a_prefix_keeps_its_checkpoint_until_a_longer_run_has_passed_it(runs: Path) -> None:
    make(runs, declared(budget="prefix4000"), "checkpoint.ckpt")
    items, notes = prunable([], runs)
    assert not items and "a longer PREFIX continues from their checkpoints" in notes[0]
    longer = make(runs, declared(budget="prefix8000"), "checkpoint.ckpt", ended=False)
    assert found(runs) == {}
    record_in(longer, declared(budget="prefix8000"))
    (path,) = found(runs)
    assert path == "degradation/prefix4000/plain-20/seed0/checkpoint.ckpt"
    make(runs, declared(budget="prefix4000", seed=1), "checkpoint.ckpt")  # of a seed that no longer run has passed
    assert list(found(runs)) == [path]


def test_an_interrupted_run_stays_unless_the_same_run_has_finished_elsewhere(runs: Path) -> None:
    make(runs, declared(), "checkpoint.ckpt", "metrics.csv", ended=False)
    assert found(runs) == {}
    make(runs, declared(experiment="shortcuts"), "weights.safetensors")
    assert found(runs) == {
        "degradation/quick/plain-20/seed0": (
            f"interrupted attempt at a run that has finished in {runs}/shortcuts/quick/plain-20/seed0"
        )
    }
    delete(prunable([], runs)[0])
    assert not (runs / "degradation/quick/plain-20/seed0").exists()
    assert (runs / "shortcuts/quick/plain-20/seed0/weights.safetensors").exists()


def test_an_interrupted_run_stays_if_its_result_cannot_be_taken_over(runs: Path) -> None:
    """Further training and searches depend on other runs of their study, so each study has to finish its own."""
    for name in ("plain-20-on", "plain-56-built"):
        finished = declared(name, "paper", experiment="construction")
        make(runs, finished, "weights.safetensors")
        make(runs, replace(finished, budget="64000it"), "checkpoint.ckpt", ended=False)
    assert found(runs) == {}


def test_runs_that_no_experiment_declares_lose_weights_but_no_record(runs: Path) -> None:
    make(runs, changed(declared()), "weights.safetensors", "metrics.csv", "checkpoint.ckpt")
    make(runs, changed(declared("plain-56")), "metrics.csv", ended=False)
    reasons = found(runs)
    assert set(reasons) == {
        "degradation/quick/plain-20/seed0/weights.safetensors",
        "degradation/quick/plain-20/seed0/checkpoint.ckpt",
        "degradation/quick/plain-56/seed0",
    }
    assert "no experiment declares any more" in reasons["degradation/quick/plain-56/seed0"]


def test_weights_that_another_run_starts_from_stay(runs: Path) -> None:
    child = next(arm for arm in load_experiment("construction").arms if arm.start and arm.start.experiment is None)
    assert child.start is not None
    make(runs, changed(declared(child.start.arm, "quick", experiment="construction")), "weights.safetensors")
    assert len(found(runs)) == 1
    make(runs, declared(child.name, "quick", experiment="construction"), ended=False)
    assert found(runs) == {}


def test_nothing_of_an_active_run_is_deleted(runs: Path) -> None:
    folder = make(runs, declared(), "checkpoint.ckpt")
    items, _ = prunable([], runs)
    assert len(items) == 1
    with hold(folder / "lock"):
        assert found(runs) == {}
        assert "their processes are active or may be" in prunable([], runs)[1][0]
        gone, problems = delete(items)  # it has started since the list was made
        assert (gone, problems) == (
            "deleted 0 items, 0 bytes",
            ["1 item left, since their runs have started meanwhile"],
        )
    with hold(folder / "upload.lock"):
        assert found(runs) == {}
    assert (folder / "checkpoint.ckpt").exists()
    assert delete(items) == ("deleted 1 item, 1 kB", [])


def test_a_run_on_another_machine_is_left_alone(runs: Path) -> None:
    folder = make(runs, changed(declared()), "checkpoint.ckpt", ended=False)
    assert list(found(runs)) == ["degradation/quick/plain-20/seed0"]
    progress = {"status": "running", "step": 1, "steps": 9, "seconds": 1.0, "time": OLD, "host": "elsewhere"}
    write_json(folder / "progress.json", progress)
    assert found(runs) == {}


def test_recordings_of_uploaded_runs_can_go(runs: Path) -> None:
    folder = make(runs, declared())
    for name in ("offline-run-20300101_000000-0123abcd", "run-20300101_000000-0123abcd-2", "offline-run-1-other"):
        (runs / "wandb" / name).mkdir(parents=True)
        (runs / "wandb" / name / "run.wandb").write_bytes(b"x" * 10)
    assert found(runs) == {}
    receipt = Receipt("https://api.wandb.ai", "me/resnet-repro", "0123abcd-2", 5, "running")
    write_receipt(folder, receipt)
    assert found(runs) == {}
    write_receipt(folder, Receipt("https://api.wandb.ai", "me/resnet-repro", "89abcdef", 5, "finished"))
    assert found(runs) == {}, "the receipt is that of another run"
    write_receipt(folder, Receipt("https://api.wandb.ai", "me/resnet-repro", "0123abcd-2", 5, "finished"))
    assert sorted(found(runs)) == [
        "wandb/offline-run-20300101_000000-0123abcd", "wandb/run-20300101_000000-0123abcd-2",
    ]  # fmt: skip


def test_compiled_kernels_can_go_if_nothing_has_been_compiled_lately(runs: Path, compiler_cache: Path) -> None:
    folder = make(runs, declared())
    for name in ("avx2-0123456789ab", "ab", "fxgraph"):
        (compiler_cache / name).mkdir()
    assert prunable([], runs)[0] == []
    os.utime(compiler_cache / "avx2-0123456789ab", (OLD, OLD))
    (item,) = prunable([], runs)[0]
    assert item.path == compiler_cache / "avx2-0123456789ab"
    assert prunable(["degradation"], runs)[0] == []  # they belong to no experiment
    with hold(folder / "lock"):
        assert prunable([], runs)[0] == []


def test_unknown_and_damaged_runs_are_left_alone_and_named(runs: Path) -> None:
    other = make(runs, changed(declared()), "checkpoint.ckpt")
    other.parents[2].rename(runs / "mine")
    damaged = make(runs, changed(declared("plain-56")), "checkpoint.ckpt")
    (damaged / "record.json").write_text("{")
    items, notes = prunable([], runs)
    assert items == []
    assert any("mine, since no experiment of this name" in note for note in notes)
    assert any("plain-56/seed0 (" in note for note in notes)


@pytest.mark.parametrize(("name", "budget", "expected"), [
    ("degradation", "quick", True), ("mnist", "paper", True), ("construction", "2000it", True),
    ("degradation", "8000it", False),  # at the full rate from the first step
])  # fmt: skip
def test_declared_settings_are_those_of_today(name: str, budget: str, expected: bool) -> None:
    records = only_trained(collect(REPO / "reports" / "reference", name, budget))
    assert {is_declared(load_experiment(name), record.settings) for record in records} == {expected}


def test_the_command_lists_and_deletes_only_if_asked(runs: Path) -> None:
    make(runs, declared(), "checkpoint.ckpt", "weights.safetensors")
    make(runs, declared("plain-56"), ended=False)
    listed = cli("runs", "--runs-dir", runs)
    assert listed.returncode == 0
    header, row, total = (line.split() for line in listed.stdout.splitlines())
    assert header == ["experiment", "budget", "runs", "finished", "size"]
    size = sum(path.stat().st_size for path in runs.rglob("*") if path.is_file())
    assert row == ["degradation", "quick", "2", "1", *amount(size).split()] and total == ["all", *row[-2:]]
    dry = cli("runs", "degradation", "--prune", "--runs-dir", runs)
    assert dry.stdout.splitlines()[-1] == "1 item, 1 kB: to delete them, make runs PRUNE=1 YES=1"
    assert (runs / "degradation/quick/plain-20/seed0/checkpoint.ckpt").exists()
    done = cli("runs", "--prune", "--yes", "--runs-dir", runs)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "deleted 1 item, 1 kB"
    assert not (runs / "degradation/quick/plain-20/seed0/checkpoint.ckpt").exists()
    assert cli("runs", "--prune", "--yes", "--runs-dir", runs).stdout.strip() == "nothing to delete"


def test_what_is_asked_for_wrongly_is_one_sentence(runs: Path) -> None:
    make(runs, declared())
    assert "YES=1 deletes only with PRUNE=1" in one_sentence(cli("runs", "--yes", "--runs-dir", runs))
    assert "has no runs of 'depht': expected one of degradation" in one_sentence(
        cli("runs", "depht", "--runs-dir", runs)
    )
    assert "unknown experiment 'depht'" in one_sentence(cli("runs", "depht", "--prune", "--runs-dir", runs))
    assert "does not exist" in one_sentence(cli("runs", "--runs-dir", runs / "none"))


def test_what_cannot_be_deleted_is_named(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(runs, declared(), "checkpoint.ckpt")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    refused = cli("runs", "--prune", "--yes", "--runs-dir", runs)
    assert refused.returncode == 1
    assert "checkpoint.ckpt cannot be deleted (Permission denied): check its permissions" in refused.stderr


def test_sizes_are_aligned() -> None:
    items = [Item(Path("a"), "why", 12_000), Item(Path("b"), "why", 5)]
    assert item_lines(items, [], deletes=True) == ["  12 kB  a  why", "5 bytes  b  why"]


def test_published_weights_stay(runs: Path, published: Path) -> None:
    make(runs, changed(declared()), "weights.safetensors")
    assert len(found(runs)) == 1
    published.mkdir()
    (published / "index.json").write_text(f'{{"weights_sha256": "{"a" * 64}"}}')
    assert found(runs) == {}
