"""A study that torchrun or srun has started several times: its processes carry out every run together, on many machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resnet_repro.distributed import DistContext, dist_context
from resnet_repro.errors import UserError

SLURM_PORTS = range(20_000, 40_000)


@dataclass(frozen=True)
class Group:
    """This process among those that were started together, and where the main one can be reached."""

    dist: DistContext
    address: str
    port: int

    def environment(self, run: int) -> dict[str, str]:
        """What the process of the `run`-th run finds in its environment; each run meets at a port of its own."""
        dist = self.dist
        return {
            "RANK": str(dist.rank),
            "WORLD_SIZE": str(dist.size),
            "LOCAL_RANK": str(dist.local_rank),
            "LOCAL_WORLD_SIZE": str(dist.local_size),
            "GROUP_RANK": str(dist.rank // dist.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port + 1 + run),
            "TORCHELASTIC_USE_AGENT_STORE": "False",  # torchrun's own meeting place knows the first run only
        }


def group_of(environment: Mapping[str, str]) -> Group | None:
    """The group that this process was started in, by torchrun or by srun; None for a process of its own.

    Raises UserError where the variables contradict each other.
    """
    if environment.get("SLURM_STEP_NUM_TASKS", "").strip() not in ("", "1") and "WORLD_SIZE" not in environment:
        environment = {**environment, **_from_slurm(environment)}
    dist = dist_context(environment)
    if dist.size == 1:
        return None
    try:
        return Group(dist, environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"WORLD_SIZE={dist.size} is set, and {error} is not as torchrun sets it: start with torchrun or srun"
        ) from error


def _from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """torchrun's variables from srun's."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    try:
        tasks, nodes = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_STEP_NUM_NODES"])
        job = int(environment["SLURM_JOB_ID"])
        found = {
            "RANK": environment["SLURM_PROCID"],
            "LOCAL_RANK": environment["SLURM_LOCALID"],
            "MASTER_ADDR": SLURMEnvironment.resolve_root_node_address(environment["SLURM_STEP_NODELIST"]),
        }
    except (KeyError, ValueError) as error:
        raise UserError(
            f"srun has started several tasks, and {error} is not set as it does: use srun or torchrun"
        ) from error
    if tasks % nodes:
        raise UserError(f"{tasks} tasks on {nodes} nodes: give every node as many, with --ntasks-per-node")
    return found | {
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": str(tasks // nodes),
        "MASTER_PORT": str(SLURM_PORTS[job % len(SLURM_PORTS)]),
    }
