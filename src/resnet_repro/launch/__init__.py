"""Executors: run many jobs, one process per run, on this machine, a Ray cluster or Slurm.

`executor_for` returns the requested executor. The rest of the project only uses the `Executor` protocol.

May import: records, config and the modules at the root. Training runs in separate processes and is never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from resnet_repro.distributed import DistContext
from resnet_repro.launch.job import Job, Outcome
from resnet_repro.launch.options import ExecutorSpec, LaunchOptions
from resnet_repro.launch.sharing import Load
from resnet_repro.launch.slots import Placement, Slot

__all__ = ["Executor", "ExecutorSpec", "Job", "LaunchOptions", "Load", "Outcome", "Placement", "Slot", "executor_for"]


class Executor(Protocol):
    """Executes the runs of a study."""

    kind: str
    """Kind of device of all runs: "cuda", "mps" or "cpu"."""
    precision: str
    """Precision of all runs: "bf16" or "fp32"."""
    leaves: bool
    """Whether `execute` returns when the jobs are submitted, rather than when they have ended."""

    @property
    def placement(self) -> Placement:
        """How runs are placed. Valid after `plan`."""
        ...

    def plan(self, runs: int, load: Load | None = None) -> str:
        """Reserve slots for a number of runs. Returns a description: how many run at once, and where.

        load: the largest run's demand on a GPU, see `sharing`. Raises UserError if the runs do not fit.
        """
        ...

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        """Execute all jobs. Returns their outcomes, in the order of `jobs`.

        With `LaunchOptions.dry_run`, logs what would be started, and the outcomes are "submitted".
        `poll` is called a few times per second, for a display. If `execute` ends early for any reason, its jobs end too,
        except for submitted jobs.
        """
        ...

    def close(self) -> None:
        """Release the executor's resources."""
        ...


def executor_for(spec: ExecutorSpec, dist: DistContext | None = None) -> Executor:
    """The requested executor, ready for the study's runs.

    dist: the process group, if torchrun or srun started several processes that train each run together.
    Raises UserError for options that cannot be met; in that case nothing has been started.
    """
    executor = spec.check().options.executor
    if executor == "ray":
        from resnet_repro.launch.ray_cluster import RayExecutor

        return RayExecutor(spec)
    if executor == "slurm":
        from resnet_repro.launch.slurm import SlurmExecutor

        return SlurmExecutor(spec)
    from resnet_repro.launch.local import LocalExecutor

    return LocalExecutor(spec, dist)
