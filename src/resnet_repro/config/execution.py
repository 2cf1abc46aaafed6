"""How a run is carried out: what may change its speed, not what it computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Execution:
    """Stored in run.json beside the settings; fields that older files lack have defaults.

    data_folder: where the data lie. threads is kept over resumes, since sums of another number of threads differ in the
    last bits; whether kernels are compiled is kept by the checkpoint.
    memory_share: the part of the device's memory that is meant for the run. workers: processes that decode images, for
    each one that trains. skip_broken: images that cannot be read are left out and counted, and do not end the run.
    weights: where the file of the settings' weights lies. net_steps, net_runs: what the study trains of the run's network
    in all, on any machine; 0 where that is not known, and the run counts alone.
    """

    data_folder: str
    threads: int
    checkpoint_seconds: float
    commit: str | None
    memory_share: float = 1.0
    workers: int = 0
    skip_broken: bool = False
    weights: str | None = None
    net_steps: int = 0
    net_runs: int = 0
