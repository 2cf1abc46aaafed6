"""What Weights & Biases has recorded offline, or never saw, uploaded. The command line's `sync`."""

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
    """Upload what W&B has recorded under `runs_dir`, offline or cut off, with its own command.

    Runs that nothing followed, as those of Slurm, are recorded first. Raises UserError where there is nothing to upload,
    without W&B, where it fails, and without an account.
    """
    directory = runs_dir / "wandb"
    followed, missed = _recordings(directory), _unrecorded(runs_dir)
    if not followed and not missed:
        raise UserError(f"{runs_dir} holds no recordings: run an experiment first")
    if find_spec("wandb") is None:
        raise UserError("Weights & Biases is not installed: pip install wandb")
    if missed and start_mirror(directory, "offline", missed, subprocess.DEVNULL).wait():
        raise UserError(f"Weights & Biases cannot record the runs: see {directory / 'mirror.log'}")
    recordings = _recordings(directory)
    import wandb

    try:
        known = wandb.login(prompt=False)
    except Exception as error:  # wandb raises many kinds; whichever it is, the sentence says it
        raise UserError(f"Weights & Biases refuses the key of this machine ({error}): run wandb login") from error
    if not known:
        raise UserError("no Weights & Biases account is known on this machine: run wandb login, then make sync again")
    return subprocess.call([sys.executable, "-m", "wandb", "sync", *map(str, recordings)])


def _recordings(directory: Path) -> list[Path]:
    return sorted(directory.glob("offline-run-*")) + sorted(directory.glob("run-*"))


def _unrecorded(runs_dir: Path) -> list[Path]:
    """Folders of runs that have curves and no recording."""
    recorded = {path.name.rpartition("-")[2] for path in _recordings(runs_dir / "wandb")}
    folders = [path.parent for path in sorted(runs_dir.glob("*/*/*/seed*/metrics.csv"))]
    return [f for f in folders if (run := read_json(f / RUN)) and run["id"] not in recorded]
