"""Launch options: where and how runs are executed, and their command-line flags."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.hardware import PRECISIONS
from resnet_repro.launch.slots import numbers_of_gpus
from resnet_repro.parsing import choice, number

EXECUTORS = ("local", "ray", "slurm")
SIGNAL_SECONDS = 120  # from Slurm's signal to the time limit, to write a checkpoint
LONGEST_TIME = 40  # characters
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
    """Print what would be started, and start nothing: Slurm's batch scripts, otherwise the commands of the runs."""

    @property
    def is_local(self) -> bool:
        return self.executor == "local"

    def check(self) -> LaunchOptions:
        """Return the options. Raises UserError for a value or a combination that is invalid on every machine."""
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if field.name in ("executor", "devices", "dry_run") or value is None:
                continue
            executors = _EXECUTORS_OF.get(field.name, ("slurm",))
            if self.executor not in executors:
                given = f"{field.name.upper()}={value}"
                default = " (the default)" if self.is_local else ""
                raise UserError(
                    f"{given} cannot be combined with EXECUTOR={self.executor}{default}: leave it out, or use "
                    f"EXECUTOR={' or '.join(executors)}"
                )
        self._check_devices()
        self._check_slurm()
        return self

    def _check_devices(self) -> None:
        if self.devices not in ("auto", "cpu", "mps", "cuda"):
            numbers_of_gpus(self.devices)
        if not self.is_local and self.devices not in ("auto", "cpu", "cuda"):
            raise UserError(
                f"DEVICES={self.devices!r} cannot be combined with EXECUTOR={self.executor}: expected auto, cuda or cpu"
            )
        share = self.gpu_share
        if share is not None and self.devices == "cpu":
            raise UserError(f"GPU_SHARE={share:g} does not apply to runs on CPUs: leave it out, or use DEVICES=cuda")
        if self.devices == "cpu" and self.gpus:
            raise UserError(f"GPUS={self.gpus} cannot be combined with DEVICES=cpu: leave one of them out")
        if self.devices == "cuda" and self.gpus == 0:
            raise UserError("GPUS=0 cannot be combined with DEVICES=cuda: leave one of them out")

    @property
    def notice_seconds(self) -> int:
        """Seconds from Slurm's signal to the time limit."""
        return self.signal_seconds or SIGNAL_SECONDS

    def _check_slurm(self) -> None:
        for name, value in (("PARTITION", self.partition), ("ACCOUNT", self.account)):
            if value is not None and not re.fullmatch(r"[^\s'\"\\#]+", value):
                raise UserError(f"invalid {name} {value!r}: expected a name as for sbatch, without spaces or quotes")
        if self.sbatch is not None and (not self.sbatch.strip() or "\n" in self.sbatch or "\r" in self.sbatch):
            raise UserError(f"invalid SBATCH {self.sbatch!r}: expected options of sbatch on one line, e.g. --mem=32G")
        if self.time is None:
            return
        seconds = slurm_seconds(self.time)
        if seconds is None:
            raise UserError(f"invalid TIME {self.time!r}: expected a time limit as for sbatch, e.g. 4:00:00")
        notice = self.notice_seconds
        if 0 < seconds <= notice:
            raise UserError(
                f"TIME={self.time} is not longer than the {notice} seconds before its end at which runs save: expected more "
                "time, or a smaller SIGNAL_SECONDS"
            )


def check_share(share: float, spread: bool) -> None:
    """Raise UserError unless a run can use this number of GPUs. spread: runs use several devices."""
    if 0 < share <= 1 or (spread and share == int(share) and share > 0):
        return
    allowed = "a number in (0, 1] or a whole number of GPUs" if spread else "a number in (0, 1]"
    raise UserError(f"invalid GPU_SHARE {share:g}: expected {allowed}, e.g. 0.5")


def slurm_seconds(time: str) -> int | None:
    """The seconds of a time limit of sbatch, 0 for none; None for a text that sbatch does not accept."""
    if time.upper() in ("UNLIMITED", "INFINITE"):
        return 0
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time, re.ASCII)
    if match is None or len(time) > LONGEST_TIME:
        return None
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    if days is None and len(numbers) < 3:  # minutes, or minutes:seconds
        numbers = [0, *numbers]
    hours, minutes, seconds = [*numbers, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True)
class ExecutorSpec:
    """What an executor needs to know about a study."""

    options: LaunchOptions
    precision: str
    """One of `hardware.PRECISIONS`."""
    runs_dir: Path
    """The folder of all runs."""
    name: str
    """Name of the study, e.g. for Slurm's queue."""
    spread: bool = False
    """Whether each run uses several devices."""
    decodes: bool = False
    """Whether runs decode images from files during training."""

    def check(self) -> ExecutorSpec:
        """Return the spec. Raises UserError for options that exclude each other in this study, on any machine."""
        options = self.options.check()
        choice(self.precision, PRECISIONS, "precision")
        share, gpus, nodes = options.gpu_share, options.gpus, options.nodes
        if share is not None:
            check_share(share, self.spread)
        several = max(gpus or 1, nodes or 1) > 1
        if several and not self.spread:
            given = [f"{name}={value}" for name, value in (("GPUS", gpus), ("NODES", nodes)) if value is not None]
            raise UserError(f"{' '.join(given)} does not apply to runs that use one device each: leave it out")
        if several and options.slots:
            raise UserError(
                f"SLOTS={options.slots} does not apply to runs that use several GPUs or nodes: leave it out"
            )
        return self


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
        ("signal-seconds", number(int, 1, 65_535), "slurm: seconds before the time limit at which a run saves (default: 120)"),
        ("sbatch", str, "slurm: further sbatch options"),
        ("setup", str, "slurm: shell lines before the run, e.g. 'module load cuda'"),
    ):  # fmt: skip
        group.add_argument(f"--{flag}", type=kind, help=text)
    group.add_argument("--dry-run", action="store_true", help="print the runs' commands or scripts, and start nothing")


def launch_options(flags: argparse.Namespace) -> LaunchOptions:
    """The options given by the flags. Raises UserError for an option that the executor does not support."""
    return LaunchOptions(**{field.name: getattr(flags, field.name) for field in fields(LaunchOptions)}).check()
