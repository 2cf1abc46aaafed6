"""What Weights & Biases has recorded offline, or never saw, uploaded. The command line's `sync`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.layout import RUN


def sync(runs_dir: Path) -> int:
    """Upload what W&B has recorded under `runs_dir`, offline or cut off, with its own command.

    Runs that nothing followed, as those of Slurm, are recorded first. Raises UserError where there is nothing to upload,
    without W&B, and without an account.
    """
    directory = runs_dir / "wandb"
    followed, missed = _recordings(directory), _unrecorded(runs_dir)
    if not followed and not missed:
        raise UserError(f"{runs_dir} holds no recordings: run an experiment first")
    if find_spec("wandb") is None:
        raise UserError("Weights & Biases is not installed: pip install wandb")
    if missed:
        record_offline(directory, missed)
    recordings = _recordings(directory)
    import wandb

    try:
        known = wandb.login(prompt=False)
    except Exception as error:  # wandb raises many kinds; whichever it is, the sentence says it
        raise UserError(f"Weights & Biases refuses the key of this machine ({error}): run wandb login") from error
    if not known:
        raise UserError("no Weights & Biases account is known on this machine: run wandb login, then make sync again")
    return subprocess.call([sys.executable, "-m", "wandb", "sync", *map(str, recordings)])


def record_offline(directory: Path, folders: Sequence[Path]) -> None:
    """Make W&B's recordings of runs as they stand, in a process of their own. Raises UserError where W&B fails."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "resnet_repro.tracking.mirror", str(directory), "offline", *map(str, folders)]
    environment = os.environ | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "WANDB_MODE": ""}
    with (directory / "mirror.log").open("ab") as log:
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if code:
        raise UserError(f"Weights & Biases cannot record the runs: see {directory / 'mirror.log'}")


def _recordings(directory: Path) -> list[Path]:
    return sorted(directory.glob("offline-run-*")) + sorted(directory.glob("run-*"))


def _unrecorded(runs_dir: Path) -> list[Path]:
    """Folders of runs that have curves and no recording."""
    recorded = {path.name.rpartition("-")[2] for path in _recordings(runs_dir / "wandb")}
    folders = [path.parent for path in sorted(runs_dir.glob("*/*/*/seed*/metrics.csv"))]
    return [f for f in folders if (run := read_json(f / RUN)) and run["id"] not in recorded]
