"""The command `sync`: upload runs to Weights & Biases that were recorded offline or not recorded at all."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.layout import RUN
from resnet_repro.tracking.mirror import start_mirror


def sync(runs_dir: Path) -> int:
    """Upload all W&B recordings under `runs_dir`, offline or interrupted, with `wandb sync`. Returns its exit code.

    Runs without a recording, e.g. those of Slurm, are recorded first. Raises UserError if there is nothing to upload, if
    W&B is missing or fails, or if no account is known.
    """
    directory = runs_dir / "wandb"
    recorded, unrecorded = _recordings(directory), _unrecorded(runs_dir)
    if not recorded and not unrecorded:
        raise UserError(f"{runs_dir} holds no recordings: run an experiment first")
    if find_spec("wandb") is None:
        raise UserError("Weights & Biases is not installed: run pip install wandb")
    if unrecorded and start_mirror(directory, "offline", unrecorded, subprocess.DEVNULL).wait():
        raise UserError(f"Weights & Biases cannot record the runs: see {directory / 'mirror.log'}")
    recordings = _recordings(directory)
    import wandb

    try:
        is_logged_in = wandb.login(prompt=False)
    except Exception as error:  # wandb raises many types; the message names the error
        raise UserError(f"Weights & Biases rejects the key of this machine ({error}): run wandb login") from error
    if not is_logged_in:
        raise UserError("no Weights & Biases account found on this machine: run wandb login, then make sync")
    return subprocess.call([sys.executable, "-m", "wandb", "sync", *map(str, recordings)])


def _recordings(directory: Path) -> list[Path]:
    return sorted(directory.glob("offline-run-*")) + sorted(directory.glob("run-*"))


def _unrecorded(runs_dir: Path) -> list[Path]:
    """Folders of runs that have a metrics.csv but no recording."""
    recorded = {path.name.rpartition("-")[2] for path in _recordings(runs_dir / "wandb")}
    folders = [path.parent for path in sorted(runs_dir.glob("*/*/*/seed*/metrics.csv"))]
    return [f for f in folders if (run := read_json(f / RUN)) and run["id"] not in recorded]
