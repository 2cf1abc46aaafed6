"""Status from made-up folders: every state of a run, what is missing, damage of every kind, and nothing written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import cli_process
from made_records import record_in

from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
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
    """An empty folder for the runs of two experiments, depth and width."""
    (tmp_path / "experiments").mkdir()
    for name in ("depth", "width"):
        (tmp_path / "experiments" / f"{name}.py").write_text(EXPERIMENT.format(name=name))
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
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
    """A run's folder as launcher and process leave it; age in seconds; no progress for status None."""
    folder = run_folder(runs, "depth", budget, arm, seed)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "log.txt").write_text(log)
    if checkpoint:
        (folder / "checkpoint.ckpt").touch()
    if status:
        (folder / "lock").touch()
        said = {"status": status, "step": step, "steps": 391, "seconds": 10.0, "pid": 1, "time": time.time() - age}
        (folder / "progress.json").write_text(json.dumps({**said, **progress}))
    if age:
        for file in folder.iterdir():
            written = time.time() - age - (file.name == "run.json")  # the first of them
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
time.sleep(60)
"""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A process that holds a run's lock, killed at the end."""
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
    """The one line that holds `part`."""
    found = [line for line in text.splitlines() if part in line]
    assert len(found) == 1, text
    return found[0]


def test_a_live_run_has_time_left_and_a_killed_one_is_interrupted(runs: Path) -> None:
    folder = make_run(runs, status="running", step=100, checkpoint=True)
    with held(folder):
        text = status(runs)
        assert line(text, "plain-20").split("  ")[1] == "running"
        assert "step 100 of 391 (26 %), left 0:29" in line(text, "plain-20")
        assert text.splitlines()[0] == "depth quick: 0 of 3 runs finished, 1 running, 2 missing"
    text = status(runs)
    assert "interrupted" in line(text, "plain-20")
    assert "at step 100 of 391 (26 %) (kept up to the last checkpoint): the same command goes on" in text
    assert text.splitlines()[0] == "depth quick: 0 of 3 runs finished, 1 interrupted, 2 missing"


def test_the_lock_is_neither_made_nor_cut_nor_kept(runs: Path) -> None:
    folder = make_run(runs, status="running", step=1)
    (folder / "lock").write_text("kept")
    assert "interrupted" in status(runs)
    with held(folder):  # would wait for a lock that status keeps
        pass
    (folder / "lock").unlink()
    assert "interrupted" in status(runs)
    assert not (folder / "lock").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"status": "starting"}, "interrupted  plain-20 seed 0  at step 0 of 391 (0 %) (no checkpoint yet): the same"),
        ({"status": "evaluating", "step": 131}, "interrupted  plain-20 seed 0  at step 131 of 391"),
        ({"status": "stopped", "step": 50, "checkpoint": True}, "at step 50 of 391 (13 %) (kept up to the last check"),
        ({"status": "failed", "step": 5, "log": "Traceback\nOSError: no space\n"}, "5 of 391 (1 %): OSError: no space"),
        ({"status": "failed", "log": "\n"}, "it printed nothing (see runs/depth/quick/plain-20/seed0/log.txt)"),
        ({"log": "data are gone\n"}, "failed       plain-20 seed 0  before its first step: data are gone (see runs/"),
        ({}, "running      plain-20 seed 0  starting"),
        ({"age": 3_600.0}, "interrupted  plain-20 seed 0  before its first step: the same command starts it again"),
        ({"status": "waiting", "age": 9.0}, "missing      plain-20, plain-56, resnet-20  seed 0"),
        ({"status": "waiting", "step": 9, "age": 9.0}, "interrupted  plain-20 seed 0  at step 9 of 391 (2 %): the"),
        (
            {"status": "finished"},
            "damaged: runs/depth/quick/plain-20/seed0 (its progress says finished, and there is no",
        ),
        ({"status": "asleep"}, "damaged: runs/depth/quick/plain-20/seed0/progress.json (it is no progress of this"),
        ({"status": "running", "step": "x"}, "seed0/progress.json (it is no progress of this version: delete"),
        ({"status": "running", "host": "elsewhere", "step": 39}, "39 of 391 (10 %), left 1:30, on elsewhere"),
        ({"status": "running", "host": "elsewhere", "age": 720.0}, "silent for 12 min on elsewhere"),
        ({"status": "running", "host": "elsewhere", "age": 7_300.0}, "silent for 2 h on elsewhere"),
        ({"status": "running", "host": platform.node()}, "interrupted  plain-20 seed 0"),
    ],
)
def test_every_state_without_a_process_on_this_machine(state: dict[str, Any], words: str, runs: Path) -> None:
    make_run(runs, **state)
    assert words in status(runs)


def test_a_run_that_starts_again_shows_nothing_of_its_last_attempt(runs: Path) -> None:
    folder = make_run(runs, status="failed", step=5, log="OSError\n")
    with held(folder):
        assert "running      plain-20 seed 0  starting" in status(runs)


def test_a_live_run_that_says_nothing_is_said_to_be_silent(runs: Path) -> None:
    with held(make_run(runs, status="running", step=100, age=1_000.0)):
        assert "running      plain-20 seed 0  step 100 of 391 (26 %), left 0:29, silent for 17 min" in status(runs)


def test_runs_wait_as_long_as_another_one_runs(runs: Path) -> None:
    make_run(runs, "plain-56", status="waiting", age=9.0)
    make_run(runs, "resnet-20", status="waiting", age=9.0)
    with held(make_run(runs, status="running", step=1)):
        assert "waiting      plain-56, resnet-20  seed 0" in status(runs)
    assert "missing      plain-56, resnet-20  seed 0" in status(runs)


def test_finished_and_diverged_runs_are_told_from_their_records(runs: Path) -> None:
    for seed, error in enumerate((9.25, 9.75, 10.25)):
        end_run(make_run(runs, seed=seed, budget="paper"), final={"test_error": error})
    end_run(make_run(runs, "plain-56", 4, "paper", status="running", step=7), status="diverged")
    end_run(make_run(runs, "resnet-56", 0, "paper"), final={})  # a stretch, timed and not scored
    text = status(runs)
    assert text.splitlines()[0] == "depth paper: 4 of 20 runs finished, 1 diverged, 15 missing"
    assert "finished     plain-20 seeds 0-2  test error 9.75 % (9.25-10.25)" in text
    assert "finished     resnet-56 seed 0\n" in text
    assert "diverged     plain-56 seed 4  at step 7" in text
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
def test_what_is_missing_follows_from_the_folders_name(budget: str, seed: int, missing: str, runs: Path) -> None:
    end_run(make_run(runs, seed=seed, budget=budget))
    text = status(runs)
    assert f"depth {budget}: 1 of" in text
    assert missing in text


def test_a_run_that_slurm_was_given_waits_though_none_runs(runs: Path) -> None:
    make_run(runs, "plain-20", status="waiting", queued=True, age=900.0)
    make_run(runs, "plain-56", status="waiting", queued=True, step=9, age=900.0)
    make_run(runs, "resnet-20", status="waiting", queued=False, age=900.0)
    text = status(runs)
    assert "waiting      plain-20, plain-56  seed 0" in text
    assert "missing      resnet-20  seed 0" in text


def test_runs_beyond_the_profile_count_too(runs: Path) -> None:
    for arm, seed in (("plain-20", 0), ("plain-20", 1), ("plain-20", 5), ("resnet-56", 2)):
        end_run(make_run(runs, arm, seed))
    text = status(runs)
    assert text.splitlines()[0] == "depth quick: 4 of 6 runs finished, 2 missing"
    assert "finished     plain-20 seeds 0-1,5  test error 9.50 % (9.50-9.50)" in text
    assert parse_seeds("0-1,5") == (0, 1, 5)


def test_profiles_come_in_their_order_then_other_lengths(runs: Path) -> None:
    for budget in ("paper", "2000it", "quick-cifar100", "90it", "quick"):
        end_run(make_run(runs, budget=budget))
    heads = [text.partition(":")[0] for text in status_lines([], runs) if not text.startswith(" ")]
    assert heads == [
        "depth quick",
        "depth quick-cifar100",
        "depth paper",
        "depth 90it",
        "depth 2000it",
        "width never run",
    ]


def test_damage_is_named_and_the_rest_still_told(runs: Path) -> None:
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
    for finding in (
        f"{half}/record.json cannot be read (",
        f"{old}/record.json is no record of this version (format {FORMAT + 1}, not {FORMAT}): delete {old} to",
        f"{other} (its record is that of resnet-20 seed 2)",
        f"{odd}/record.json is no record of this version (Expected `object`, got `array` - at `$.final`): delete {odd} to",
        f"{cut}/progress.json (it cannot be read: delete this file alone)",
        "runs/depth/quick/plain-21 (depth has no such arm)",
        "runs/depth/quick/plain-20/seedy (no folder of a seed)",
        "runs/depth/fast (depth has no such profile)",
        "runs/old (no experiment of that name)",
    ):
        assert f"damaged: {finding}" in text
    assert "finished     resnet-20 seed 0  test error 9.50 %" in text
    assert "wandb" not in text


def test_experiments_that_never_ran_get_one_line(runs: Path) -> None:
    assert status_lines([], runs) == ["depth never run: make depth", "width never run: make width"]
    end_run(make_run(runs))
    assert status_lines(["width"], runs) == ["width never run: make width"]
    assert line(status(runs), "width") == "width never run: make width"
    assert "width" not in status(runs, "depth")
    with pytest.raises(UserError, match="unknown experiment 'height': take one of depth, width"):
        status_lines(["height"], runs)


def test_the_command_writes_nothing_and_imports_no_torch(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('status has no need of torch')")
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
