"""Status of made-up run folders: states of runs, missing runs, damaged folders. Status never writes."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import REPLACED, cli_process
from made_records import record_in

from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
from resnet_repro.design import registry
from resnet_repro.errors import UserError
from resnet_repro.parsing import parse_seeds
from resnet_repro.records.layout import run_folder
from resnet_repro.records.record import FORMAT
from resnet_repro.study.status import status_lines

EXPERIMENT = '''"""Made up.  Nowhere."""

from resnet_repro.config.families import cifar_arm
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.config.recipes import HE15_CIFAR


def {name}() -> Experiment:
    return Experiment(
        name="{name}", title="", question="", source="", dataset="cifar10",
        arms=[cifar_arm(kind, depth, HE15_CIFAR) for kind in ("plain", "resnet") for depth in (20, 56)],
        profiles=[
            Profile("quick", iterations=391, seeds=(0,), evaluations=3, arms=("plain-20", "plain-56", "resnet-20")),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=64),
        ],
        claims=[], figures=[], published={{}}, published_note="", deviations=[],
    )
'''


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of runs, beside the experiments depth and width."""
    (tmp_path / "experiments").mkdir()
    for name in ("depth", "width"):
        (tmp_path / "experiments" / f"{name}.py").write_text(EXPERIMENT.format(name=name))
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "BUILT_IN", tmp_path / "experiments")
    REPLACED.add(tmp_path)  # for commands in other processes
    return Path("runs")


def make_run(
    runs: Path,
    arm: str = "plain-20",
    seed: int = 0,
    budget: str = "quick",
    *,
    status: str | None = None,
    step: int = 0,
    checkpoint: bool = False,
    log: str = "",
    age: float = 0.0,
    **progress: Any,
) -> Path:
    """Make a run's folder as the launcher and the run's process leave it.

    status: None for a run without progress. age: seconds since the last write.
    """
    folder = run_folder(runs, "depth", budget, arm, seed)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "log.txt").write_text(log)
    if checkpoint:
        (folder / "checkpoint.ckpt").touch()
    if status:
        (folder / "lock").touch()
        content = {"status": status, "step": step, "steps": 391, "seconds": 10.0, "pid": 1, "time": time.time() - age}
        (folder / "progress.json").write_text(json.dumps({**content, **progress}))
    if age:
        for file in folder.iterdir():
            written = time.time() - age - (file.name == "run.json")  # run.json is written first
            os.utime(file, (written, written))
    return folder


def end_run(folder: Path, status: str = "finished", **changes: Any) -> Path:
    """Write the record of a run."""
    arm = Arm(folder.parent.name, ModelSpec("cifar.cifar_net"), HE15_CIFAR)
    seed = int(folder.name.removeprefix("seed"))
    settings = RunSettings("depth", "quick", arm, seed, 391, 100, "cifar10", "d" * 64, "bf16", "cpu")
    about = {"status": status, "diverged_at": 7} if status == "diverged" else {"status": status}
    return record_in(folder, settings, **about | changes)


HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Start a process that holds a run's lock; kill it at the end."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def status(runs: Path, *names: str) -> str:
    return "\n".join(status_lines(names, runs))


def line(text: str, part: str) -> str:
    """The only line that contains `part`."""
    lines = [line for line in text.splitlines() if part in line]
    assert len(lines) == 1, text
    return lines[0]


def test_live_run_shows_time_left_and_killed_run_is_interrupted(runs: Path) -> None:
    folder = make_run(runs, status="running", step=100, checkpoint=True)
    with held(folder):
        text = status(runs)
        assert line(text, "plain-20").split("  ")[1] == "running"
        assert "step 100 of 391 (26 %), left 0:29" in line(text, "plain-20")
        assert text.splitlines()[0] == "depth quick: 0 of 3 runs finished, 1 running, 2 missing"
    text = status(runs)
    assert re.search(r"interrupted .*step 100 of 391 \(26 %\) .*last checkpoint.*same command", line(text, "plain-20"))
    assert text.splitlines()[0] == "depth quick: 0 of 3 runs finished, 1 interrupted, 2 missing"


def test_status_neither_creates_nor_truncates_nor_holds_the_lock(runs: Path) -> None:
    folder = make_run(runs, status="running", step=1)
    (folder / "lock").write_text("kept")
    assert "interrupted" in status(runs)
    with held(folder):  # would block if status still held the lock
        pass
    (folder / "lock").unlink()
    assert "interrupted" in status(runs)
    assert not (folder / "lock").exists()


@pytest.mark.parametrize(
    ("state", "pattern"),
    [
        ({"status": "starting"}, r"interrupted  plain-20 seed 0 .*step 0 of 391 \(0 %\).*no checkpoint.*same command"),
        ({"status": "evaluating", "step": 131}, r"interrupted  plain-20 seed 0 .*step 131 of 391"),
        (
            {"status": "stopped", "step": 50, "checkpoint": True},
            r"interrupted .*step 50 of 391 \(13 %\).*last checkpoint",
        ),
        (
            {"status": "failed", "step": 5, "log": "Traceback\nOSError: no space\n"},
            r"failed .*5 of 391 \(1 %\).*OSError: no space",
        ),
        ({"status": "failed", "log": "\n"}, r"failed .*no output.*runs/depth/quick/plain-20/seed0/log\.txt"),
        ({"log": "data are gone\n"}, r"failed       plain-20 seed 0 .*first step.*data are gone.*runs/"),
        ({}, r"running      plain-20 seed 0  starting"),
        ({"age": 3_600.0}, r"interrupted  plain-20 seed 0 .*first step.*same command"),
        ({"status": "waiting", "age": 9.0}, r"missing      plain-20, plain-56, resnet-20  seed 0"),
        (
            {"status": "waiting", "step": 9, "age": 9.0},
            r"interrupted  plain-20 seed 0 .*step 9 of 391 \(2 %\).*resumes",
        ),
        ({"status": "finished"}, r"damaged: runs/depth/quick/plain-20/seed0 .*finished.* record"),
        ({"status": "asleep"}, r"damaged: runs/depth/quick/plain-20/seed0/progress\.json .*version"),
        ({"status": "running", "step": "x"}, r"damaged: .*seed0/progress\.json .*version.*delete"),
        ({"status": "running", "host": "elsewhere", "step": 39}, r"running .*39 of 391 \(10 %\), .*1:30, on elsewhere"),
        ({"status": "running", "host": "elsewhere", "age": 720.0}, r"silent .*12 min on elsewhere"),
        ({"status": "running", "host": "elsewhere", "age": 7_300.0}, r"silent .*2 h on elsewhere"),
        ({"status": "running", "host": platform.node()}, r"interrupted  plain-20 seed 0"),
    ],
)
def test_states_of_runs_without_a_local_process(state: dict[str, Any], pattern: str, runs: Path) -> None:
    make_run(runs, **state)
    assert re.search(pattern, status(runs))


def test_restarted_run_shows_nothing_of_its_last_attempt(runs: Path) -> None:
    folder = make_run(runs, status="failed", step=5, log="OSError\n")
    with held(folder):
        assert "running      plain-20 seed 0  starting" in status(runs)


def test_live_run_without_recent_progress_is_silent(runs: Path) -> None:
    with held(make_run(runs, status="running", step=100, age=1_000.0)):
        text = line(status(runs), "running ")
    assert re.search(r"running      plain-20 seed 0 .*step 100 of 391 \(26 %\), .*0:29, silent .*17 min", text)


def test_waiting_runs_are_missing_once_no_run_is_running(runs: Path) -> None:
    make_run(runs, "plain-56", status="waiting", age=9.0)
    make_run(runs, "resnet-20", status="waiting", age=9.0)
    with held(make_run(runs, status="running", step=1)):
        assert "waiting      plain-56, resnet-20  seed 0" in status(runs)
    assert "missing      plain-56, resnet-20  seed 0" in status(runs)


def test_finished_and_diverged_runs_are_read_from_their_records(runs: Path) -> None:
    for seed, error in enumerate((9.25, 9.75, 10.25)):
        end_run(make_run(runs, seed=seed, budget="paper"), final={"test_error": error})
    end_run(make_run(runs, "plain-56", 4, "paper", status="running", step=7), status="diverged")
    end_run(make_run(runs, "resnet-56", 0, "paper"), final={})  # a stretch is timed but not scored
    text = status(runs)
    assert text.splitlines()[0] == "depth paper: 4 of 20 runs finished, 1 diverged, 15 missing"
    assert "finished     plain-20 seeds 0-2  test error 9.75 % (9.25-10.25)" in text
    assert "finished     resnet-56 seed 0\n" in text
    assert re.search(r"diverged     plain-56 seed 4 .*step 7", text)
    assert "missing      plain-20  seeds 3-4\n" in text
    assert "missing      plain-56  seeds 0-3\n" in text
    assert "missing      resnet-20  seeds 0-4\n" in text
    assert "missing      resnet-56  seeds 1-4\n" in text


@pytest.mark.parametrize(
    ("budget", "seed", "missing"),
    [
        ("quick", 0, "missing      plain-56, resnet-20  seed 0"),
        ("quick-cifar100", 0, "missing      plain-56, resnet-20  seed 0"),
        ("120it", 3, "missing      plain-56, resnet-20  seed 3"),
        ("120it-standin-tiny", 3, "missing      plain-56, resnet-20  seed 3"),
        ("paper-standin", 0, "missing      plain-56, resnet-20, resnet-56  seeds 0-4"),
    ],
)
def test_missing_runs_follow_from_the_name_of_the_budget(budget: str, seed: int, missing: str, runs: Path) -> None:
    end_run(make_run(runs, seed=seed, budget=budget))
    text = status(runs)
    assert f"depth {budget}: 1 of" in text
    assert missing in text


def test_runs_queued_in_slurm_wait_even_if_no_run_is_running(runs: Path) -> None:
    make_run(runs, "plain-20", status="waiting", queued=True, age=900.0)
    make_run(runs, "plain-56", status="waiting", queued=True, step=9, age=900.0)
    make_run(runs, "resnet-20", status="waiting", queued=False, age=900.0)
    text = status(runs)
    assert "waiting      plain-20, plain-56  seed 0" in text
    assert "missing      resnet-20  seed 0" in text


def test_runs_outside_the_profile_are_counted(runs: Path) -> None:
    for arm, seed in (("plain-20", 0), ("plain-20", 1), ("plain-20", 5), ("resnet-56", 2)):
        end_run(make_run(runs, arm, seed))
    text = status(runs)
    assert text.splitlines()[0] == "depth quick: 4 of 6 runs finished, 2 missing"
    assert "finished     plain-20 seeds 0-1,5  test error 9.50 % (9.50-9.50)" in text
    assert parse_seeds("0-1,5") == (0, 1, 5)


def test_profiles_precede_other_lengths(runs: Path) -> None:
    for budget in ("paper", "2000it", "quick-cifar100", "90it", "quick"):
        end_run(make_run(runs, budget=budget))
    heads = [text.partition(":")[0] for text in status_lines([], runs) if not text.startswith(" ")]
    assert heads == [
        "depth quick",
        "depth quick-cifar100",
        "depth paper",
        "depth 90it",
        "depth 2000it",
        "width",
    ]


def test_damaged_folders_are_named_and_other_runs_still_shown(runs: Path) -> None:
    half = make_run(runs)
    (half / "record.json").write_text('{"format": 1, ')
    old = end_run(make_run(runs, "plain-56"), format=FORMAT + 1)
    other = end_run(make_run(runs, "resnet-20", 3), seed=2)
    odd = end_run(make_run(runs, "resnet-20", 4), final=["foreign"])
    cut = make_run(runs, "resnet-56", status="running")
    (cut / "progress.json").write_text("{")
    end_run(make_run(runs, "resnet-20"))
    for foreign in ("depth/quick/plain-21/seed0", "depth/quick/plain-20/seedy", "depth/fast/plain-20", "old/a/b/seed0"):
        (runs / foreign).mkdir(parents=True)
    (runs / "wandb" / "offline-run-1" / "files").mkdir(parents=True)
    text = status(runs)
    assert text.splitlines()[0] == "depth quick: 1 of 6 runs finished, 5 damaged"
    for damaged, reason in (
        (half / "record.json", "read"),
        (old / "record.json", rf"format {FORMAT + 1}, not {FORMAT}.*delete {old} "),
        (other, "resnet-20 seed 2"),
        (odd / "record.json", rf"Expected `object`, got `array` - at `\$\.final`.*delete {odd} "),
        (cut / "progress.json", "read.*delete"),
        ("runs/depth/quick/plain-21", "depth has no such arm"),
        ("runs/depth/quick/plain-20/seedy", "seed's folder"),
        ("runs/depth/fast", "depth has no such profile"),
        ("runs/old", "unknown experiment"),
    ):
        assert re.search(reason, line(text, f"damaged: {damaged} "))
    assert "finished     resnet-20 seed 0  test error 9.50 %" in text
    assert "wandb" not in text


def test_experiments_without_runs_get_one_line(runs: Path) -> None:
    depth, width = "depth: no runs yet (start with make depth)", "width: no runs yet (start with make width)"
    assert status_lines([], runs) == [depth, width]
    end_run(make_run(runs))
    assert status_lines(["width"], runs) == [width]
    assert line(status(runs), "width") == width
    assert "width" not in status(runs, "depth")
    with pytest.raises(UserError, match=r"'height'.* depth, width"):
        status_lines(["height"], runs)


def test_status_writes_nothing_and_does_not_import_torch(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('status does not need torch')")
    make_run(runs, status="running", step=100)
    make_run(runs, "plain-56", log="boom\n")
    end_run(make_run(runs, "resnet-20"))

    def listing() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(tmp_path.glob("runs/**/*"))}

    before = listing()
    process = cli_process("status", "--runs-dir", "runs", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.splitlines() == status_lines([], runs)
    assert listing() == before
