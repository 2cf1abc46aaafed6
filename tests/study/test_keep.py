"""`resnet-repro keep`: which runs become reference results, and what is copied of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import cli, one_sentence
from made_records import declared, record_in

from resnet_repro.config.settings import RunSettings
from resnet_repro.data.arrays import combined_digest
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import find_record
from resnet_repro.study.keep import keep, kept_lines
from resnet_repro.tables import read_rows

PUBLISHED = {
    "name": "cifar10", "title": "CIFAR-10", "digest": combined_digest(CATALOGUE["cifar10"].digests), "standin": False,
    "classes": 10, "train_images": 50_000, "test_images": 10_000,
}  # fmt: skip
TABLES = {
    "metrics.csv": "iteration,test_error\n" + "".join(f"{step},{step / 8}\n" for step in range(1, 999)),
    "gradients.csv": "iteration,layer,name,norm\n" + "".join(f"{step},1,conv1,0.5\n" for step in range(1, 999)),
    "responses.csv": "iteration,layer,name,std\n8,1,conv1,0.25\n",
    "speed.csv": "iteration,seconds,images_per_second\n8,0.5,2048.0\n",
}


def ended(runs: Path, settings: RunSettings, **changes: object) -> Path:
    """A finished run on the published data."""
    folder = run_folder(runs, settings.experiment, settings.budget, settings.arm.name, settings.seed)
    folder.mkdir(parents=True)
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    for name in ("weights.safetensors", "log.txt", "run.json", "progress.json"):
        (folder / name).write_text("{}")
    return record_in(folder, settings, dataset=PUBLISHED, **changes)


def test_records_and_tables_are_copied_and_long_tables_packed(tmp_path: Path) -> None:
    runs, reference = tmp_path / "runs", tmp_path / "reference"
    for seed in (0, 1):
        ended(runs, declared(seed=seed))
    kept = keep([runs / "degradation" / "quick"], reference)
    assert [(run.refused, run.target) for run in kept] == [
        ("", reference / "degradation" / "quick" / "plain-20" / f"seed{seed}") for seed in (0, 1)
    ]
    target = kept[0].target
    assert {path.name for path in target.iterdir()} == {
        "record.json", "metrics.csv", "gradients.csv.gz", "responses.csv",
    }  # fmt: skip
    assert (target / "gradients.csv.gz").stat().st_size < len(TABLES["gradients.csv"]) / 5
    record = find_record(target)
    assert record is not None and record.table("gradients") == read_rows(kept[0].folder / "gradients.csv")
    assert (target / "metrics.csv").read_text() == TABLES["metrics.csv"]
    assert "kept: 2 runs" in kept_lines(kept)[-1]
    again = keep([runs], reference)
    assert [run.size for run in again] == [0, 0]
    assert kept_lines(again) == ["kept: 0 runs, 0 bytes; 2 runs kept before"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"commit": "0123456789ab-dirty"}, "commit 0123456789ab-dirty: expected a run from clean commits"),
        ({"commit": None}, "commit unknown"),
        ({"commit": "0123456789ab, 0123456789ac+"}, "commit 0123456789ab, 0123456789ac+"),
        ({"dataset": PUBLISHED | {"standin": True}}, "its data are not the published cifar10"),
        ({"dataset": PUBLISHED | {"digest": "e" * 64}}, "its data are not the published cifar10"),
        ({"precision": "fp32"}, "precision fp32: the other runs of its study have bf16"),
        ({"weights_sha256": "b" * 64}, "another result of this run is kept: delete it first"),
    ],
)
def test_a_run_that_others_cannot_repeat_is_refused(changes: dict, reason: str, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    (first,) = keep([ended(tmp_path / "runs", declared())], reference)
    assert not first.refused
    seed = 0 if "weights_sha256" in changes else 1
    folder = ended(tmp_path / "others", declared(seed=seed))
    record_in(folder, declared(seed=seed), **{"dataset": PUBLISHED} | changes)
    (second,) = keep([folder], reference)
    assert second.refused.startswith(reason)
    assert not second.size and (seed == 0 or not second.target.exists())
    assert (read_json(first.target / "record.json") or {})["weights_sha256"] == "a" * 64


def test_settings_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    today = declared()
    earlier = replace(today, arm=replace(today.arm, recipe=replace(today.arm.recipe, learning_rate=0.123)))
    (run,) = keep([ended(tmp_path / "runs", earlier)], tmp_path / "reference")
    assert run.refused == "degradation declares other settings today"


def test_a_damaged_record_does_not_keep_the_others_from_being_copied(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        ended(tmp_path / "runs", declared(seed=seed))
    (tmp_path / "runs/degradation/quick/plain-20/seed1/record.json").write_text("{}")
    kept = keep([tmp_path / "runs"], tmp_path / "reference")
    assert [bool(run.size) for run in kept] == [True, False, True]
    assert "is not a record of this version" in kept[1].refused


def test_a_result_with_other_measurements_is_not_taken_for_the_kept_one(tmp_path: Path) -> None:
    folder = ended(tmp_path / "runs", declared())
    keep([folder], tmp_path / "reference")
    record_in(folder, declared(), dataset=PUBLISHED, diagnostics={"mean_response": 0.5})
    (run,) = keep([folder], tmp_path / "reference")
    assert run.refused.startswith("another result of this run is kept")


def test_arms_with_a_precision_of_their_own_are_no_measure_for_others(tmp_path: Path) -> None:
    """impl-D's nets train in float32 on any hardware, and He16's, in the same experiment, as the hardware allows."""
    pinned = replace(declared("plain-corrected", experiment="block"), precision="fp32")
    free = declared("resnet-110", "paper", experiment="block")
    folders = [
        ended(tmp_path / "runs", settings, precision=settings.precision)
        for settings in (replace(pinned, budget="paper"), free)
    ]
    assert [run.refused for run in keep(folders[1:], tmp_path / "reference")] == [""]
    assert "precision" not in keep(folders[:1], tmp_path / "reference")[0].refused


def test_the_command_fails_if_a_run_is_refused_and_says_which(tmp_path: Path) -> None:
    folder = ended(tmp_path / "runs", declared())
    record_in(folder, declared(), dataset=PUBLISHED, commit="unknown")
    result = cli("keep", folder, "--reference", tmp_path / "reference")
    assert result.returncode == 1
    assert f"not kept: {folder} (commit unknown" in result.stdout


def test_a_folder_without_ended_runs_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no ended run: expected a run's folder or one above it"):
        keep([tmp_path], tmp_path / "reference")
    result = cli("keep", tmp_path / "missing")
    assert result.returncode == 2 and "is not a folder" in one_sentence(result)
