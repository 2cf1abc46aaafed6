"""Launch options: where and how runs are executed, and their command-line flags."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.parsing import number

EXECUTORS = ("local", "ray", "slurm")
# Executors that accept an option. All other options are for Slurm only.
_EXECUTORS_OF = {
    "slots": ("local", "slurm"),
    "threads": ("ray", "slurm"),
    "gpu_share": ("ray",),
    "retries": EXECUTORS,
}


@dataclass(frozen=True)
class LaunchOptions:
    """Where and how runs are executed. Each field has a flag and a Make variable of the same name. None: not given."""

    executor: str = "local"
    """One of `EXECUTORS`: this machine, a Ray cluster, or Slurm."""
    devices: str = "auto"
    """Devices to use, see `slots.parse_devices`. Ray and Slurm accept only "auto", "cuda" and "cpu"."""
    slots: int | None = None
    """Local, Slurm: concurrent runs per device. None: one per core on a CPU, chosen by `sharing` on a GPU."""
    threads: int | None = None
    """Ray, Slurm: CPU threads per run. None: 1; with a GPU, its share of the node's threads in Ray and 4 or 8 in Slurm."""
    gpu_share: float | None = None
    """Ray: GPUs per run, in (0, 1]; a whole number for runs on several GPUs. None: 1, or less if small runs share a GPU."""
    retries: int = 0
    """How often a failed run is retried."""
    partition: str | None = None
    """Slurm: as for sbatch."""
    account: str | None = None
    """Slurm: as for sbatch."""
    time: str | None = None
    """Slurm: time limit as for sbatch, e.g. 4:00:00."""
    gpus: int | None = None
    """Slurm: GPUs per node of a run. 0: run on CPUs. None: 1, or 0 with devices="cpu"."""
    nodes: int | None = None
    """Slurm: nodes per run. None: 1."""
    signal_seconds: int | None = None
    """Slurm: seconds before the time limit at which a run saves and is requeued. None: 120."""
    sbatch: str | None = None
    """Slurm: further sbatch options."""
    setup: str | None = None
    """Slurm: shell lines to run before the command."""
    dry_run: bool = False
    """Slurm: print the batch script and submit nothing."""

    @property
    def is_local(self) -> bool:
        return self.executor == "local"

    def check(self) -> LaunchOptions:
        """Return the options. Raises UserError for an option that the executor does not support."""
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if field.name in ("executor", "devices") or value in (None, False):
                continue
            executors = _EXECUTORS_OF.get(field.name, ("slurm",))
            if self.executor not in executors:
                raise UserError(
                    f"{field.name.upper()}={value} cannot be combined with EXECUTOR={self.executor}: leave it out, or use "
                    f"EXECUTOR={' or '.join(executors)}"
                )
        return self


@dataclass(frozen=True)
class ExecutorSpec:
    """What an executor needs to know about a study."""

    options: LaunchOptions
    precision: str
    """One of "auto", "bf16" and "fp32"."""
    runs_dir: Path
    """The folder of all runs."""
    name: str
    """Name of the study, e.g. for Slurm's queue."""
    spread: bool = False
    """Whether each run uses several devices."""
    decodes: bool = False
    """Whether runs decode images from files during training."""


def add_launch_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `launch_options` reads."""
    group = parser.add_argument_group("where and how runs are executed")
    group.add_argument(
        "--executor", choices=EXECUTORS, default="local", help="what executes the runs (default: local, this machine)"
    )
    devices = "auto, cpu, mps, cuda or a list of GPUs, e.g. cuda:0,cuda:1 (default: auto)"
    group.add_argument("--devices", default="auto", help=devices)
    group.add_argument("--retries", type=number(int, 0), default=0, help="how often to retry a failed run (default: 0)")
    for flag, kind, text in (
        ("slots", number(int, 1, 1_000), "concurrent runs per device (default: 1 per CPU core; by size of the runs on a GPU)"),
        ("threads", number(int, 1, 10_000), "ray, slurm: CPU threads per run (default: 1; with a GPU: its share, in Slurm 4)"),
        ("gpu-share", number(float, 1e-4), "ray: GPUs per run, e.g. 0.5 (default: 1, less if small runs share a GPU)"),
        ("gpus", number(int, 0), "slurm: GPUs per node of a run, 0 for none (default: 1)"),
        ("nodes", number(int, 1, 100_000), "slurm: nodes per run, for runs on several GPUs (default: 1)"),
        ("partition", str, "slurm: as for sbatch"),
        ("account", str, "slurm: as for sbatch"),
        ("time", str, "slurm: time limit as for sbatch, e.g. 4:00:00"),
        ("signal-seconds", number(int), "slurm: seconds before the time limit to save and requeue a run (default: 120)"),
        ("sbatch", str, "slurm: further sbatch options"),
        ("setup", str, "slurm: shell lines before the run, e.g. 'module load cuda'"),
    ):  # fmt: skip
        group.add_argument(f"--{flag}", type=kind, help=text)
    group.add_argument("--dry-run", action="store_true", help="slurm: print the script and submit nothing")


def launch_options(flags: argparse.Namespace) -> LaunchOptions:
    """The options given by the flags. Raises UserError for an option that the executor does not support."""
    return LaunchOptions(**{field.name: getattr(flags, field.name) for field in fields(LaunchOptions)}).check()
