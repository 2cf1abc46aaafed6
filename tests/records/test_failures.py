"""What the console and the exit code say of runs that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_repro.cli import main
from resnet_repro.records.failures import EndedRun, failure_lines
from resnet_repro.study.execute import Study

BROKEN = "resnet-repro: bee/2.png cannot be read as an image (cut short): repair or remove it, or set BROKEN=skip"


DEFECT = "KeyError: 3"


def end_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logs: dict[str, str], blocked: tuple = ()) -> int:
    """The exit code of a study whose runs failed with these last lines in their logs, by arm."""
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


def test_a_reason_is_told_once_with_its_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    code = end_study(monkeypatch, tmp_path, {"plain-20": BROKEN, "plain-56": DEFECT, "resnet-20": BROKEN})
    assert code == 1, "one of them is a defect"
    reason = BROKEN.removeprefix("resnet-repro: ")
    assert capfd.readouterr().err.splitlines() == [
        f"plain-20 seed 0, resnet-20 seed 0 failed: {reason} (see {tmp_path}/plain-20/seed0/log.txt and 1 more)",
        f"plain-56 seed 0 failed: KeyError: 3 (see {tmp_path}/plain-56/seed0/log.txt)",
    ]


def test_where_all_runs_failed_on_their_input_the_exit_code_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert end_study(monkeypatch, tmp_path, {"plain-20": BROKEN, "resnet-20": BROKEN}, blocked=("a", "b")) == 2
    assert capfd.readouterr().err.splitlines()[1:] == [
        "a seed 0, b seed 0 were not started: the runs that they start from have failed"
    ]


@pytest.mark.parametrize("log", [DEFECT, f"{DEFECT}\nended by SIGKILL"])
def test_a_defect_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str) -> None:
    assert end_study(monkeypatch, tmp_path, {"plain-20": log}, blocked=("a",)) == 1


def test_many_runs_are_counted(tmp_path: Path) -> None:
    (line,) = failure_lines([EndedRun(f"plain-20 seed {seed}", tmp_path, "failed") for seed in range(15)])
    assert "plain-20 seed 11 and 3 more failed: it printed nothing (see " in line
