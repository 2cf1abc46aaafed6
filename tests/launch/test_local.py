"""The pool of processes on this machine: order, outcomes, signals."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_jobs import job

from resnet_repro.errors import UserError
from resnet_repro.launch import Slot
from resnet_repro.launch.local import run_pool
from resnet_repro.launch.slots import plan_slots
from resnet_repro.records.failures import failure_reason

# A job that ends when WANTED jobs have begun. Jobs that wait for each other show which jobs run concurrently, independent
# of the machine's speed. A job that waits for more than 300 s fails.
WORK = """
    import os, pathlib, sys, time
    folder = pathlib.Path(sys.argv[1])
    begin = time.monotonic()
    (folder / "begun").touch()
    begun = len(list(folder.parent.glob("*/begun")))
    if folder.name == "bad":
        print("out of luck")
        sys.exit(3)
    while len(list(folder.parent.glob("*/begun"))) < WANTED:
        time.sleep(0.01)
        if time.monotonic() > begin + 300:
            sys.exit("no other job has begun")
    (folder / "done").write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {begin} {time.monotonic()}")
"""

AT_ONCE, BY_PAIRS, BY_TWO = (WORK.replace("WANTED", count) for count in ("0", "min(5, begun + begun % 2)", "2"))

CPU_SLOT = Slot("cpu", "cpu", 1, {"CUDA_VISIBLE_DEVICES": ""})


def test_pool_fills_its_slots_with_one_run_per_gpu(tmp_path: Path) -> None:
    jobs = [job(tmp_path / f"run{i}", BY_PAIRS) for i in range(5)]
    slots = plan_slots(["cuda:0", "cuda:1"], None, runs=5, cores=2)
    seen = []
    assert run_pool(jobs, slots, lambda: seen.append(1)) == ["done"] * 5
    spans: dict[str, list[tuple[float, float]]] = {}
    for one in jobs:
        device, begin, end = one.marker.read_text().split()
        spans.setdefault(device, []).append((float(begin), float(end)))
    assert set(spans) == {"0", "1"}
    assert {len(runs) for runs in spans.values()} == {2, 3}
    for runs in spans.values():
        runs.sort()
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(runs))
    all_spans = sorted(span for runs in spans.values() for span in runs)
    assert all_spans[1][0] < all_spans[0][1], "two runs are concurrent"
    assert len(seen) > 3


def test_failed_run_does_not_stop_other_runs(tmp_path: Path) -> None:
    jobs = [job(tmp_path / name, AT_ONCE) for name in ("a", "bad", "b")]
    assert run_pool(jobs, [CPU_SLOT], lambda: None) == ["done", "failed", "done"]
    assert jobs[1].log.read_text() == "out of luck\n"


def test_job_waits_for_its_parent_while_other_jobs_overtake_it(tmp_path: Path) -> None:
    child, parent, other = tmp_path / "child", tmp_path / "parent", tmp_path / "other"
    jobs = [job(child, BY_TWO, after=[parent / "done"]), job(parent, BY_TWO), job(other, BY_TWO)]
    assert run_pool(jobs, [CPU_SLOT] * 2, lambda: None) == ["done"] * 3
    spans = {one.name: [float(part) for part in one.marker.read_text().split()] for one in jobs}
    assert spans["parent"][1] <= spans["child"][0]
    assert spans["other"][0] < spans["parent"][1]


def test_job_with_a_finished_parent_starts_at_once(tmp_path: Path) -> None:
    child, parent = tmp_path / "child", tmp_path / "parent"
    parent.mkdir()
    (parent / "done").touch()
    assert run_pool([job(child, AT_ONCE, after=[parent / "done"])], [CPU_SLOT], lambda: None) == ["done"]


def test_only_descendants_of_a_failed_job_are_blocked(tmp_path: Path) -> None:
    bad, child, grandchild, other = (tmp_path / name for name in ("bad", "child", "grandchild", "other"))
    jobs = [
        job(grandchild, AT_ONCE, after=[child / "done"]),
        job(child, AT_ONCE, after=[bad / "done"]),
        job(bad, AT_ONCE),
        job(other, AT_ONCE),
    ]
    assert run_pool(jobs, [CPU_SLOT], lambda: None) == ["blocked", "blocked", "failed", "done"]
    assert not (child / "log.txt").exists()


def test_log_of_a_killed_run_names_the_signal(tmp_path: Path) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    killed = job(tmp_path / "a", script)
    assert run_pool([killed], [CPU_SLOT], lambda: None) == ["failed"]
    assert killed.log.read_text() == "ended by SIGKILL\n"


def test_run_with_exit_code_0_but_no_marker_has_failed(tmp_path: Path) -> None:
    assert run_pool([job(tmp_path / "a", "pass")], [CPU_SLOT], lambda: None) == ["failed"]


SLEEPER = """
    import pathlib, signal, sys, time
    folder = pathlib.Path(sys.argv[1])
    def save(*_):
        (folder / "saved").touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, save)
    (folder / "pid").write_text(str(__import__("os").getpid()))
    time.sleep(600)
"""


LAUNCHER = """
    import pathlib, sys
    sys.path[:0] = {folders!r}
    from test_local import CPU_SLOT, SLEEPER, job
    from resnet_repro.launch.local import run_pool
    folder = pathlib.Path(sys.argv[1])
    jobs = [job(folder / name, SLEEPER) for name in ("a", "b", "c")]
    print(run_pool(jobs, [CPU_SLOT] * 2, lambda: None), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_signal_running_jobs_save_and_no_job_starts(number: signal.Signals, tmp_path: Path) -> None:
    script = textwrap.dedent(LAUNCHER).format(folders=[str(folder) for folder in Path(__file__).parents[:2]])
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("*/pid"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=300)
    assert out.strip() == "['stopped', 'stopped', 'stopped']"
    assert sorted(path.parent.name for path in tmp_path.glob("*/saved")) == ["a", "b"]
    for path in tmp_path.glob("*/pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


RECORDED = """
    import os, pathlib, sys
    (pathlib.Path(sys.argv[1]) / "done").touch()
    os.kill(os.getpid(), {number})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_run_that_a_signal_ends_after_its_record_is_done(number: signal.Signals, tmp_path: Path) -> None:
    one = job(tmp_path / "a", RECORDED.format(number=int(number)))
    assert run_pool([one], [CPU_SLOT], lambda: None) == ["done"]
    for interrupted in (False, True):
        assert one.outcome(143, interrupted) == "done"
    assert one.outcome(1) == "failed"
    one.marker.unlink()
    assert one.outcome(-number, interrupted=True) == one.outcome(143) == "stopped"


def test_run_that_saved_and_exited_is_stopped_and_not_retried(tmp_path: Path) -> None:
    one = job(tmp_path / "a", "import sys; sys.exit(143)")
    assert run_pool([one], [CPU_SLOT], lambda: None, retries=2) == ["stopped"]
    assert "trying again" not in one.log.read_text()


def test_run_that_cannot_start_does_not_stop_other_runs(tmp_path: Path) -> None:
    def full(slot: Slot) -> None:
        raise OSError(28, "No space left on device")

    def without_data(slot: Slot) -> None:
        raise UserError("data not found: fetch them")

    first, second, other = (job(tmp_path / name, AT_ONCE) for name in ("first", "second", "other"))
    jobs = [replace(first, prepare=full), replace(second, prepare=without_data), other]
    assert run_pool(jobs, [CPU_SLOT], lambda: None) == ["failed", "failed", "done"]
    assert failure_reason(tmp_path / "first").endswith("cannot be started: [Errno 28] No space left on device")
    assert failure_reason(tmp_path / "second").endswith("cannot be started: data not found: fetch them")


def test_runs_save_if_the_launcher_raises_an_error(tmp_path: Path) -> None:
    def break_down() -> None:
        if (tmp_path / "a" / "pid").exists():
            raise RuntimeError("terminal lost")

    with pytest.raises(RuntimeError, match="terminal lost"):
        run_pool([job(tmp_path / "a", SLEEPER)], [CPU_SLOT], break_down)
    assert (tmp_path / "a" / "saved").exists()
