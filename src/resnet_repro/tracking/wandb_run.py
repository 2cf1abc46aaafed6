"""What a run sends to Weights & Biases: rows of its curves, its configuration, its summary.

The page `docs/running.md` lists all of it for users; nothing else about the machine is sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.records.layout import RUN
from resnet_repro.records.record import Record
from resnet_repro.tables import read_rows

PROJECT = "resnet-repro"
INIT_SECONDS = 30
TAG_CHARACTERS = 64  # the server's limit; a longer tag makes wandb.init fail
NAME_CHARACTERS = 128
_PRIVATE = ("data_folder", "weights")  # absolute paths in `Execution`
_SUMMARY = ("final", "best", "diagnostics", "status", "seconds", "weights_sha256")

# Columns of metrics.csv by the names of their curves. The prefixes group errors and losses, and sort them before the
# many curves of single layers.
_CURVES = {
    "epoch": "epoch",
    "learning_rate": "learning_rate",
    "running_train_loss": "loss/running_train",
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "test_loss": "loss/test",
    "running_train_error": "error/running_train",
    "train_error": "error/train",
    "validation_error": "error/validation",
    "test_error": "error/test",
}


def curve_rows(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, {curve: value}) of each step that a run's tables hold up to the last row of metrics.csv, in order.

    While the run trains, the last step may lack values: its rows reach one table after the other.
    """
    metrics = {int(row["iteration"]): row for row in read_rows(folder / "metrics.csv")}
    last = max(metrics, default=0)
    values: dict[int, dict[str, float]] = {}
    for step, row in metrics.items():
        values[step] = {_CURVES[key]: float(value) for key, value in row.items() if key in _CURVES and value}
    for row in read_rows(folder / "speed.csv"):
        values.setdefault(int(row["iteration"]), {})["images_per_second"] = float(row["images_per_second"])
    for row in read_rows(folder / "gradients.csv"):
        name = f"per_layer/gradient_norm_{int(row['layer']):03d}"
        values.setdefault(int(row["iteration"]), {})[name] = float(row["norm"])
    return [(step, values[step]) for step in sorted(values) if step <= last]


def summary_of(record: Record) -> dict[str, Any]:
    """The summary of a finished run."""
    summary = {name: getattr(record, name) for name in _SUMMARY}
    return summary | ({"search": msgspec.to_builtins(record.search)} if record.search else {})


def digest_of(record: Record) -> str:
    """Digest of the summary of a finished run."""
    return hashlib.sha256(json.dumps(summary_of(record), sort_keys=True, default=str).encode()).hexdigest()[:16]


def run_info(folder: Path) -> tuple[Mapping[str, Any], RunSettings]:
    """The contents of run.json, and the settings in it. Raises UserError if the file is missing or damaged."""
    info = read_json(folder / RUN)
    if info is None or "id" not in info:
        raise UserError(f"{folder / RUN} is missing or has no id: run the experiment again")
    return info, RunSettings.from_json(info["settings"])


def init_arguments(info: Mapping[str, Any], settings: RunSettings) -> dict[str, Any]:
    """Arguments of wandb.init that describe a run."""
    facts = info["dataset"]
    has_substitute = (
        settings.weights is None and settings.arm.start is not None and settings.arm.start.how == "backbone"
    )
    flags = {"STAND-IN DATA": facts["standin"], "SUBSTITUTE WEIGHTS": has_substitute}
    execution = {key: value for key, value in info["execution"].items() if key not in _PRIVATE}
    return {
        "project": project(),
        "id": info["id"],
        "group": settings.experiment[:NAME_CHARACTERS],
        "job_type": settings.arm.name[:TAG_CHARACTERS],
        "name": f"{settings.arm.name}-seed{settings.seed}"[:NAME_CHARACTERS],
        "tags": [settings.budget[:TAG_CHARACTERS], *(flag for flag, applies in flags.items() if applies)],
        "config": {
            **settings.to_json(),
            "dataset_title": facts["title"],
            "dataset_is_standin": facts["standin"],
            "weights_are_substitute": has_substitute,
            "commit": execution["commit"],
            "execution": execution,
            "versions": {name: version(name) for name in ("torch", "pytorch-lightning", "numpy", "wandb")},
        },
    }


def remove_recordings(client_files: Path, name: str) -> None:
    """Delete what was recorded offline of a run before."""
    for old in (client_files / "wandb").glob(f"offline-run-*-{name}"):
        shutil.rmtree(old)


def project() -> str:
    """Name of the W&B project."""
    return os.environ.get("WANDB_PROJECT") or PROJECT


def open_run(
    arguments: Mapping[str, Any], *, is_online: bool, client_files: Path, finish_seconds: float, **settings: Any
) -> Any:
    """Open a run beside others of this process; an online one continues under its id. Raises what wandb raises.

    Sends no console output, system facts or metrics, code, package list or host name. client_files: folder for the client's
    recordings. finish_seconds: longest wait for its last requests; then `finish` raises TimeoutError.
    """
    import wandb

    return wandb.init(
        **arguments,
        mode="online" if is_online else "offline",
        dir=client_files,
        resume="allow" if is_online else None,
        reinit="create_new",
        settings=wandb.Settings(
            console="off",
            silent=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=finish_seconds,
            finish_timeout_raises=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            disable_git=True,
            disable_code=True,
            host=os.environ.get("WANDB_HOST") or "-",
            program="resnet-repro",
            **settings,
        ),
    )
