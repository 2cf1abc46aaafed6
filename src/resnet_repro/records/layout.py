"""Files of a run's folder. Training writes them, everything else reads them. Does not import torch.

A run's folder is `RUNS_DIR/<experiment>/<profile or budget>/<arm>/seed<k>/`:

    run.json             settings and execution, written before the first step
    progress.json        status and step, rewritten about once a second
    metrics.csv          losses, errors and learning rate by iteration; depends on the settings only
    speed.csv            training images per second by iteration; depends on the machine
    gradients.csv        gradient norm of every convolution by iteration
    responses.csv        layer responses of the finished network (He15 figure 7)
    inputs.csv, ...      tables of the arm's own diagnostics (`diagnostics.along_training`)
    checkpoint.ckpt      state to resume from; deleted at the end of a run, except for a finished prefix
    weights.safetensors  final parameters and buffers
    predictions.safetensors    logits of the finished network for the test images (`records.predictions`)
    record.json          the result; a run is done if and only if this file exists
    log.txt              output of the run's process
    lock                 held by the run's process while it is alive
    upload.json          what a W&B server has confirmed of the run (`tracking.receipt`); upload.lock: held by an upload
"""

from __future__ import annotations

from pathlib import Path

from resnet_repro.config.settings import RunSettings

RECORD, RUN, PROGRESS, CHECKPOINT, WEIGHTS, PREDICTIONS, LOG, LOCK, RECEIPT, UPLOAD_LOCK = (
    "record.json",
    "run.json",
    "progress.json",
    "checkpoint.ckpt",
    "weights.safetensors",
    "predictions.safetensors",
    "log.txt",
    "lock",
    "upload.json",
    "upload.lock",
)


def run_folder(runs_dir: Path, experiment: str, budget: str, arm: str, seed: int) -> Path:
    """The folder of a run's files."""
    return runs_dir / experiment / budget / arm / f"seed{seed}"


def parent_folder(folder: Path, settings: RunSettings) -> Path | None:
    """The folder of the parent, whose weights the run in `folder` starts from; None for a run without a parent."""
    start = settings.arm.start
    if start is None or settings.weights is not None:
        return None
    runs_dir = folder.parents[3]
    return run_folder(runs_dir, start.experiment or settings.experiment, settings.budget, start.arm, settings.seed)


def candidate_folders(folder: Path, settings: RunSettings) -> dict[str, Path]:
    """{arm: folder} of the candidates in the learning-rate search of the run in `folder`; empty without a search."""
    search = settings.arm.search
    runs_dir = folder.parents[3]
    return {
        arm: run_folder(runs_dir, settings.experiment, settings.budget, arm, settings.seed)
        for arm in (search.arms if search else ())
    }


def source_folders(folder: Path, settings: RunSettings) -> list[Path]:
    """The folders of all runs that must end before the run in `folder` can start: its parent and candidates."""
    parent = parent_folder(folder, settings)
    return ([parent] if parent else []) + list(candidate_folders(folder, settings).values())
