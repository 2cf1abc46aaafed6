"""Reuse of runs: an identical run of another experiment is taken over, other runs are not."""

from __future__ import annotations

import fcntl
import inspect
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import cli, quarter_experiments
from made_records import make_record

from resnet_repro.config.arm import ModelSpec
from resnet_repro.config.settings import RunSettings
from resnet_repro.design.registry import experiment_names, load_experiment
from resnet_repro.errors import UserError
from resnet_repro.models import builder
from resnet_repro.records.layout import LOCK, RECEIPT, RECORD, RUN, run_folder
from resnet_repro.records.record import read_record
from resnet_repro.records.resume import state_of
from resnet_repro.records.reuse import take_over


def settings_of(folder: Path, **changes: object) -> RunSettings:
    """The settings of the run in `folder`, as a run of `shortcuts`."""
    record = read_record(folder)
    return replace(record.settings, experiment="shortcuts", **changes)  # type: ignore[arg-type]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a finished run of plain-20 in `degradation`."""
    folder = make_record(tmp_path, load_experiment("degradation"), "plain-20", 1)
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "log.txt").write_text("trained as degradation")
    (folder / RUN).write_text(json.dumps({"settings": {}, "id": "0123abcd"}))
    (folder / RECEIPT).write_text("{}")
    return folder


def target_folder(tmp_path: Path) -> Path:
    """The folder of the same run in `shortcuts`."""
    return run_folder(tmp_path, "shortcuts", "paper", "plain-20", 1)


def test_identical_run_of_another_experiment_is_taken_over(trained: Path, tmp_path: Path) -> None:
    settings, folder = settings_of(trained), target_folder(tmp_path)
    assert take_over(folder, settings) == "degradation"
    assert state_of(folder, settings) == "done"
    copy, original = json.loads((folder / RECORD).read_text()), json.loads((trained / RECORD).read_text())
    assert (copy["experiment"], copy["taken_over_from"]) == ("shortcuts", "degradation")
    assert copy["final"] == original["final"] and original["taken_over_from"] is None
    for name in ("metrics.csv", "gradients.csv", "responses.csv", "weights.safetensors"):
        assert (folder / name).read_bytes() == (trained / name).read_bytes()
    assert not (folder / "log.txt").exists(), "nothing was trained here"
    assert not (folder / RECEIPT).exists(), "nothing was uploaded under its id"
    third = run_folder(tmp_path, "construction", "paper", "plain-20", 1)
    (trained / RECORD).unlink()
    assert take_over(third, replace(settings, experiment="construction")) == "shortcuts"
    source = json.loads((third / RECORD).read_text())["taken_over_from"]
    assert source == "degradation", "the record names the experiment that trained the run"


@pytest.mark.parametrize(
    "changes",
    [
        {"iterations": 32_000},
        {"evaluate_every": 500},
        {"precision": "fp32"},
        {"device": "cpu"},
        {"dataset_digest": "e" * 64},
        {"stretch": 10},
    ],
)
def test_run_with_other_settings_is_not_taken_over(changes: dict[str, object], trained: Path, tmp_path: Path) -> None:
    assert take_over(target_folder(tmp_path), settings_of(trained, **changes)) is None
    assert not target_folder(tmp_path).exists()


def test_different_arm_of_the_same_name_is_not_taken_over(trained: Path, tmp_path: Path) -> None:
    settings = settings_of(trained)
    for arm in (replace(settings.arm, watch=("inputs",)), replace(settings.arm, share=0.5)):
        assert take_over(target_folder(tmp_path), replace(settings, arm=arm)) is None


def resolved(model: ModelSpec) -> dict[str, object]:
    """All options of a network, including the builder's defaults."""
    parameters = inspect.signature(builder(model)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {"builder": model.builder, **defaults, **model.options}


def test_experiments_declare_common_arms_with_equal_options() -> None:
    """An experiment that spells out a default declares a different arm, which would be trained again."""
    common, arms = 0, {}
    for name in experiment_names():
        experiment = load_experiment(name)
        for arm in experiment.arms:
            arms.setdefault((experiment.dataset, arm.name), []).append((name, arm))
    for (_, name), declared in arms.items():
        for (first, one), (second, other) in itertools.combinations(declared, 2):
            if resolved(one.model) == resolved(other.model) and replace(one, model=other.model) == other:
                assert one == other, f"{name} of {first} and of {second}: {one.model.options}, {other.model.options}"
                common += 1
    assert common > 10


def test_run_with_a_parent_is_not_taken_over(tmp_path: Path) -> None:
    construction = load_experiment("construction")
    folder = make_record(tmp_path, construction, "plain-20-on", 0)
    record = read_record(folder)
    other = run_folder(tmp_path, "other", "paper", "plain-20-on", 0)
    assert take_over(other, replace(record.settings, experiment="other")) is None


def test_skipped_run_is_not_taken_over(trained: Path, tmp_path: Path) -> None:
    data = json.loads((trained / RECORD).read_text())
    (trained / RECORD).write_text(json.dumps(data | {"status": "skipped"}))
    assert take_over(target_folder(tmp_path), settings_of(trained)) is None


@pytest.mark.parametrize("damage", ["no weights", "another version", "half a record"])
def test_incomplete_run_is_not_taken_over(damage: str, trained: Path, tmp_path: Path) -> None:
    """No error is raised: the damage is reported when the user looks at that experiment."""
    settings = settings_of(trained)
    data = json.loads((trained / RECORD).read_text())
    if damage == "no weights":
        (trained / "weights.safetensors").unlink()
    elif damage == "another version":
        (trained / RECORD).write_text(json.dumps(data | {"settings": data["settings"] | {"colour": "red"}}))
    else:
        (trained / RECORD).write_text('{"format": ')
    assert take_over(target_folder(tmp_path), settings) is None
    assert not target_folder(tmp_path).exists()


def test_full_disk_raises_a_user_error(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(UserError, match=r"seed1 cannot be written \(No space left on device\): .*RUNS_DIR"):
        take_over(target_folder(tmp_path), settings_of(trained))
    assert not (target_folder(tmp_path) / RECORD).exists()


def test_folder_of_a_running_process_is_not_changed(trained: Path, tmp_path: Path) -> None:
    folder = target_folder(tmp_path)
    folder.mkdir(parents=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert take_over(folder, settings_of(trained)) is None
    assert [path.name for path in folder.iterdir()] == [LOCK]
    assert take_over(folder, settings_of(trained)) == "degradation"


def test_taken_over_run_gets_a_new_id(trained: Path, tmp_path: Path) -> None:
    settings, folder = settings_of(trained), target_folder(tmp_path)
    take_over(folder, settings)
    run = json.loads((folder / RUN).read_text())
    assert run["settings"]["experiment"] == "shortcuts"
    assert len(run["id"]) == 8 and run["id"] != "0123abcd"


@pytest.mark.slow
def test_dry_run_takes_over_no_runs(tiny_data: Path, tmp_path: Path) -> None:
    quarter_experiments(tmp_path, "degradation", "shortcuts")
    common = (
        "--dataset", "standin-tiny", "--iterations", "2", "--arms", "plain-20", "--data-dir", tiny_data,
        "--runs-dir", tmp_path / "runs", "--no-report",
    )  # fmt: skip
    assert cli("run", "degradation", *common, cwd=tmp_path).returncode == 0
    slurm = ("--executor", "slurm", "--devices", "cpu", "--precision", "auto", "--dry-run")
    process = cli("run", "shortcuts", *common, *slurm, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "#SBATCH" in process.stdout and "taken over" not in process.stdout
    assert not list((tmp_path / "runs" / "shortcuts").glob("*/*/*/record.json"))


@pytest.mark.slow
def test_taken_over_run_equals_a_trained_run_bit_for_bit(tiny_data: Path, tmp_path: Path) -> None:
    quarter_experiments(tmp_path, "degradation", "shortcuts")

    def run(experiment: str, arms: str, name: str):
        return cli(
            "run", experiment, "--dataset", "standin-tiny", "--iterations", "2", "--arms", arms, "--data-dir", tiny_data,
            "--runs-dir", tmp_path / name, "--no-report", cwd=tmp_path,
        )  # fmt: skip

    assert run("degradation", "plain-20", "together").returncode == 0
    process = run("shortcuts", "plain-20,resnet-20", "together")
    assert process.returncode == 0, process.stderr
    assert re.search(r"plain-20 seed 0: .*degradation.* taken over", process.stdout)
    assert re.search(r"shortcuts: 1 runs? of up to 2 steps", process.stdout)
    assert run("shortcuts", "plain-20", "alone").returncode == 0
    taken_over, trained = (
        read_record(run_folder(tmp_path / name, "shortcuts", "2it-standin-tiny", "plain-20", 0))
        for name in ("together", "alone")
    )
    assert taken_over.weights_sha256 == trained.weights_sha256
    assert taken_over.final == trained.final and taken_over.diagnostics == trained.diagnostics
    assert (taken_over.taken_over_from, trained.taken_over_from) == ("degradation", None)
