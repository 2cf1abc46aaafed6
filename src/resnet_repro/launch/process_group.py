"""Multi-process launches by torchrun or srun: rank, world size and rendezvous address of this process.

The processes of such a study train each run together, on one or several machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resnet_repro.distributed import DistContext, dist_context
from resnet_repro.errors import UserError

SLURM_PORTS = range(20_000, 40_000)  # rendezvous ports under srun, chosen by job number


@dataclass(frozen=True)
class Group:
    """The group of processes that torchrun or srun started, as seen from this process."""

    dist: DistContext
    """Rank and size of this process's group."""
    address: str
    """Host of the main process."""
    port: int
    """Rendezvous port of the group; run number `i` uses port + 1 + i."""

    def environment(self, run: int) -> dict[str, str]:
        """Environment variables for the process of run number `run`. Each run has a different port."""
        dist = self.dist
        return {
            "RANK": str(dist.rank),
            "WORLD_SIZE": str(dist.size),
            "LOCAL_RANK": str(dist.local_rank),
            "LOCAL_WORLD_SIZE": str(dist.local_size),
            "GROUP_RANK": str(dist.rank // dist.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port + 1 + run),
            "TORCHELASTIC_USE_AGENT_STORE": "False",  # torchrun's own store only serves one rendezvous
        }


def group_of(environment: Mapping[str, str]) -> Group | None:
    """The process group that torchrun or srun started this process in; None for a single process.

    Raises UserError if the environment variables are incomplete or contradict each other.
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
            f"WORLD_SIZE={dist.size} is set, but torchrun's other variables are missing or invalid ({error}): start with "
            "torchrun or srun"
        ) from error


def _from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """torchrun's variables, derived from those of srun."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    try:
        tasks, nodes = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_STEP_NUM_NODES"])
        job = int(environment["SLURM_JOB_ID"])
        variables = {
            "RANK": environment["SLURM_PROCID"],
            "LOCAL_RANK": environment["SLURM_LOCALID"],
            "MASTER_ADDR": SLURMEnvironment.resolve_root_node_address(environment["SLURM_STEP_NODELIST"]),
        }
    except (KeyError, ValueError) as error:
        raise UserError(
            f"srun started several tasks, but its variables are missing or invalid ({error}): start with srun or torchrun"
        ) from error
    if tasks % nodes:
        raise UserError(f"{tasks} tasks cannot be divided evenly among {nodes} nodes: use --ntasks-per-node")
    return variables | {
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": str(tasks // nodes),
        "MASTER_PORT": str(SLURM_PORTS[job % len(SLURM_PORTS)]),
    }
