"""The Slurm executor with fake Slurm commands: submission, queue, signals, errors."""

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
from typing import Any

import pytest
from made_jobs import CPU, SMALL_LOAD, THIRD_TIME, executor, job

from resnet_repro.errors import UserError
from resnet_repro.files import read_json, write_json
from resnet_repro.launch import ExecutorSpec, Job, LaunchOptions, Load, executor_for, slurm
from resnet_repro.records.failures import NO_SPACE

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
    """Fake sbatch, squeue, scancel and scontrol that log their calls."""

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


def test_dependent_runs_are_submitted_as_a_second_array(
    fake: FakeSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    parent = job(tmp_path / "parent", "", prepare=lambda slot: events.append(f"prepared on {slot.threads} threads"))
    other = job(tmp_path / "other", "", announce=lambda: events.append("waits"), environment={"A": "b"})
    child = job(tmp_path / "child", "", after=[parent.marker])
    outcomes = executor(CPU, tmp_path / "runs").execute([child, parent, other], lambda: None)
    assert outcomes == ["submitted"] * 3
    scripts = [Path(call[-1]) for call in fake.calls("sbatch")]
    assert len(scripts) == 2 and events == ["prepared on 2 threads", "waits"]
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


def test_queued_runs_are_not_submitted_again(fake: FakeSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parent, other = job(tmp_path / "parent", ""), job(tmp_path / "other", "")
    child = job(tmp_path / "child", "", after=[parent.marker])
    executor(CPU, tmp_path / "runs").execute([parent, other], lambda: None)
    fake.answer(sbatch={"says": "COUNT"}, squeue={"says": "101 0"})  # the element of `other` has left the queue
    executor(CPU, tmp_path / "runs").execute([parent, other, child], lambda: None)
    assert "1 run is queued already (job 101) and is not submitted" in caplog.messages[1]
    scripts = [Path(call[-1]) for call in fake.calls("sbatch")][1:]
    names = [[one["name"] for one in json.loads((path.parent / "jobs.json").read_text())["jobs"]] for path in scripts]
    assert names == [["other", "child"]]
    assert "afterany:101" in scripts[0].read_text()


def test_submitted_runs_are_marked_as_queued(fake: FakeSlurm, tmp_path: Path) -> None:
    """`make status` shows them as waiting before the first one runs."""
    waiting, ended = tmp_path / "waiting" / "progress.json", tmp_path / "ended" / "progress.json"
    jobs = [
        job(path.parent, "", announce=lambda path=path, says=says: write_json(path, {"status": says}))
        for path, says in ((waiting, "waiting"), (ended, "finished"))
    ]
    executor(CPU, tmp_path / "runs").execute(jobs, lambda: None)
    assert read_json(waiting) == {"status": "waiting", "queued": True}
    assert read_json(ended) == {"status": "finished"}, "another command has finished the run in the meantime"


def test_submitted_arrays_are_cancelled_if_slurm_rejects_one(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.answer(sbatch={"says": "COUNT", "fails_at": [2]})
    parent = job(tmp_path / "parent", "")
    child = job(tmp_path / "child", "", after=[parent.marker])
    with pytest.raises(UserError, match=r"Slurm .*sbatch: invalid partition specified: nowhere"):
        executor(CPU, tmp_path / "runs").execute([parent, child], lambda: None)
    assert fake.calls("scancel") == [["101"]]


def test_large_studies_are_split_into_several_arrays(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LARGEST_ARRAY", 2)
    jobs = [job(tmp_path / f"run{i}", "") for i in range(5)]
    executor(CPU, tmp_path / "runs").execute(jobs, lambda: None)
    arrays = [Path(call[-1]).read_text() for call in fake.calls("sbatch")]
    assert [f"--array=0-{size - 1}\n" in script for size, script in zip((2, 2, 1), arrays, strict=True)] == [True] * 3
    assert not any("--dependency" in script for script in arrays)


def test_script_contains_the_requested_options(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = LaunchOptions(
        "slurm", partition="gpu", account="lab", time="4:00:00", threads=6, signal_seconds=300,
        sbatch="--mem=32G --constraint=a100", setup="module load cuda", dry_run=True,
    )  # fmt: skip
    slurm_executor = executor(options, tmp_path / "runs")
    assert (slurm_executor.kind, slurm_executor.precision) == ("cuda", "fp32")
    jobs = [job(tmp_path / "a", ""), job(tmp_path / "b", "")]
    assert slurm_executor.execute(jobs, lambda: None) == ["submitted"] * 2
    lines = caplog.messages[-1].splitlines()
    assert lines[0] == "#!/bin/bash"
    for line in (
        "--array=0-1", "--partition=gpu", "--account=lab", "--time=4:00:00", "--cpus-per-task=6", "--gres=gpu:1",
        "--signal=B:USR1@300", "--requeue", "--open-mode=append", "--mem=32G --constraint=a100", "--nodes=1",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines, line
    assert lines[-1].startswith(f"exec {sys.executable} -m resnet_repro.launch.slurm_element ")
    assert lines.index("module load cuda") < lines.index(
        "export PYTHONSAFEPATH=1  # no modules from the working directory"
    )
    assert not (tmp_path / "runs").exists()  # nothing is written


def test_paths_in_the_script_may_have_any_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "the user's 50 % #1"
    executor(LaunchOptions("slurm", dry_run=True), folder).execute([job(tmp_path / "a", "")], lambda: None)
    lines = caplog.messages[-1].splitlines()
    (output,) = (line for line in lines if line.startswith("#SBATCH --output="))
    # sbatch reads words as a shell does, and % as the start of a number.
    (word,) = shlex.split(output.removeprefix("#SBATCH "))
    assert re.fullmatch(rf"--output={re.escape(str(folder)).replace('%', '%%')}/slurm/study-quick-.*/%a\.txt", word)
    assert shlex.split(lines[-1])[-1].startswith(str(folder))


def test_a_folder_with_a_line_break_does_not_become_a_line_of_the_script(tmp_path: Path) -> None:
    slurm_executor = executor(LaunchOptions("slurm", dry_run=True), tmp_path / "runs\n#SBATCH --account=other")
    with pytest.raises(UserError, match=r"RUNS_DIR=.*line break"):
        slurm_executor.execute([job(tmp_path / "a", "")], lambda: None)


def test_runs_on_several_nodes_are_started_with_srun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = LaunchOptions("slurm", gpus=8, nodes=2, threads=4, dry_run=True)
    slurm_executor = executor(options, tmp_path / "runs", spread=True)
    assert slurm_executor.plan(1, SMALL_LOAD) == "as a Slurm array, each element 2 nodes with 8 GPUs, 4 threads"
    slurm_executor.execute([job(tmp_path / "a", "")], lambda: None)
    lines = caplog.messages[-1].splitlines()
    for line in ("--nodes=2", "--ntasks-per-node=8", "--gres=gpu:8", "--signal=USR1@120"):
        assert f"#SBATCH {line}" in lines, line
    assert lines[-1].startswith("srun --input=none --kill-on-bad-exit=0 ")


def test_small_runs_share_the_gpu_of_an_element(
    fake: FakeSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = executor(LaunchOptions("slurm", slots=3), tmp_path / "runs")
    assert first.plan(7, SMALL_LOAD) == "as a Slurm array, each element 3 runs on 1 GPU, 4 threads"
    jobs = [job(tmp_path / f"run{i}", "") for i in range(7)]
    assert first.execute(jobs, lambda: None) == ["submitted"] * 7
    (script,) = (tmp_path / "runs" / "slurm").glob("*/job.sh")
    lines = script.read_text().splitlines()
    for line in ("--array=0-2", "--gres=gpu:1", "--cpus-per-task=4"):
        assert f"#SBATCH {line}" in lines, line
    stored = read_json(script.parent / "jobs.json")
    assert stored is not None
    assert [len(stored["jobs"]), stored["each"]] == [7, 3]
    assert {entry["environment"]["OMP_NUM_THREADS"] for entry in stored["jobs"]} == {"1"}
    fake.answer(squeue={"says": "101 2\n"})  # only the last of the three elements is still queued, with one run
    second = executor(LaunchOptions("slurm", slots=3), tmp_path / "runs")
    second.plan(7, SMALL_LOAD)
    second.execute(jobs, lambda: None)
    assert "1 run is queued already (job 101) and is not submitted" in caplog.messages[1]


def test_resources_of_an_element_depend_on_the_load(tmp_path: Path) -> None:
    def planned(load: Load, runs: int = 25, decodes: bool = False, **options: Any) -> str:
        spec = ExecutorSpec(LaunchOptions("slurm", dry_run=True, **options), "bf16", tmp_path, "x", False, decodes)
        return executor_for(spec).plan(runs, load).removeprefix("as a Slurm array, each element ")

    assert planned(SMALL_LOAD) == "6 runs on 1 GPU, 6 threads"
    assert planned(SMALL_LOAD, runs=2) == "2 runs on 1 GPU, 4 threads"
    assert planned(SMALL_LOAD, threads=6) == "1 GPU, 6 threads"
    assert planned(SMALL_LOAD, threads=2) == "4 runs on 1 GPU, 8 threads"
    assert planned(Load(1e12, 2**34)) == "1 GPU, 4 threads", "large nets do not share a GPU"
    assert planned(Load(1e12, 2**34), decodes=True) == "1 GPU, 8 threads"
    assert planned(SMALL_LOAD, gpus=0) == "1 thread"


def test_missing_slurm_commands_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"EXECUTOR=slurm needs sbatch, .*DRY_RUN=1"):
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
    time.sleep(600)
"""


def element(
    fake: FakeSlurm, *jobs: Job, retries: int = 0, each: int = 1, signal_seconds: float = 120
) -> subprocess.Popen:
    """Start the first element of an array of these runs."""
    stored = {
        "retries": retries,
        "each": each,
        "signal_seconds": signal_seconds,
        "jobs": [{
            "name": run.name, "argv": list(run.argv), "log": str(run.log), "marker": str(run.marker), "environment": {},  # type: ignore[arg-type]
        } for run in jobs],
    }  # fmt: skip
    path = jobs[0].log.parent / "jobs.json"
    path.write_text(json.dumps(stored))
    script = f"trap '' USR1; touch {path}.ready; exec {sys.executable} -m resnet_repro.launch.slurm_element {path}"
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "77"}
    return subprocess.Popen(["bash", "-c", script], env=environment, stdin=subprocess.DEVNULL)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code", "requeued"), [(signal.SIGUSR1, 0, [["requeue", "77"]]), (signal.SIGTERM, 143, [])]
)
def test_run_saves_and_is_requeued_before_the_time_limit(
    number: signal.Signals, code: int, requeued: list[list[str]], fake: FakeSlurm, tmp_path: Path
) -> None:
    run = job(tmp_path / "one", SAVES)
    (tmp_path / "one" / "progress.json").write_text(json.dumps({"status": "stopped", "step": 3}))
    process = element(fake, run)
    wait_for(tmp_path / "one" / "runs")
    process.send_signal(number)
    assert process.wait(300) == code
    assert (tmp_path / "one" / "saved").exists()
    assert fake.calls("scontrol") == requeued
    status = json.loads((tmp_path / "one" / "progress.json").read_text())["status"]
    assert status == ("waiting" if requeued else "stopped")
    assert element(fake, run).wait(300) == 0  # after the requeue
    assert run.marker.exists()


def test_a_run_that_does_not_stop_is_killed_and_requeued(fake: FakeSlurm, tmp_path: Path) -> None:
    """Such as one that scores its finished network, after its last checkpoint."""
    scores = """
        import pathlib, signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: None)
        (pathlib.Path(sys.argv[1]) / "runs").touch()
        time.sleep(600)
    """
    process = element(fake, job(tmp_path / "one", scores), signal_seconds=1)
    wait_for(tmp_path / "one" / "runs")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 0
    assert fake.calls("scontrol") == [["requeue", "77"]]


def test_a_run_whose_log_cannot_be_written_does_not_end_the_others(fake: FakeSlurm, tmp_path: Path) -> None:
    jobs = [job(tmp_path / "one", SAVES), job(tmp_path / "two", THIRD_TIME)]
    jobs[0].log.mkdir()
    assert element(fake, *jobs, retries=2, each=2).wait(60) == 1
    assert jobs[1].marker.exists()


def test_element_is_requeued_if_the_signal_comes_before_its_run_starts(fake: FakeSlurm, tmp_path: Path) -> None:
    process = element(fake, job(tmp_path / "one", SAVES))
    wait_for(tmp_path / "one" / "jobs.json.ready")
    while process.poll() is None:
        process.send_signal(signal.SIGUSR1)  # from the start, before the element has a signal handler
        time.sleep(0.02)
    assert process.returncode == 0
    assert fake.calls("scontrol") == [["requeue", "77"]]


def test_element_retries_and_returns_the_exit_code_of_a_failed_run(fake: FakeSlurm, tmp_path: Path) -> None:
    assert element(fake, job(tmp_path / "one", THIRD_TIME), retries=2).wait(300) == 0
    assert element(fake, job(tmp_path / "two", THIRD_TIME), retries=1).wait(300) == 5
    assert fake.calls("scontrol") == []


def test_element_prints_what_a_full_disk_keeps_from_the_log(
    fake: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert element(fake, job(tmp_path / "one", f"raise SystemExit({NO_SPACE})")).wait(30) == NO_SPACE
    assert re.search(r"one: failed\n.*/one cannot be written \(No space left on device\)", capfd.readouterr().out)


def test_runs_of_an_element_save_and_are_requeued_together(fake: FakeSlurm, tmp_path: Path) -> None:
    """A run that is done before the requeue is not started again. The third run belongs to another element."""
    jobs = [job(tmp_path / "one", SAVES), job(tmp_path / "two", SAVES), job(tmp_path / "three", SAVES)]
    for run in jobs[:2]:
        (run.log.parent / "progress.json").write_text(json.dumps({"status": "stopped", "step": 3}))
    process = element(fake, *jobs, each=2)
    for run in jobs[:2]:
        wait_for(run.log.parent / "runs")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(300) == 0
    assert [(run.log.parent / "saved").exists() for run in jobs] == [True, True, False]
    assert fake.calls("scontrol") == [["requeue", "77"]]
    assert [read_json(run.log.parent / "progress.json")["status"] for run in jobs[:2]] == ["waiting"] * 2  # type: ignore[index]
    jobs[0].marker.touch()
    (tmp_path / "one" / "saved").unlink()
    assert element(fake, *jobs, each=2).wait(300) == 0
    assert [run.marker.exists() for run in jobs] == [True, True, False]
