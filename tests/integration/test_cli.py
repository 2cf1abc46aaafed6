"""The command line from end to end, on tiny data."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPO, cli, cli_process, command_line, one_sentence

from resnet_repro.records.record import Record, collect, only_trained

pytestmark = pytest.mark.slow

SMALL = ("--dataset", "standin-tiny", "--iterations", "2", "--arms", "plain-20,resnet-20")


@pytest.fixture(scope="module")
def study(
    tiny_data: Path, quartered: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess]:
    """Two arms trained for two steps each, with a report and an offline W&B recording, in separate processes."""
    folder = tmp_path_factory.mktemp("study")
    process = cli_process(
        "run", "degradation", *SMALL, "--data-dir", tiny_data, "--runs-dir", folder / "runs", "--reports-dir",
        folder / "reports", "--wandb-mode", "offline", cwd=quartered,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr + process.stdout
    return folder, process


def records(folder: Path) -> list[Record]:
    return only_trained(collect(folder / "runs", "degradation", "2it-standin-tiny"))


def test_study_writes_records_and_report(study: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, process = study
    assert [(r.arm, r.seed, r.status) for r in records(folder)] == [
        ("plain-20", 0, "finished"),
        ("resnet-20", 0, "finished"),
    ]
    for name in ("degradation.pdf", "degradation-error_curves.svg", "degradation-error_curves.png"):
        assert (folder / "reports" / name).stat().st_size > 1_000, name
    assert (folder / "reports" / "degradation.pdf").read_bytes().startswith(b"%PDF")
    assert "STAND-IN DATA" in process.stdout
    assert re.search(r"D1\s+not tested", process.stdout)
    assert re.search(r"plain-20 seed 0\s+finished\s+step 2/2", process.stdout)


def test_offline_wandb_recording_contains_runs_and_report(study: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, process = study
    assert "offline" in process.stdout
    assert "make curves" in process.stdout
    recordings = {path.name.rsplit("-", 1)[1]: path for path in (folder / "runs" / "wandb").glob("offline-run-*")}
    for record in records(folder):
        run = json.loads((record.folder / "run.json").read_text())
        file = next(recordings[run["id"]].glob("*.wandb"))
        out = subprocess.run(
            [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)], capture_output=True, text=True
        )
        text = out.stdout
        assert out.returncode == 0, out.stderr
        for expected in (
            f'"{record.arm}-seed0"', '"degradation"', f'"{record.arm}"', '"2it-standin-tiny"', "STAND-IN DATA",
            record.dataset.digest, "loss/running_train", "error/test", "images_per_second", "learning_rate",
        ):  # fmt: skip
            assert expected in text, expected
    assert len(recordings) == 3  # two runs, and the report's figures


def test_features_reads_runs_of_another_experiment(
    study: tuple[Path, subprocess.CompletedProcess], tiny_data: Path, quartered: Path
) -> None:
    folder, _ = study
    process = cli(
        "run", "features", "--dataset", "standin-tiny", "--iterations", "2", "--arms",
        "plain-20-trained,plain-20-untrained", "--data-dir", tiny_data, "--runs-dir", folder / "runs", "--reports-dir",
        folder / "features", cwd=quartered,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr + process.stdout
    trained, untrained = sorted(
        only_trained(collect(folder / "runs", "features", "2it-standin-tiny")), key=lambda r: r.arm
    )
    source = next(r for r in records(folder) if r.arm == "plain-20")
    assert trained.parent and trained.parent.weights_sha256 == source.weights_sha256
    assert trained.weights_sha256 == source.weights_sha256
    assert trained.value("test_error") == source.value("test_error")
    assert untrained.parent is None
    for record in (trained, untrained):
        assert len(record.table("features")) == 10
        assert record.value("probe_drop") is not None
    assert (folder / "features" / "features-probes.svg").exists()


def test_status_shows_finished_runs(study: tuple[Path, subprocess.CompletedProcess], quartered: Path) -> None:
    folder, _ = study
    process = cli("status", "degradation", "--runs-dir", folder / "runs", cwd=quartered)
    assert process.returncode == 0, process.stderr
    assert "degradation 2it-standin-tiny: 2 of 5 runs finished, 3 missing" in process.stdout
    assert re.search(r"finished\s+plain-20 seed 0\s+test error \d", process.stdout)


def test_finished_runs_are_not_repeated(
    study: tuple[Path, subprocess.CompletedProcess], tiny_data: Path, quartered: Path
) -> None:
    folder, _ = study
    before = {r.arm: (r.folder / "record.json").stat().st_mtime_ns for r in records(folder)}
    process = cli(
        "run", "degradation", *SMALL, "--data-dir", tiny_data, "--runs-dir", folder / "runs", "--no-report",
        cwd=quartered,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "2 of 2 runs are finished" in process.stdout
    assert {r.arm: (r.folder / "record.json").stat().st_mtime_ns for r in records(folder)} == before


def test_report_reproduces_the_pdf_of_the_study_from_records(
    study: tuple[Path, subprocess.CompletedProcess], quartered: Path, tmp_path: Path
) -> None:
    folder, _ = study
    for reports in (tmp_path / "a", tmp_path / "b"):
        process = cli("report", "--runs-dir", folder / "runs", "--reports-dir", reports, cwd=quartered)
        assert process.returncode == 0, process.stderr
    for name in ("degradation.pdf", "degradation-error_curves.svg", "degradation-gradient_norms.pdf", "summary.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
        if name != "summary.pdf":  # not written by a study
            assert (tmp_path / "a" / name).read_bytes() == (folder / "reports" / name).read_bytes(), name


def test_run_of_other_settings_is_not_continued(
    study: tuple[Path, subprocess.CompletedProcess], tiny_data: Path, quartered: Path
) -> None:
    folder, _ = study
    stored = records(folder)[0].precision
    other = "fp32" if stored == "bf16" else "bf16"
    process = cli(
        "run", "degradation", *SMALL, "--data-dir", tiny_data, "--runs-dir", folder / "runs", "--precision", other,
        "--reports-dir", folder / "reports", cwd=quartered,
    )  # fmt: skip
    message = one_sentence(process)
    assert re.search(f"precision {stored}, not {other}.* RUNS_DIR", message)


@pytest.mark.parametrize("name", ["record.json", "run.json", "checkpoint.ckpt"])
def test_truncated_files_are_named(
    name: str, study: tuple[Path, subprocess.CompletedProcess], tiny_data: Path, quartered: Path, tmp_path: Path
) -> None:
    source = records(study[0])[0].folder
    folder = tmp_path / "runs" / "degradation" / "2it-standin-tiny" / "plain-20" / "seed0"
    folder.mkdir(parents=True)
    if name == "record.json":
        (folder / name).write_bytes((source / name).read_bytes()[:200])
    else:
        (folder / "run.json").write_bytes((source / "run.json").read_bytes()[: 200 if name == "run.json" else None])
        (folder / "checkpoint.ckpt").write_bytes(b"PK\x03\x04 cut short")
    message = one_sentence(
        cli("run", "degradation", *SMALL, "--data-dir", tiny_data, "--runs-dir", tmp_path / "runs", cwd=quartered)
    )
    assert name in message
    assert f"delete {folder}" in message


def test_failed_run_is_named_and_sets_the_exit_code(tiny_data: Path, quartered: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "runs" / "degradation" / "2it-standin-tiny" / "plain-20" / "seed0" / "metrics.csv"
    blocker.mkdir(parents=True)  # a folder in place of a file that the run writes
    process = cli(
        "run", "degradation", *SMALL, "--data-dir", tiny_data, "--runs-dir", tmp_path / "runs", "--reports-dir",
        tmp_path / "reports", cwd=quartered,
    )  # fmt: skip
    assert process.returncode == 1
    assert re.search(r"plain-20 seed 0 failed: IsADirectoryError.*log\.txt", process.stderr)
    assert [r.arm for r in records(tmp_path)] == ["resnet-20"]
    assert (tmp_path / "reports" / "degradation.pdf").exists()
    assert re.search(r"D4\s+not tested", process.stdout)


def test_no_report_and_no_traceback_if_all_runs_fail(tiny_data: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "runs" / "degradation" / "2it-standin-tiny" / "plain-20" / "seed0" / "metrics.csv"
    blocker.mkdir(parents=True)
    process = cli(
        "run", "degradation", *SMALL[:4], "--arms", "plain-20", "--data-dir", tiny_data, "--runs-dir",
        tmp_path / "runs", "--reports-dir", tmp_path / "reports",
    )  # fmt: skip
    assert process.returncode == 1
    assert len(process.stderr.strip().splitlines()) == 1, process.stderr
    assert "plain-20 seed 0 failed" in process.stderr
    assert not list((tmp_path / "reports").iterdir())


def test_same_command_resumes_after_ctrl_c(tiny_data: Path, quartered: Path, tmp_path: Path) -> None:
    arguments = [
        "run", "degradation", "--dataset", "standin-tiny", "--iterations",
        "40", "--arms", "plain-20", "--slots", "2", "--data-dir", str(tiny_data), "--runs-dir", str(tmp_path / "runs"),
        "--no-report",
    ]  # fmt: skip
    folder = tmp_path / "runs" / "degradation" / "40it-standin-tiny" / "plain-20" / "seed0"
    process = subprocess.Popen(
        [*command_line(quartered), *arguments],
        cwd=quartered,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (folder / "metrics.csv").exists() or len((folder / "metrics.csv").read_text().splitlines()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "run the same command to resume" in stderr
    assert (folder / "checkpoint.ckpt").exists()
    again = cli(*arguments, cwd=quartered)
    assert again.returncode == 0, again.stderr
    assert "resuming plain-20 seed 0" in (folder / "log.txt").read_text()
    assert json.loads((folder / "record.json").read_text())["iterations"] == 40


@pytest.mark.slow
def test_full_disk_behind_standard_output_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command_line(REPO), "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert re.fullmatch(
        r"resnet-repro: standard output cannot be written \(No space left on device\): .*\n", done.stderr
    )


@pytest.mark.slow
def test_deleted_working_directory_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    command = f"rmdir {folder}; exec {shlex.join(command_line(REPO))} run degradation --dataset standin-tiny"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True)
    assert "the working directory no longer exists" in one_sentence(done)
