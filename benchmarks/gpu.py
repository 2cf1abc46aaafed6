"""Benchmark of training speed on a GPU: `make benchmark-gpu`, about five minutes.

    python benchmarks/gpu.py [--dataset standin] [--data-dir data] [--seconds 300]

1. Bare loops: the step, eager and as one CUDA graph, with cuDNN's algorithms chosen by timing (as for a run that does not
   share its GPU) and by cuDNN's rules (as for runs that share a GPU). Each loop has its own process, because cuDNN caches its
   choice.
2. Runs as a study starts them: 8 at once, then 4, 2 and 1 (the others are stopped), with and without MPS.
3. Bare loops with Inductor's kernels, including the time to compile.

Prints one table and writes it to GPU.md in $OUT, or else in benchmarks/. Needs neither a network nor an installed package:
PYTHONPATH=src python3 benchmarks/gpu.py.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from resnet_repro.config.arm import Arm
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.arrays import Arrays
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.files import read_json, write_json
from resnet_repro.hardware import cpu_cores, gpu_trouble, resolve_precision
from resnet_repro.launch.sharing import CONTROL, Mps, offers_mps
from resnet_repro.launch.slots import thread_environment
from resnet_repro.models import build
from resnet_repro.tables import read_rows
from resnet_repro.training.captured import EAGER_STEPS, cuda_graph

NETS = ("resnet-20", "resnet-56")
BATCH = HE15_CIFAR.batch_size
AT_ONCE = (8, 4, 2, 1)
WINDOW = 6.0  # seconds of training per measurement
FEWEST = 4  # readings of each run per measurement
LONGEST_START, LONGEST_WINDOW, LONGEST_BARE = 120.0, 30.0, 180.0
GRAPH = "step as one CUDA graph, ms"
Rows = Iterator[tuple[str, float]]


def arm(name: str) -> Arm:
    kind, depth = name.split("-")
    return cifar_arm(kind, int(depth), HE15_CIFAR)


# -- bare loops ---------------------------------------------------------------------------------------------------------

WAYS = {"timed": "cuDNN by timing", "rules": "cuDNN by rules", "inductor": "Inductor's kernels"}


def bare(name: str, way: str, arrays: Arrays) -> Rows:
    """(measurement, value) of training steps on a prepared batch, and of a batch from the data stream."""
    device, recipe = torch.device("cuda"), HE15_CIFAR
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = way != "rules"
    bf16 = resolve_precision("auto", "cuda") == "bf16"
    stream = iter(InMemoryData(arrays, StreamConfig(recipe, 0, 1_000_000, device)).train_dataloader())
    images, labels, _ = next(stream)
    net = build(arm(name).model, 10, seed=0).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rate = torch.tensor(recipe.learning_rate, device=device)
    update = torch.optim.SGD(
        net.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    forward = torch.compile(net, dynamic=False) if way == "inductor" else net

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss = F.cross_entropy(forward(images), labels)
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()

    begin = time.perf_counter()
    for _ in range(EAGER_STEPS):
        step()
    torch.cuda.synchronize()
    yield f"first {EAGER_STEPS} steps, s", time.perf_counter() - begin
    yield "eager step, ms", milliseconds(step)
    begin = time.perf_counter()
    replay = cuda_graph(step)
    yield "capture, s", time.perf_counter() - begin
    yield GRAPH, milliseconds(replay)
    if way == "timed":
        yield "batch from the data stream, ms", milliseconds(lambda: next(stream))


def in_a_process(name: str, way: str, options: argparse.Namespace) -> Rows:
    """The rows of `bare`, measured in a new process. Raises RuntimeError if the process fails."""
    command = [
        sys.executable,
        __file__,
        "--bare",
        name,
        way,
        "--dataset",
        options.dataset,
        "--data-dir",
        options.data_dir,
    ]
    with tempfile.TemporaryDirectory() as cache:  # an empty cache, so that compilation is measured
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_BARE, env=environment)
    for line in ended.stdout.splitlines():
        what, tab, value = line.partition("\t")
        if tab:
            yield what, float(value)
    if ended.returncode:
        raise RuntimeError(ended.stderr.strip()[-3_000:])


def milliseconds(step: Callable[[], object], seconds: float = 1.0) -> float:
    """Mean time of a step, repeated for a number of seconds."""
    torch.cuda.synchronize()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(10):
            step()
        count += 10
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin) / count


# -- real runs ----------------------------------------------------------------------------------------------------------


def start(folder: Path, name: str, seed: int, arrays: Arrays, environment: dict[str, str]) -> subprocess.Popen:
    """Start a run in `folder`."""
    folder.mkdir(parents=True)
    settings = RunSettings(
        "benchmark", "paper", arm(name), seed, 64_000, 64_000, arrays.facts.name, arrays.digest,
        resolve_precision("auto", "cuda"), "cuda",
    )  # fmt: skip
    execution = {
        "data_folder": str(arrays.folder.resolve()),
        "threads": 1,
        "checkpoint_seconds": 600.0,
        "commit": None,
        "memory_share": 1 / AT_ONCE[0],
    }
    write_json(folder / "run.json", {"settings": settings.to_json(), "execution": execution, "id": "benchmark"})
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "resnet_repro.training.train_run", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=os.environ | environment | thread_environment(1),
        )


def end(processes: list[subprocess.Popen]) -> None:
    """Ask the processes to save and stop. They are not killed at once, because that may end other MPS clients."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + 20
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def servers(environment: dict[str, str]) -> int:
    """Number of MPS servers. 0: the runs do not use MPS."""
    answer = subprocess.run(
        [CONTROL], input="get_server_list\n", env=os.environ | environment, capture_output=True, text=True, timeout=20
    )
    return sum(line.strip().isdigit() for line in answer.stdout.splitlines())


def readings(folder: Path) -> list[tuple[int, float]]:
    """(step, seconds since the run's start) of each reading. Runs write readings about once a second."""
    return [(int(row["iteration"]), float(row["seconds"])) for row in read_rows(folder / "speed.csv")]


def real(name: str, arrays: Arrays, through_mps: bool) -> Rows:
    """(measurement, value): seconds until all runs train, and total images per second for each count in `AT_ONCE`."""
    with contextlib.closing(Mps(through_mps)) as service, tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(seed) for seed in range(AT_ONCE[0])]
        begin = time.monotonic()
        processes = [start(folder, name, seed, arrays, service.environment) for seed, folder in enumerate(folders)]
        try:
            while any(len(readings(folder)) < 3 for folder in folders):
                if any(process.poll() is not None for process in processes) or time.monotonic() - begin > LONGEST_START:
                    raise RuntimeError((folders[0] / "log.txt").read_text()[-3_000:] or "no run has trained")
                time.sleep(0.5)
            yield f"{len(folders)} runs: time until all train, s", time.monotonic() - begin
            for remark in (read_json(folders[0] / "progress.json") or {}).get("remarks", ()):
                print(remark, flush=True)
            if through_mps:
                yield "MPS servers during training", float(servers(service.environment))
            for count in AT_ONCE:
                end(processes[count:])
                before = [len(readings(folder)) for folder in folders[:count]]
                since = time.monotonic()
                new: list[list[tuple[int, float]]] = [[]]
                while time.monotonic() - since < WINDOW or min(map(len, new)) < FEWEST:
                    if time.monotonic() - since > LONGEST_WINDOW:
                        raise RuntimeError(
                            f"{count} concurrent runs wrote fewer than {FEWEST} readings in {LONGEST_WINDOW:.0f} s"
                        )
                    time.sleep(0.5)
                    new = [readings(folder)[seen:] for folder, seen in zip(folders[:count], before, strict=True)]
                speeds = [BATCH * (rows[-1][0] - rows[0][0]) / (rows[-1][1] - rows[0][1]) for rows in new]
                yield f"{count} runs at once, images/s", sum(speeds)
        finally:
            end(processes)


# -- the table ----------------------------------------------------------------------------------------------------------


def driver() -> str:
    """Driver version, compute mode and MIG mode from nvidia-smi; "unknown" without it."""
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_mode,mig.mode.current", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip().replace("\n", "; ") or "unknown"


def derived(values: dict[str, float]) -> list[str]:
    """Ratios for each net: one run relative to the bare CUDA graph with the same kernels, and the gain by sharing."""
    lines = []
    for name in NETS:
        graph = values.get(f"{name}, bare, {WAYS['rules']}: {GRAPH}")
        for sharing in ("runs through MPS", "runs without MPS"):
            speeds = {n: values.get(f"{name}, {sharing}: {n} runs at once, images/s") for n in AT_ONCE}
            one = speeds[1]
            if one is None:
                continue
            best, most = max((speed, n) for n, speed in speeds.items() if speed is not None)
            if graph is not None:
                ratio = one * graph / BATCH / 1000
                lines.append(f"- {name}, {sharing}: one run reaches {ratio:.2f} of the speed of the bare CUDA graph")
            lines.append(f"- {name}, {sharing}: {most} runs at once reach {best / one:.2f} times the speed of one run")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="standin")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="time after which no further measurement starts (default: 300)"
    )
    parser.add_argument("--bare", nargs=2, metavar=("NET", "WAY"), help="internal: print the rows of one bare loop")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(f"skipped: {gpu_trouble() or 'no NVIDIA GPU found on this machine'}")
        return
    arrays = obtain(options.dataset, DataSources(Path(options.data_dir)))
    if options.bare:
        name, way = options.bare
        for what, value in bare(name, way, arrays):
            print(f"{what}\t{value}", flush=True)
        return
    write_table(options, arrays)


def write_table(options: argparse.Namespace, arrays: Arrays) -> None:
    """Make all measurements. GPU.md is rewritten after each one."""
    began = time.monotonic()
    has_mps = offers_mps()

    def loops(*ways: str) -> list[tuple[str, Callable[[], Rows]]]:
        return [
            (f"{name}, bare, {WAYS[way]}", lambda n=name, w=way: in_a_process(n, w, options))
            for way in ways
            for name in NETS
        ]

    plan = loops("timed", "rules")
    for through_mps in (True, False) if has_mps else (False,):
        sharing = "runs through MPS" if through_mps else "runs without MPS"
        for name in reversed(NETS):
            plan.append((f"{name}, {sharing}", lambda n=name, m=through_mps: real(n, arrays, m)))
    plan += loops("inductor")
    precision = resolve_precision("auto", "cuda")
    head = [
        "# Training speed on a GPU",
        "",
        f"Written by `make benchmark-gpu` on {time.strftime('%Y-%m-%d')}: {torch.cuda.get_device_name(0)}, driver, compute "
        f"mode and MIG {driver()}, {cpu_cores()} cores, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{precision}, MPS {'available' if has_mps else 'not available'}, data {arrays.facts.title}. Speeds of runs are the "
        "sum over concurrent runs.",
        "",
        "| subject | measurement | value |",
        "| --- | --- | --- |",
    ]
    rows: list[str] = []
    values: dict[str, float] = {}
    file = Path(os.environ.get("OUT") or Path(__file__).resolve().parent) / "GPU.md"

    def add(row: str) -> None:
        rows.append(row)
        print(row, flush=True)
        file.write_text("\n".join([*head, *rows, "", *derived(values), ""]))

    for title, measure in plan:
        if time.monotonic() - began > options.seconds:
            add(f"| {title} | not measured: out of time | |")
            continue
        try:
            for what, value in measure():
                values[f"{title}: {what}"] = value
                add(f"| {title} | {what} | {value:,.0f} |" if value >= 100 else f"| {title} | {what} | {value:.3g} |")
        except Exception as error:  # noqa: BLE001  the other measurements continue
            print(error, flush=True)
            lines = str(error).strip().splitlines()
            add(f"| {title} | failed: {type(error).__name__}: {lines[-1] if lines else ''} | |")
    print("\n".join(derived(values)))


if __name__ == "__main__":
    main()
