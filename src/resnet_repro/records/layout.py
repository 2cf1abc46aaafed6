"""What a run leaves on disk: written by the training, read by everything after it. No torch here.

A run's folder, `RUNS_DIR/<experiment>/<profile or budget>/<arm>/seed<k>/`:

    run.json             settings and execution, written before the first step
    progress.json        where the run is, rewritten about once a second
    metrics.csv          losses, errors and learning rate by iteration: a function of the settings alone
    speed.csv            images a second by iteration: what the machine made of it
    gradients.csv        gradient norm of every convolution at the evaluations
    responses.csv        layer responses of the finished network (He15 figure 7)
    inputs.csv, ...      what an arm's own diagnostics measured (`diagnostics.along_training`)
    checkpoint.ckpt      where an interrupted run, or a longer prefix, goes on; gone when the whole schedule is finished
    weights.safetensors  final parameters and buffers
    record.json          the result; its presence says that the run is done
    log.txt              what the process printed
    lock                 held by the run's process as long as it lives
"""

from __future__ import annotations

from pathlib import Path

from resnet_repro.config.settings import RunSettings

RECORD, RUN, PROGRESS, CHECKPOINT, WEIGHTS, LOG, LOCK = (
    "record.json",
    "run.json",
    "progress.json",
    "checkpoint.ckpt",
    "weights.safetensors",
    "log.txt",
    "lock",
)


def run_folder(runs_dir: Path, experiment: str, budget: str, arm: str, seed: int) -> Path:
    """Where a run's files lie."""
    return runs_dir / experiment / budget / arm / f"seed{seed}"


def parent_folder(folder: Path, settings: RunSettings) -> Path | None:
    """The folder of the run that the run in `folder` starts from; None where it starts from no other run."""
    start = settings.arm.start
    if start is None or settings.weights is not None:
        return None
    runs_dir = folder.parents[3]
    return run_folder(runs_dir, start.experiment or settings.experiment, settings.budget, start.arm, settings.seed)


def candidate_folders(folder: Path, settings: RunSettings) -> dict[str, Path]:
    """{arm: folder} of the runs among which the learning rate of the run in `folder` is found."""
    search = settings.arm.search
    runs_dir = folder.parents[3]
    return {
        arm: run_folder(runs_dir, settings.experiment, settings.budget, arm, settings.seed)
        for arm in (search.arms if search else ())
    }


def source_folders(folder: Path, settings: RunSettings) -> list[Path]:
    """The folders of all runs that must have ended before the run in `folder` can start."""
    parent = parent_folder(folder, settings)
    return ([parent] if parent else []) + list(candidate_folders(folder, settings).values())
