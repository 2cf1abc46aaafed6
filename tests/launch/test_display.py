"""The live table of many runs: it shows running runs, counts the others, and does not read ended runs again."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

from rich.console import Console

from resnet_repro.launch.display import ROWS, Display, ShownRun
from resnet_repro.records.progress import write_progress


def shown_runs(folder: Path, statuses: list[str]) -> list[ShownRun]:
    runs = []
    for index, status in enumerate(statuses):
        run = folder / f"run{index}"
        run.mkdir()
        state = {"status": status, "step": 3, "steps": 10, "seconds": 6.0}
        (run / "progress.json").write_text(json.dumps(state))
        if status == "finished":
            (run / "record.json").write_text("{}")
        runs.append(ShownRun(f"arm seed {index}", run, 1.0))
    return runs


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=160, height=100, color_system=None), out


def test_many_runs_only_running_ones_are_shown(tmp_path: Path) -> None:
    console, out = terminal()
    with Display(shown_runs(tmp_path, ["running", "finished", *["waiting"] * 400]), console) as display:
        display.refresh(force=True)
    text = out.getvalue()
    assert "arm seed 0 " in text and "3/10" in text
    assert "arm seed 1 " not in text and "arm seed 200" not in text
    assert "400 waiting, 1 running, 1 finished" in text


def test_few_runs_are_all_shown(tmp_path: Path) -> None:
    console, out = terminal()
    with Display(shown_runs(tmp_path, ["running", "finished", *["waiting"] * (ROWS - 2)]), console) as display:
        display.refresh(force=True)
    assert all(f"arm seed {index} " in out.getvalue() for index in range(ROWS))


def test_ended_runs_are_not_read_again(tmp_path: Path) -> None:
    console, out = terminal()
    runs = shown_runs(tmp_path, ["finished", "running"])
    with Display(runs, console) as display:
        display.refresh(force=True)
        for run in runs:
            shutil.rmtree(run.folder)
        out.truncate(0)
        display.refresh(force=True)
        text = out.getvalue()
    assert "finished" in text and "waiting" in text and "running" not in text


def test_small_losses_keep_two_digits_and_absent_errors_stay_empty(tmp_path: Path) -> None:
    (run,) = shown_runs(tmp_path, ["running"])
    progress = {"status": "running", "step": 9, "steps": 10, "seconds": 1.0, "error": None, "test_error": None}
    console, out = terminal()
    for loss, text in ((0.00012, "0.00012"), (0.25, "0.250")):
        write_progress(run.folder, progress | {"loss": loss})
        with Display([run], console):
            pass
        assert text in out.getvalue()
    assert "None" not in out.getvalue()
