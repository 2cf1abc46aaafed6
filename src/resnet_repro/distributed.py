"""The processes that carry out one run together (DDP): who they are, whose part of the work is whose, what they sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_repro.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class DistContext:
    """`size` processes, of which this one is number `rank`; by default one that is alone.

    local_rank, local_size: its number among those of its machine, and how many these are.
    The methods that talk to the others must be called by all of them, in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes the run's files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in a row. The parts of all cover each thing once, in the ranks' order,
        and differ by one at most; those of fewer things than processes can be empty.
        """
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, element by element, in place."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(values)
        return values

    def all_reduce_max(self, value: int) -> int:
        """The largest value of all processes. Waits for the other processes, and for no device."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed

        found = torch.tensor([value])
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return int(found.item())

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, in all processes; any object that can be pickled."""
        if self.size == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        import torch.distributed

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def same_buffers(self, net: nn.Module) -> None:
        """Give all processes the main one's buffers, as DDP does before each training step: its batch statistics count."""
        if self.size > 1:
            import torch.distributed

            for buffer in net.buffers():
                torch.distributed.broadcast(buffer, src=0)


ALONE = DistContext()


def dist_context(environment: Mapping[str, str]) -> DistContext:
    """This process's place among those that torchrun, or whoever sets its variables, has started; `ALONE` without any.

    Raises UserError where the variables contradict each other.
    """
    if environment.get("WORLD_SIZE", "").strip() in ("", "1"):
        return ALONE
    try:
        rank, size, local_rank = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        local_size = int(environment["LOCAL_WORLD_SIZE"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"WORLD_SIZE={environment['WORLD_SIZE']} is set, and {error} is not as torchrun sets it: start with torchrun "
            "or srun, or unset WORLD_SIZE"
        ) from error
    if size < 1 or local_size < 1 or size % local_size or not 0 <= rank < size:
        raise UserError(
            f"rank {rank} of {size} processes, {local_size} on this machine: start as many on every machine"
        )
    return DistContext(rank, size, local_rank, local_size)
