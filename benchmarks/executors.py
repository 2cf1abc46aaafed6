"""Benchmark of the executors: overhead per run, and how memory and the commands status and report scale.

    make benchmark        runs this last; about 25 minutes on two CPU cores, on a machine with no other load

Time: 200 runs that exit immediately and a few short trainings, started by a bare loop of processes and by each executor, in
interleaved rounds. Memory: of the launching process, with 200 and 2,000 queued runs. Reading: status and report over 200 and
2,000 made-up records. Ray is measured if it is installed, Slurm if sinfo answers. Rewrites benchmarks/EXECUTORS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from resnet_repro.config.execution import Execution
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import dataset
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.hardware import cpu_cores, device_name
from resnet_repro.launch import Executor, ExecutorSpec, Job, LaunchOptions, Outcome, executor_for
from resnet_repro.launch.job import close
from resnet_repro.records.layout import WEIGHTS
from resnet_repro.study.run import Run

HERE = Path(__file__).resolve().parent
PAGE = HERE / "EXECUTORS.md"
READING = "| command on degradation"  # begins the table of `status` and `report`
REFERENCE = HERE.parent / "reports" / "reference"
QUEUES = (200, 2_000)
STEPS = 3  # per training
REAL_RUNS = 8
ENDS = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
WAITS = "import time; time.sleep(600)"
OPTIONS = {
    "local": LaunchOptions("local", "cpu"),
    "ray": LaunchOptions("ray", "cpu", threads=1),
    "slurm": LaunchOptions("slurm", "cpu", threads=1),
}


def available() -> list[str]:
    """The executors that can be measured on this machine."""
    names = ["local"]
    if find_spec("ray") is not None:
        names.append("ray")
    if shutil.which("sinfo") and subprocess.run(["sinfo"], capture_output=True).returncode == 0:
        names.append("slurm")
    return names


def opened(name: str, runs_dir: Path, jobs: int) -> Executor:
    """An executor with slots for a number of jobs."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    executor = executor_for(ExecutorSpec(OPTIONS[name], "fp32", runs_dir, "benchmark"))
    executor.plan(jobs)
    return executor


def jobs_that(code: str, folder: Path, count: int) -> list[Job]:
    """Jobs that execute `code` with the path of their marker as argument."""
    jobs = []
    for index in range(count):
        run = folder / f"run{index}"
        run.mkdir(parents=True)
        argv = [sys.executable, "-S", "-c", code, str(run / "done")]
        jobs.append(Job(run.name, argv, run / "log.txt", run / "done"))
    return jobs


def real_jobs(runs_dir: Path, data: Path, count: int) -> list[Job]:
    """Jobs of a study: plain-8 for `STEPS` steps on the tiny stand-in data."""
    arrays = obtain("standin-tiny", DataSources(data))
    jobs = []
    for seed in range(count):
        settings = RunSettings(
            "degradation", f"{STEPS}it", cifar_arm("plain", 8, HE15_CIFAR), seed, STEPS, STEPS, "standin-tiny",
            arrays.digest, "fp32", "cpu",
        )  # fmt: skip
        execution = Execution(str(arrays.folder.resolve()), 0, 60.0, None)
        jobs.append(Run(settings, runs_dir, execution, dataset("standin-tiny")).job())
    return jobs


# -- time --------------------------------------------------------------------------------------------------------------


def bare(jobs: Sequence[Job], runs_dir: Path) -> float:
    """Seconds for all jobs, started and awaited by one thread per core."""
    executor = opened("local", runs_dir, len(jobs))
    slot = executor.slots[0]  # type: ignore[attr-defined]

    def execute(job: Job) -> None:
        process = job.start(slot)
        assert process.wait() == 0, job.log.read_text()
        close(process)

    begin = time.perf_counter()
    with ThreadPoolExecutor(len(executor.slots)) as pool:  # type: ignore[attr-defined]
        list(pool.map(execute, jobs))
    return time.perf_counter() - begin


def by_executor(name: str, jobs: Sequence[Job], runs_dir: Path) -> float:
    """Seconds for all jobs, without the start of the executor."""
    executor = opened(name, runs_dir, len(jobs))
    try:
        begin = time.perf_counter()
        outcomes = executor.execute(jobs, lambda: None)
        while executor.leaves and not all(job.marker.exists() for job in jobs):
            time.sleep(0.2)
        seconds = time.perf_counter() - begin
    finally:
        executor.close()
    assert executor.leaves or outcomes == ["done"] * len(jobs), [job.log.read_text() for job in jobs][:1]
    return seconds


def times(count: int, rounds: int, make: Callable[[Path, int], list[Job]]) -> dict[str, list[float]]:
    """{"bare" or executor: seconds of wall time per run, by round}."""
    seconds_per_run: dict[str, list[float]] = {}
    for number in range(rounds):
        for name in ("bare", *available()):
            with tempfile.TemporaryDirectory() as folder:
                runs_dir = Path(folder).resolve() / "runs"
                jobs = make(runs_dir, count)
                seconds = bare(jobs, runs_dir) if name == "bare" else by_executor(name, jobs, runs_dir)
            seconds_per_run.setdefault(name, []).append(seconds / count)
            print(
                f"{count} runs, round {number + 1}/{rounds}: {name} {1e3 * seconds / count:.0f} ms per run", flush=True
            )
    return seconds_per_run


# -- memory ------------------------------------------------------------------------------------------------------------


def queue_and_measure(name: str, count: int) -> None:
    """Queue `count` runs that do not end, print the memory of this process in MiB, and stop the runs."""
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = Path(folder).resolve() / "runs"
        executor = opened(name, runs_dir, count)
        empty = _resident()
        jobs = jobs_that(WAITS, runs_dir, count)
        begin = time.monotonic()

        def poll() -> None:
            if time.monotonic() - begin > 5:
                print(json.dumps({"empty": empty, "queued": _resident()}), flush=True)
                os.kill(os.getpid(), signal.SIGINT)

        outcomes: list[Outcome] = executor.execute(jobs, poll)
        executor.close()
        assert set(outcomes) == {"stopped"}, set(outcomes)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


def memory(name: str, count: int) -> tuple[float, float]:
    """(MiB without runs, MiB with `count` queued runs) of a new launching process."""
    out = subprocess.run(
        [sys.executable, __file__, "--queue", name, str(count)], capture_output=True, text=True, check=True
    )
    mebibytes = json.loads(next(line for line in out.stdout.splitlines() if line.startswith("{")))
    return mebibytes["empty"], mebibytes["queued"]


# -- reading -----------------------------------------------------------------------------------------------------------


def make_records(runs_dir: Path, count: int) -> None:
    """Make `count` records of degradation: copies of the reference records of its four nets with new seeds."""
    for arm in ("plain-20", "plain-56", "resnet-20", "resnet-56"):
        source = REFERENCE / "degradation" / "quick" / arm / "seed0"
        record = json.loads((source / "record.json").read_text())
        for seed in range(count // 4):
            folder = runs_dir / "degradation" / "quick" / arm / f"seed{seed}"
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns("record.json", WEIGHTS))
            record["seed"] = record["settings"]["seed"] = seed
            (folder / "record.json").write_text(json.dumps(record))


def reading(count: int) -> dict[str, float]:
    """{command: seconds} over `count` records."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        make_records(Path(folder) / "runs", count)
        for command in ("status", "report"):
            words = [sys.executable, "-m", "resnet_repro.cli", command, "degradation", "--runs-dir", f"{folder}/runs"]
            words += ["--reports-dir", f"{folder}/reports"] if command == "report" else []
            begin = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True)
            seconds[command] = time.perf_counter() - begin
            print(f"{command} over {count:,} records: {seconds[command]:.1f} s", flush=True)
    return seconds


# -- the page ----------------------------------------------------------------------------------------------------------


def _milliseconds(values: Sequence[float]) -> str:
    return f"{1e3 * median(values):.0f} ({1e3 * min(values):.0f} to {1e3 * max(values):.0f})"


def _rows(seconds_per_run: dict[str, list[float]]) -> list[str]:
    lines = []
    for name, values in seconds_per_run.items():
        overhead = [value - base for value, base in zip(values, seconds_per_run["bare"], strict=True)]
        lines.append(f"| {name} | {_milliseconds(values)} | {'' if name == 'bare' else _milliseconds(overhead)} |")
    return lines


def reading_table(read: dict[int, dict[str, float]]) -> list[str]:
    few, many = QUEUES
    return [
        f"{READING}, s ({time.strftime('%Y-%m-%d')}) | {few:,} records | {many:,} records | ratio |",
        "| --- | --- | --- | --- |",
        *(
            f"| {command} | {read[few][command]:.1f} | {read[many][command]:.1f} | "
            f"{read[many][command] / read[few][command]:.1f} |"
            for command in ("status", "report")
        ),
    ]


def renew_reading() -> None:
    """Measure the table of `status` and `report` anew and leave the other tables as they are."""
    before, after = PAGE.read_text(encoding="utf-8").split(READING)
    rest = after.partition("\n\n")[2]
    table = "\n".join(reading_table({count: reading(count) for count in QUEUES}))
    PAGE.write_text(f"{before}{table}\n\n{rest}", encoding="utf-8")
    print(table)


def page(
    fast: dict[str, list[float]],
    real: dict[str, list[float]],
    held: dict[str, list[tuple[float, float]]],
    read: dict[int, dict[str, float]],
    runs: int,
    real_runs: int,
) -> str:
    few, many = QUEUES
    lines = [
        "# Executors",
        "",
        f"Written by `make benchmark` on {time.strftime('%Y-%m-%d')}: {device_name('cpu')}, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}; {cpu_cores()} concurrent runs. Medians (minimum to "
        "maximum).",
        "",
        f"| {runs} runs that exit immediately | wall time per run, ms | overhead over bare, ms |",
        "| --- | --- | --- |",
        *_rows(fast),
        "",
        f"| {real_runs} trainings of plain-8 for {STEPS} steps | wall time per run, ms | overhead over bare, ms |",
        "| --- | --- | --- |",
        *_rows(real),
        "",
        f"| memory of the launching process, MiB | no runs queued | {few:,} runs queued | {many:,} runs queued |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {a[0]:.0f} | {a[1]:.0f} | {b[1]:.0f} |" for name, (a, b) in held.items()),
        "",
        *reading_table(read),
        "",
        "- *Bare*: one thread per core starts processes and waits for them.",
        "- *Runs that exit immediately* only write their marker: the overhead of an executor does not depend on the run. The "
        "start of the executor is not included (a Ray cluster takes some seconds).",
        "- Slurm's launching process submits the runs and exits, so it holds no queue.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--real-runs", type=int, default=REAL_RUNS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queue", nargs=2, metavar=("EXECUTOR", "RUNS"), help=argparse.SUPPRESS)
    parser.add_argument("--reading", action="store_true", help="measure status and report only (two minutes)")
    options = parser.parse_args()
    if options.reading:
        return renew_reading()
    if options.queue:
        return queue_and_measure(options.queue[0], int(options.queue[1]))
    fast = times(options.runs, options.rounds, lambda folder, count: jobs_that(ENDS, folder, count))
    with tempfile.TemporaryDirectory() as data:
        real = times(options.real_runs, options.rounds, lambda folder, count: real_jobs(folder, Path(data), count))
    held = {name: [memory(name, count) for count in QUEUES] for name in available() if name != "slurm"}
    print(held, flush=True)
    read = {count: reading(count) for count in QUEUES}
    text = page(fast, real, held, read, options.runs, options.real_runs)
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
