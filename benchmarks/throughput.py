"""Training speed of runs on a CPU, compared with a bare PyTorch loop and with the customary loop (see loops.py).

    make benchmark        about 15 minutes on two CPU cores, on a machine with no other load

Each round measures, for each net: one run alone, the bare loop on the same threads, runs in all slots, and the customary loop
on the whole machine. The measurements are interleaved, because the speed of shared machines drifts. Rewrites
benchmarks/README.md. For GPUs see gpu.py.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.arrays import Arrays
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.files import write_json
from resnet_repro.hardware import cpu_cores, device_name, resolve_precision
from resnet_repro.launch.slots import Slot, plan_slots
from resnet_repro.tables import read_rows

HERE = Path(__file__).resolve().parent
STEPS = {"plain-56": 40, "resnet-20": 80}
WARM_UP = 10
INTERVAL = 10  # steps between readings of the speed in a run of 1,000 steps


def real_runs(name: str, arrays: Arrays, slots: list[Slot]) -> float:
    """Total images per second of runs, one in each slot. The runs are stopped after `STEPS` steps."""
    kind, depth = name.split("-")
    device = slots[0].device
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for index, slot in enumerate(slots):
            run = Path(folder) / str(index)
            run.mkdir()
            settings = RunSettings(
                experiment="benchmark",
                budget="1000it",
                arm=cifar_arm(kind, int(depth), HE15_CIFAR),
                seed=index,
                iterations=1_000,
                evaluate_every=1_000,
                dataset=arrays.facts.name,
                dataset_digest=arrays.digest,
                precision=resolve_precision("auto", device),
                device=device,
            )
            execution = {
                "data_folder": str(arrays.folder.resolve()),
                "threads": slot.threads,
                "checkpoint_seconds": 60.0,
                "commit": None,
            }
            write_json(run / "run.json", {"settings": settings.to_json(), "execution": execution, "id": "benchmark"})
            with (run / "log.txt").open("w") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "resnet_repro.training.train_run", str(run)],
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=log,
                        env=os.environ | slot.environment,
                    )
                )
        runs = [Path(folder) / str(index) for index in range(len(slots))]
        while any(_steps(run) < WARM_UP + STEPS[name] for run in runs):
            if any(process.poll() is not None for process in processes):
                raise SystemExit(f"a run ended early: {[(run / 'log.txt').read_text() for run in runs]}")
            time.sleep(0.2)
        rates = [_rate(run, STEPS[name]) for run in runs]
        for process in processes:
            process.kill()
            process.wait()
    return sum(rates)


def _steps(run: Path) -> int:
    rows = read_rows(run / "speed.csv")
    return int(rows[-1]["iteration"]) if rows else 0


def _rate(run: Path, steps: int) -> float:
    """Images per second after the warm-up."""
    rows = [row for row in read_rows(run / "speed.csv") if WARM_UP < int(row["iteration"]) <= WARM_UP + steps]
    images = INTERVAL * HE15_CIFAR.batch_size
    return len(rows) * images / sum(images / float(row["images_per_second"]) for row in rows)


def loop(variant: str, name: str, arrays: Arrays, threads: int, environment: dict[str, str]) -> float:
    """Images per second of a loop of loops.py, in a separate process."""
    command = [sys.executable, HERE / "loops.py", variant, name, STEPS[name], arrays.folder, threads]
    out = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return float(out.stdout.split()[-1])


def measure(name: str, arrays: Arrays, rounds: int) -> dict[str, list[float]]:
    """{variant: images per second in each round}."""
    slots = plan_slots(["cpu"], None, runs=5, cores=cpu_cores())
    cores = cpu_cores()
    rates: dict[str, list[float]] = {"run": [], "bare": [], "slots": [], "customary": []}
    for number in range(rounds):
        rates["run"].append(real_runs(name, arrays, slots[:1]))
        rates["bare"].append(loop("bare", name, arrays, slots[0].threads, slots[0].environment))
        rates["slots"].append(real_runs(name, arrays, slots))
        rates["customary"].append(loop("customary", name, arrays, cores, {"OMP_NUM_THREADS": str(cores)}))
        last = ", ".join(f"{variant} {values[-1]:.0f}" for variant, values in rates.items())
        print(f"{name} round {number + 1}/{rounds}: {last} images/s", flush=True)
    return rates


def _ratio(above: list[float], below: list[float]) -> str:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def write_readme(results: dict[str, dict[str, list[float]]], rounds: int) -> None:
    slots = plan_slots(["cpu"], None, runs=5, cores=cpu_cores())
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make benchmark` on {time.strftime('%Y-%m-%d')}: {device_name('cpu')}, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{resolve_precision('auto', 'cpu')}, {len(slots)} slots of {slots[0].threads} thread(s). Median of {rounds} "
        "interleaved rounds; ratios are taken round by round (minimum-maximum). Training images per second, without "
        "evaluation.",
        "",
        "| net | one run | bare loop | one run / bare | all slots | customary loop | all slots / customary |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {median(r['run']):.0f} | {median(r['bare']):.0f} | {_ratio(r['run'], r['bare'])} "
        f"| {median(r['slots']):.0f} | {median(r['customary']):.0f} | {_ratio(r['slots'], r['customary'])} |"
        for name, r in results.items()
    ]
    lines += [
        "",
        "- *One run*: a run as `make degradation` starts it, in one slot, with the other slots empty. It includes Lightning, "
        "augmentation, records and checkpoints.",
        "- *Bare loop*: plain PyTorch with the same model, precision, layout and threads, on prepared batches, without "
        "augmentation and output.",
        "- *All slots*: as many concurrent runs as `make degradation` starts; the sum of their speeds.",
        "- *Customary loop*: one float32 NCHW net on the whole machine, with torchvision transforms in a `DataLoader` with two "
        "workers, and `loss.item()` in each step.",
        "",
    ]
    (HERE / "README.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--data-mirror", default=os.environ.get("DATA_MIRROR"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    arrays = obtain("cifar10", DataSources(Path(options.data_dir), options.data_mirror))
    results = {name: measure(name, arrays, options.rounds) for name in STEPS}
    write_readme(results, options.rounds)
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
