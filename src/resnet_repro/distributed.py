"""Processes that train one run together (DDP): their ranks, their shares of the work, and collective operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_repro.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class DistContext:
    """The position of this process in a group of processes. The defaults describe a single process.

    All processes must call the collective methods, in the same order.
    """

    rank: int = 0
    """Number of this process in the group, from 0."""
    size: int = 1
    """Number of processes in the group."""
    local_rank: int = 0
    """Number of this process on its machine, from 0."""
    local_size: int = 1
    """Number of processes on its machine."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The slice of `count` items that belongs to this process.

        The slices of all ranks cover each item once, in order of rank. Their lengths differ by at most one, and may be 0.
        """
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, element by element, in place."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(values)
        return values

    def all_reduce_max(self, value: int) -> int:
        """The largest value over all processes. Waits for the other processes but not for a device."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed

        largest = torch.tensor([value])
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return int(largest.item())

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0 in all processes. The value must be picklable."""
        if self.size == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all processes, in order of rank."""
        if self.size == 1:
            return [value]
        import torch.distributed

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def same_buffers(self, net: nn.Module) -> None:
        """Copy the buffers (batch statistics) of rank 0 to all processes, as DDP does before each training step."""
        if self.size > 1:
            import torch.distributed

            for buffer in net.buffers():
                torch.distributed.broadcast(buffer, src=0)


ALONE = DistContext()


def dist_context(environment: Mapping[str, str]) -> DistContext:
    """Read the position of this process from the variables of torchrun. `ALONE` if WORLD_SIZE is unset, empty or 1.

    Raises UserError if the variables are missing, invalid or inconsistent.
    """
    if environment.get("WORLD_SIZE", "").strip() in ("", "1"):
        return ALONE
    try:
        rank, size, local_rank = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        local_size = int(environment["LOCAL_WORLD_SIZE"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"WORLD_SIZE={environment['WORLD_SIZE']} is set, but other variables of torchrun are missing or invalid "
            f"({error}): start with torchrun or srun, or unset WORLD_SIZE"
        ) from error
    if size < 1 or local_size < 1 or size % local_size or not 0 <= rank < size:
        raise UserError(
            f"inconsistent RANK={rank}, WORLD_SIZE={size} and LOCAL_WORLD_SIZE={local_size}: expected the same number of "
            "processes on each machine, and a rank from 0 to WORLD_SIZE - 1"
        )
    return DistContext(rank, size, local_rank, local_size)
