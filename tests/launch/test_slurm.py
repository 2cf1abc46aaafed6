"""Slurm with made-up commands: what is submitted, queued, signalled and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from made_jobs import CPU, SMALL_LOAD, THIRD_TIME, executor, job

from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.launch import ExecutorSpec, Job, LaunchOptions, Load, executor_for, slurm

FAKE = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
calls = folder / "calls.json"
made = json.loads(calls.read_text()) if calls.exists() else []
made.append([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
calls.write_text(json.dumps(made))
answer = json.loads((folder / "answers.json").read_text()).get(made[-1][0], {{}})
count = sum(call[0] == made[-1][0] for call in made)
if count in answer.get("fails_at", []):
    sys.exit("sbatch: error: invalid partition specified: nowhere")
print(answer.get("says", "").replace("COUNT", str(100 + count)))
"""


class FakeSlurm:
    """sbatch, squeue, scancel and scontrol that write down what they are called with."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "scancel", "scontrol"):
            path = folder / name
            path.write_text(FAKE.format(python=sys.executable, folder=str(folder)))
            path.chmod(0o755)
        self.answer(sbatch={"says": "COUNT"})
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answer(self, **answers: object) -> None:
        (self.folder / "answers.json").write_text(json.dumps(answers))

    def calls(self, name: str) -> list[list[str]]:
        path = self.folder / "calls.json"
        made = json.loads(path.read_text()) if path.exists() else []
        return [call[1:] for call in made if call[0] == name]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin", monkeypatch)


def test_runs_go_out_as_an_array_and_those_that_wait_as_another(
    fake: FakeSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    parent = job(tmp_path / "parent", "", prepare=lambda slot: told.append(f"prepared on {slot.threads} threads"))
    other = job(tmp_path / "other", "", announce=lambda: told.append("waits"), environment={"A": "b"})
    child = job(tmp_path / "child", "", after=[parent.marker])
    outcomes = executor(CPU, tmp_path / "runs").execute([child, parent, other], lambda: None)
    assert outcomes == ["submitted"] * 3
    scripts = [Path(call[-1]) for call in fake.calls("sbatch")]
    assert len(scripts) == 2 and told == ["prepared on 2 threads", "waits"]
    first, second = ((path.parent / "jobs.json").read_text() for path in scripts)
    assert [one["name"] for one in json.loads(first)["jobs"]] == ["parent", "other"]
    assert [one["name"] for one in json.loads(second)["jobs"]] == ["child"]
    element = json.loads(first)["jobs"][1]
    assert element["argv"] == list(other.argv) and element["marker"] == str(other.marker)  # type: ignore[arg-type]
    assert element["environment"]["OMP_NUM_THREADS"] == "2" and element["environment"]["A"] == "b"
    assert (json.loads(first)["retries"], json.loads(first)["number"]) == (1, "101")
    assert "#SBATCH --array=0-1\n" in scripts[0].read_text() and "--dependency" not in scripts[0].read_text()
    assert "#SBATCH --dependency=afterany:101\n" in scripts[1].read_text()
    assert "submitted 3 runs as job 101, 102" in caplog.messages[-1]


def test_what_is_queued_already_is_not_submitted_again_and_is_waited_for(
    fake: FakeSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent, other = job(tmp_path / "parent", ""), job(tmp_path / "other", "")
    child = job(tmp_path / "child", "", after=[parent.marker])
    executor(CPU, tmp_path / "runs").execute([parent, other], lambda: None)
    fake.answer(sbatch={"says": "COUNT"}, squeue={"says": "101 0"})  # the element of `other` has left the queue
    executor(CPU, tmp_path / "runs").execute([parent, other, child], lambda: None)
    assert caplog.messages[1] == "1 runs are queued already (job 101) and are not submitted again"
    scripts = [Path(call[-1]) for call in fake.calls("sbatch")][1:]
    names = [[one["name"] for one in json.loads((path.parent / "jobs.json").read_text())["jobs"]] for path in scripts]
    assert names == [["other", "child"]]
    assert "afterany:101" in scripts[0].read_text()


def test_runs_that_wait_are_said_to_be_queued(fake: FakeSlurm, tmp_path: Path) -> None:
    """So that `make status` tells of them before the first one runs."""
    waiting, ended = tmp_path / "waiting" / "progress.json", tmp_path / "ended" / "progress.json"
    jobs = [
        job(path.parent, "", announce=lambda path=path, says=says: write_json(path, {"status": says}))
        for path, says in ((waiting, "waiting"), (ended, "finished"))
    ]
    executor(CPU, tmp_path / "runs").execute(jobs, lambda: None)
    assert read_json(waiting) == {"status": "waiting", "queued": True}
    assert read_json(ended) == {"status": "finished"}, "another command has meanwhile carried it out"


def test_where_slurm_refuses_nothing_is_left_submitted(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.answer(sbatch={"says": "COUNT", "fails_at": [2]})
    parent = job(tmp_path / "parent", "")
    child = job(tmp_path / "child", "", after=[parent.marker])
    with pytest.raises(UserError, match=r"Slurm refuses the runs .*invalid partition specified: nowhere"):
        executor(CPU, tmp_path / "runs").execute([parent, child], lambda: None)
    assert fake.calls("scancel") == [["101"]]


def test_an_array_is_no_larger_than_slurm_takes(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LARGEST_ARRAY", 2)
    jobs = [job(tmp_path / f"run{i}", "") for i in range(5)]
    executor(CPU, tmp_path / "runs").execute(jobs, lambda: None)
    arrays = [Path(call[-1]).read_text() for call in fake.calls("sbatch")]
    assert [f"--array=0-{size - 1}\n" in script for size, script in zip((2, 2, 1), arrays, strict=True)] == [True] * 3
    assert not any("--dependency" in script for script in arrays)


def test_the_script_says_what_was_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = LaunchOptions(
        "slurm", partition="gpu", account="lab", time="4:00:00", threads=6, signal_seconds=300,
        sbatch="--mem=32G --constraint=a100", setup="module load cuda", dry_run=True,
    )  # fmt: skip
    one = executor(options, tmp_path / "runs")
    assert (one.kind, one.precision) == ("cuda", "fp32")
    assert one.execute([job(tmp_path / "a", ""), job(tmp_path / "b", "")], lambda: None) == ["submitted"] * 2
    lines = caplog.messages[-1].splitlines()
    assert lines[0] == "#!/bin/bash"
    for line in (
        "--array=0-1", "--partition=gpu", "--account=lab", "--time=4:00:00", "--cpus-per-task=6", "--gres=gpu:1",
        "--signal=B:USR1@300", "--requeue", "--open-mode=append", "--mem=32G --constraint=a100", "--nodes=1",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines, line
    assert lines[-1].startswith(f"exec {sys.executable} -m resnet_repro.launch.slurm_element ")
    assert lines.index("module load cuda") < len(lines) - 1
    assert not (tmp_path / "runs").exists()  # nothing is written


def test_runs_of_several_nodes_go_out_with_srun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = LaunchOptions("slurm", gpus=8, nodes=2, threads=4, dry_run=True)
    one = executor(options, tmp_path / "runs", spread=True)
    assert one.plan(1, SMALL_LOAD) == "as elements of an array, each 2 nodes, each 8 GPUs, 4 threads"
    one.execute([job(tmp_path / "a", "")], lambda: None)
    lines = caplog.messages[-1].splitlines()
    for line in ("--nodes=2", "--ntasks-per-node=8", "--gres=gpu:8", "--signal=USR1@120"):
        assert f"#SBATCH {line}" in lines, line
    assert lines[-1].startswith("srun --input=none --kill-on-bad-exit=0 ")


def test_small_runs_share_the_gpu_of_an_element(
    fake: FakeSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = executor(LaunchOptions("slurm", slots=3), tmp_path / "runs")
    assert one.plan(7, SMALL_LOAD) == "as elements of an array, each 3 runs together, 1 GPU, 4 threads"
    jobs = [job(tmp_path / f"run{i}", "") for i in range(7)]
    assert one.execute(jobs, lambda: None) == ["submitted"] * 7
    (script,) = (tmp_path / "runs" / "slurm").glob("*/job.sh")
    lines = script.read_text().splitlines()
    for line in ("--array=0-2", "--gres=gpu:1", "--cpus-per-task=4"):
        assert f"#SBATCH {line}" in lines, line
    stored = read_json(script.parent / "jobs.json")
    assert stored is not None
    assert [len(stored["jobs"]), stored["each"]] == [7, 3]
    assert {entry["environment"]["OMP_NUM_THREADS"] for entry in stored["jobs"]} == {"1"}
    fake.answer(squeue={"says": "101 2\n"})  # of the three elements the last one is left, with one run
    again = executor(LaunchOptions("slurm", slots=3), tmp_path / "runs")
    again.plan(7, SMALL_LOAD)
    again.execute(jobs, lambda: None)
    assert caplog.messages[1] == "1 runs are queued already (job 101) and are not submitted again"


def test_what_slurm_is_asked_for_follows_from_the_runs(tmp_path: Path) -> None:
    def planned(load: Load, runs: int = 25, decodes: bool = False, **options: Any) -> str:
        wanted = ExecutorSpec(LaunchOptions("slurm", dry_run=True, **options), "bf16", tmp_path, "x", False, decodes)
        return executor_for(wanted).plan(runs, load).removeprefix("as elements of an array, each ")

    assert planned(SMALL_LOAD) == "6 runs together, 1 GPU, 6 threads"
    assert planned(SMALL_LOAD, runs=2) == "2 runs together, 1 GPU, 4 threads"
    assert planned(SMALL_LOAD, threads=6) == "1 GPU, 6 threads"
    assert planned(SMALL_LOAD, threads=2) == "4 runs together, 1 GPU, 8 threads"
    assert planned(Load(1e12, 2**34)) == "1 GPU, 4 threads", "large nets have a GPU to themselves"
    assert planned(Load(1e12, 2**34), decodes=True) == "1 GPU, 8 threads"
    assert planned(SMALL_LOAD, gpus=0) == "1 thread"


def test_without_slurms_commands_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="EXECUTOR=slurm needs sbatch, which is not to be found"):
        executor(LaunchOptions("slurm"), tmp_path)


SAVES = """
    import pathlib, signal, sys, time
    folder = pathlib.Path(sys.argv[1])

    def save(*_):
        (folder / "saved").touch()
        sys.exit(143)

    if (folder / "saved").exists():
        (folder / "done").touch()
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    (folder / "runs").touch()
    time.sleep(60)
"""


def element(fake: FakeSlurm, *jobs: Job, retries: int = 0, each: int = 1) -> subprocess.Popen:
    """The first element of an array of these runs."""
    stored = {
        "retries": retries,
        "each": each,
        "jobs": [{
            "name": one.name, "argv": list(one.argv), "log": str(one.log), "marker": str(one.marker), "environment": {},  # type: ignore[arg-type]
        } for one in jobs],
    }  # fmt: skip
    path = jobs[0].log.parent / "jobs.json"
    path.write_text(json.dumps(stored))
    script = f"trap '' USR1; touch {path}.ready; exec {sys.executable} -m resnet_repro.launch.slurm_element {path}"
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "77"}
    return subprocess.Popen(["bash", "-c", script], env=environment, stdin=subprocess.DEVNULL)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code", "requeued"), [(signal.SIGUSR1, 0, [["requeue", "77"]]), (signal.SIGTERM, 143, [])]
)
def test_ahead_of_its_limit_a_run_saves_and_is_queued_again(
    number: signal.Signals, code: int, requeued: list[list[str]], fake: FakeSlurm, tmp_path: Path
) -> None:
    one = job(tmp_path / "one", SAVES)
    (tmp_path / "one" / "progress.json").write_text(json.dumps({"status": "stopped", "step": 3}))
    process = element(fake, one)
    wait_for(tmp_path / "one" / "runs")
    process.send_signal(number)
    assert process.wait(30) == code
    assert (tmp_path / "one" / "saved").exists()
    assert fake.calls("scontrol") == requeued
    status = json.loads((tmp_path / "one" / "progress.json").read_text())["status"]
    assert status == ("waiting" if requeued else "stopped")
    assert element(fake, one).wait(30) == 0  # its next turn
    assert one.marker.exists()


def test_a_signal_before_the_run_has_begun_queues_it_again(fake: FakeSlurm, tmp_path: Path) -> None:
    process = element(fake, job(tmp_path / "one", SAVES))
    wait_for(tmp_path / "one" / "jobs.json.ready")
    while process.poll() is None:
        process.send_signal(signal.SIGUSR1)  # from the very start, when nothing listens yet
        time.sleep(0.02)
    assert process.returncode == 0
    assert fake.calls("scontrol") == [["requeue", "77"]]


def test_an_element_tries_again_and_tells_of_failure(fake: FakeSlurm, tmp_path: Path) -> None:
    assert element(fake, job(tmp_path / "one", THIRD_TIME), retries=2).wait(30) == 0
    assert element(fake, job(tmp_path / "two", THIRD_TIME), retries=1).wait(30) == 5
    assert fake.calls("scontrol") == []


def test_runs_that_share_an_element_save_and_are_queued_again_together(fake: FakeSlurm, tmp_path: Path) -> None:
    """One has its record by the second turn and is not started again; the third of the array is another element's."""
    jobs = [job(tmp_path / "one", SAVES), job(tmp_path / "two", SAVES), job(tmp_path / "three", SAVES)]
    for one in jobs[:2]:
        (one.log.parent / "progress.json").write_text(json.dumps({"status": "stopped", "step": 3}))
    process = element(fake, *jobs, each=2)
    for one in jobs[:2]:
        wait_for(one.log.parent / "runs")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 0
    assert [(one.log.parent / "saved").exists() for one in jobs] == [True, True, False]
    assert fake.calls("scontrol") == [["requeue", "77"]]
    assert [read_json(one.log.parent / "progress.json")["status"] for one in jobs[:2]] == ["waiting"] * 2  # type: ignore[index]
    jobs[0].marker.touch()
    (tmp_path / "one" / "saved").unlink()
    assert element(fake, *jobs, each=2).wait(30) == 0
    assert [one.marker.exists() for one in jobs] == [True, True, False]
