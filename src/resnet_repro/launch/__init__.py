"""Many runs, each a process of its own, carried out here or by an engine that schedules them elsewhere.

`executor_for` gives the executor that a user asks for; its `execute` is all that the rest of the project needs of it.

May import: records, config and the modules at the root; never training, whose process it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from resnet_repro.distributed import DistContext
from resnet_repro.launch.job import Job, Outcome
from resnet_repro.launch.options import ExecutorSpec, LaunchOptions
from resnet_repro.launch.sharing import Load
from resnet_repro.launch.slots import Slot

__all__ = ["Executor", "ExecutorSpec", "Job", "LaunchOptions", "Load", "Outcome", "Slot", "executor_for"]


class Executor(Protocol):
    """Who carries out runs.

    kind: the devices that they are on: "cuda", "mps" or "cpu". precision: what they compute in, as it is wanted.
    leaves: whether `execute` comes back once the runs are handed over, and not when they have ended.
    """

    kind: str
    precision: str
    leaves: bool

    def plan(self, runs: int, load: Load | None = None) -> str:
        """Find room for so many runs; says in words how many at once, and where. Raises UserError where there is none.

        load: what the largest of them asks of a GPU, see `sharing`.
        """
        ...

    def execute(self, jobs: Sequence[Job], poll: Callable[[], None]) -> list[Outcome]:
        """Carry out all jobs and say how each ended, in the order of `jobs`.

        poll is called a few times a second, for a display. Ending this, in whatever way, ends the jobs, but for those
        that were handed over.
        """
        ...

    def close(self) -> None:
        """Give back what the executor holds."""
        ...


def executor_for(spec: ExecutorSpec, dist: DistContext | None = None) -> Executor:
    """The executor that is asked for, ready for the study's runs.

    dist: of the processes that were started together to carry out each run.
    Raises UserError, in one sentence, for options that cannot be met; nothing is then started.
    """
    executor = spec.options.check().executor
    if executor == "ray":
        from resnet_repro.launch.ray_cluster import RayExecutor

        return RayExecutor(spec)
    if executor == "slurm":
        from resnet_repro.launch.slurm import SlurmExecutor

        return SlurmExecutor(spec)
    from resnet_repro.launch.local import LocalExecutor

    return LocalExecutor(spec, dist)
