"""What a user asks for about where and how runs are carried out: flags of the command line, checked."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.parsing import parse_count

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
        """Raise UserError for an unknown executor, and for what does not go with the one that is asked for."""
        if self.executor not in EXECUTORS:
            raise UserError(f"unknown EXECUTOR {self.executor!r}: take one of {', '.join(EXECUTORS)}")
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
    group.add_argument("--executor", default="local", help="local, ray or slurm (default: local)")
    group.add_argument(
        "--devices", default="auto", help="auto, cpu, mps, cuda or a list as cuda:0,cuda:1 (default: auto)"
    )
    for flag, metavar, text in (
        ("slots", "N", "runs at once on each device (default: as many as pay on a GPU, 1 per core)"),
        ("retries", "N", "how often a run that fails is tried again (default: 0)"),
        (
            "threads",
            "N",
            "ray, slurm: CPU threads of a run (default: 1; with a GPU its share of the node's, in Slurm 4)",
        ),
        ("gpu-share", "X", "ray: GPUs of a run, as 0.5 (default: what small runs leave one another)"),
        ("gpus", "N", "slurm: GPUs of a run on each of its nodes, 0 for none (default: 1)"),
        ("nodes", "N", "slurm: nodes of a run, where runs spread over several GPUs (default: 1)"),
        ("partition", "NAME", "slurm: as sbatch takes it"),
        ("account", "NAME", "slurm: as sbatch takes it"),
        ("time", "LIMIT", "slurm: as sbatch takes it, 4:00:00"),
        ("signal-seconds", "S", "slurm: seconds before the time limit at which a run saves and is queued again (120)"),
        ("sbatch", "OPTIONS", "slurm: more options of sbatch"),
        ("setup", "LINES", "slurm: shell lines before the run, as 'module load cuda'"),
    ):
        group.add_argument(f"--{flag}", metavar=metavar, help=text)
    group.add_argument("--dry-run", action="store_true", help="slurm: print the script and submit nothing")


def launch_options(flags: argparse.Namespace) -> LaunchOptions:
    """The options that the flags ask for. Raises UserError for what is no number, and what does not go together."""
    numbers = {
        name: None if (text := getattr(flags, name)) is None else parse_count(text, name.upper())
        for name in ("slots", "threads", "nodes", "signal_seconds")
    }
    retries, gpus = (_count_from_zero(getattr(flags, name), name.upper()) for name in ("retries", "gpus"))
    return LaunchOptions(
        executor=flags.executor,
        devices=flags.devices,
        gpu_share=None if flags.gpu_share is None else _share(flags.gpu_share),
        retries=retries or 0,
        gpus=gpus,
        partition=flags.partition,
        account=flags.account,
        time=flags.time,
        sbatch=flags.sbatch,
        setup=flags.setup,
        dry_run=flags.dry_run,
        **numbers,
    ).check()


def _count_from_zero(text: str | None, name: str) -> int | None:
    return 0 if text == "0" else None if text is None else parse_count(text, name)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < float("inf"):
        raise UserError(f"GPU_SHARE={text!r} is no share of a GPU: write for example 0.5")
    return share
