"""What a user asks for about where and how runs are carried out: flags of the command line, checked."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.parsing import number

EXECUTORS = ("local", "ray", "slurm")
_GOES_WITH = {
    "slots": ("local", "slurm"),
    "threads": ("ray", "slurm"),
    "gpu_share": ("ray",),
    "retries": EXECUTORS,
}  # every other option is Slurm's


@dataclass(frozen=True)
class LaunchOptions:
    """Each as the flag and the Make variable of its name; None where the user says nothing.

    executor: who carries out the runs: this machine ("local"), a Ray cluster, Slurm. slots: runs at once on each device;
    without, what `sharing` says of GPUs, and as many as a CPU has cores. threads: CPU threads of a run. gpu_share: GPUs of a
    run, a part of one or one; more for runs that spread over several.
    retries: how often a run that fails by itself is tried again.
    The others are Slurm's: gpus of a run on each of its nodes, time as sbatch writes it, signal_seconds ahead of which a
    run is asked to save and is queued again, sbatch: further options, setup: shell lines before the run's command.
    dry_run: print the script, submit nothing.
    """

    executor: str = "local"
    devices: str = "auto"
    slots: int | None = None
    threads: int | None = None
    gpu_share: float | None = None
    retries: int = 0
    partition: str | None = None
    account: str | None = None
    time: str | None = None
    gpus: int | None = None
    nodes: int | None = None
    signal_seconds: int | None = None
    sbatch: str | None = None
    setup: str | None = None
    dry_run: bool = False

    @property
    def is_local(self) -> bool:
        return self.executor == "local"

    def check(self) -> LaunchOptions:
        """Raise UserError for an option that does not go with the executor."""
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if field.name in ("executor", "devices") or value in (None, False):
                continue
            allowed = _GOES_WITH.get(field.name, ("slurm",))
            if self.executor not in allowed:
                raise UserError(
                    f"{field.name.upper()}={value} does not go with EXECUTOR={self.executor}: leave it out, or take "
                    f"EXECUTOR={' or '.join(allowed)}"
                )
        return self


@dataclass(frozen=True)
class ExecutorSpec:
    """What an executor is told of a study.

    precision: "auto", "bf16" or "fp32". runs_dir: where the runs' folders are. name: of the study, for lists that others
    see. spread: each run takes several devices. decodes: images are read from files along the way.
    """

    options: LaunchOptions
    precision: str
    runs_dir: Path
    name: str
    spread: bool = False
    decodes: bool = False


def add_launch_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `launch_options` reads."""
    group = parser.add_argument_group("where runs are carried out")
    group.add_argument(
        "--executor", choices=EXECUTORS, default="local", help="what starts and places them (default: local)"
    )
    devices = "auto, cpu, mps, cuda or a list as cuda:0,cuda:1 (default: auto)"
    group.add_argument("--devices", default="auto", help=devices)
    group.add_argument("--retries", type=number(int, 0), default=0, help="of a run that fails by itself (default: 0)")
    for flag, kind, text in (
        ("slots", number(int, 1, 1_000), "runs at once on each device (default: as many as pay on a GPU, 1 per core)"),
        ("threads", number(int, 1, 10_000), "ray, slurm: CPU threads of a run (default: 1; with a GPU its share, in Slurm 4)"),
        ("gpu-share", number(float, 1e-4), "ray: GPUs of a run, as 0.5 (default: what small runs leave one another)"),
        ("gpus", number(int, 0), "slurm: GPUs of a run on each of its nodes, 0 for none (default: 1)"),
        ("nodes", number(int, 1, 100_000), "slurm: nodes of a run, where runs spread over several GPUs (default: 1)"),
        ("partition", str, "slurm: as sbatch takes it"),
        ("account", str, "slurm: as sbatch takes it"),
        ("time", str, "slurm: as sbatch takes it, 4:00:00"),
        ("signal-seconds", number(int), "slurm: so long before its limit a run saves and is queued again (120)"),
        ("sbatch", str, "slurm: more options of sbatch"),
        ("setup", str, "slurm: shell lines before the run, as 'module load cuda'"),
    ):  # fmt: skip
        group.add_argument(f"--{flag}", type=kind, help=text)
    group.add_argument("--dry-run", action="store_true", help="slurm: print the script and submit nothing")


def launch_options(flags: argparse.Namespace) -> LaunchOptions:
    """The options that the flags ask for. Raises UserError for what does not go together."""
    return LaunchOptions(**{field.name: getattr(flags, field.name) for field in fields(LaunchOptions)}).check()
