"""How a run is executed: options that may change its speed but not its results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Execution:
    """Options of execution, stored in run.json beside the settings. Fields missing in older files get their defaults."""

    data_folder: str
    """Folder of the run's data set."""
    threads: int
    """CPU threads. A resumed run keeps the number, because sums over another number of threads differ in the last bits.
    For the same reason the checkpoint stores whether kernels are compiled.
    """
    checkpoint_seconds: float
    """Seconds between checkpoints."""
    commit: str | None
    """Git commit of the code. None: unknown."""
    memory_share: float = 1.0
    """Fraction of the device's memory that the run may use, in (0, 1]."""
    workers: int = 0
    """Processes that decode images, for each training process. 0: decode in the training process."""
    skip_broken: bool = False
    """Skip and count unreadable images instead of failing."""
    weights: str | None = None
    """Path of the file of `RunSettings.weights`."""
    net_steps: int = 0
    """Steps over all runs of the study with the same network, on any machine. 0: unknown, only this run counts."""
    net_runs: int = 0
    """Number of these runs. 0: unknown."""
