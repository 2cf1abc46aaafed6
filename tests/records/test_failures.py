"""Failed runs: error lines on the console and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_jobs import job

from resnet_repro.cli import main
from resnet_repro.launch import Job, Slot
from resnet_repro.records.failures import (
    NO_SPACE,
    SAID,
    EndedRun,
    are_bad_input,
    failure_lines,
    failure_reason,
    is_no_space,
)
from resnet_repro.study.execute import Study

BROKEN = "resnet-repro: bee/2.png cannot be read as an image (cut short): repair or remove it, or set BROKEN=skip"


DEFECT = "KeyError: 3"


def end_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logs: dict[str, str], blocked: tuple = ()) -> int:
    """The exit code of a study whose runs failed. logs: {arm: last lines of its log}. blocked: arms that never started."""
    folders = [tmp_path / arm / "seed0" for arm in (*logs, *blocked)]
    for folder, log in zip(folders[: len(logs)], logs.values(), strict=True):
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text(f"starting\n{log}\n")
    runs = [
        EndedRun(f"{folder.parent.name} seed 0", folder, "blocked" if folder.parent.name in blocked else "failed")
        for folder in folders
    ]
    monkeypatch.setattr("resnet_repro.study.execute.carry_out", lambda *_: Study("quick", runs))
    return main(["run", "degradation", "--runs-dir", str(tmp_path)])


def test_the_reason_is_that_of_the_last_attempt(tmp_path: Path) -> None:
    """A user error that has been mended is not the reason why the next attempt failed."""
    one = job(tmp_path / "one", f"print('{SAID}a.jpg cannot be read'); raise SystemExit(2)")
    one.start(Slot("cpu", "cpu", 1)).wait(60)
    assert failure_reason(one.log.parent) == "a.jpg cannot be read"
    assert EndedRun("one", one.log.parent, "failed").is_bad_input
    job(tmp_path / "one", "raise RuntimeError('CUDA out of memory')").start(Slot("cpu", "cpu", 1)).wait(60)
    assert failure_reason(one.log.parent) == "RuntimeError: CUDA out of memory"
    assert not EndedRun("one", one.log.parent, "failed").is_bad_input
    assert "a.jpg" in one.log.read_text(), "the log keeps both"


def test_runs_with_the_same_failure_reason_share_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    code = end_study(monkeypatch, tmp_path, {"plain-20": BROKEN, "plain-56": DEFECT, "resnet-20": BROKEN})
    assert code == 1, "one of them is a defect"
    reason = BROKEN.removeprefix("resnet-repro: ")
    assert capfd.readouterr().err.splitlines() == [
        f"plain-20 seed 0, resnet-20 seed 0 failed: {reason} (see {tmp_path}/plain-20/seed0/log.txt and 1 more)",
        f"plain-56 seed 0 failed: KeyError: 3 (see {tmp_path}/plain-56/seed0/log.txt)",
    ]


def test_exit_code_is_2_if_all_failures_are_user_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert end_study(monkeypatch, tmp_path, {"plain-20": BROKEN, "resnet-20": BROKEN}, blocked=("a", "b")) == 2
    _, blocked_line = capfd.readouterr().err.splitlines()
    assert blocked_line.startswith("a seed 0, b seed 0 were not started: ")


@pytest.mark.parametrize("log", [DEFECT, f"{DEFECT}\nended by SIGKILL"])
def test_exit_code_is_1_for_a_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str) -> None:
    assert end_study(monkeypatch, tmp_path, {"plain-20": log}, blocked=("a",)) == 1


def test_long_lists_of_failed_runs_are_shortened(tmp_path: Path) -> None:
    (line,) = failure_lines([EndedRun(f"plain-20 seed {seed}", tmp_path, "failed") for seed in range(15)])
    assert "plain-20 seed 11 and 3 more failed: no output (see " in line


def test_reason_is_not_lost_with_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    job = Job("plain-20 seed 0", ["true"], tmp_path / "log.txt", tmp_path / "record.json")
    job.log.mkdir()  # as on a full disk, nothing can be added to it
    job.note("resnet-repro: the run cannot be started: No space left on device")
    runs = [EndedRun(job.name, tmp_path, "failed", job.lost)]
    assert failure_lines(runs)[0].startswith(
        "plain-20 seed 0 failed: the run cannot be started: No space left on device"
    )
    assert are_bad_input(runs)
    job.lost.clear()
    assert job.outcome(NO_SPACE) == "failed"
    (line,) = failure_lines([EndedRun(job.name, tmp_path, "failed", job.lost)])
    assert f"{tmp_path} cannot be written (No space left on device): make room" in line


def test_full_disk_is_recognized_behind_other_errors() -> None:
    assert is_no_space(OSError(28, "No space left on device"))
    assert not is_no_space(OSError(13, "Permission denied"))
    behind = RuntimeError("unexpected pos 576 vs 534")  # as torch does
    behind.__context__ = OSError(28, "No space left on device")
    assert is_no_space(behind)
