"""Many runs, each a process of its own. `execute` is the one function that the rest of the project knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resnet_repro.launch.local import Job, Outcome, run_pool
from resnet_repro.launch.slots import Slot

__all__ = ["Job", "Outcome", "Slot", "execute"]


def execute(jobs: Sequence[Job], slots: Sequence[Slot], watch: Callable[[], None]) -> list[Outcome]:
    """Carry out all jobs and say how each ended, in the order of `jobs`. Another engine takes its place here.

    watch is called a few times a second, for a display. Ending this function, in whatever way, ends the jobs.
    """
    return run_pool(jobs, slots, watch)
