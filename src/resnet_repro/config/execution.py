"""How a run is executed: options that may change its speed but not its results."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from resnet_repro.config.settings import unknown_fields
from resnet_repro.errors import UserError
from resnet_repro.files import typed


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
    """Git commit of the code; of all processes of a resumed run, see `provenance.commits`. None: unknown."""
    begun_at: str | None = None
    """UTC time in ISO 8601 at which the run was first prepared. None: older runs."""
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

    @staticmethod
    def from_json(data: object) -> Execution:
        """Read the execution of a run that this or an earlier version stored.

        Raises UserError for values that this version cannot execute.
        """
        try:
            execution = typed(data, Execution)
            if unknown := unknown_fields(data, asdict(execution)):
                raise ValueError(f"unknown fields: {', '.join(unknown)}")
        except ValueError as error:
            raise UserError(f"this is the execution of another version ({error}): start the run again") from error
        if not 0 < execution.memory_share <= 1:
            raise UserError(f"invalid memory_share {execution.memory_share}: expected a number in (0, 1]")
        for name, least in (
            ("threads", 1),
            ("checkpoint_seconds", 0),
            ("workers", 0),
            ("net_steps", 0),
            ("net_runs", 0),
        ):
            if (value := getattr(execution, name)) < least:
                raise UserError(f"invalid {name} {value}: expected a number of at least {least}")
        return execution
