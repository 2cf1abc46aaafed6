"""Diagnostic: test error without one of the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.diagnostics.diagnostic import Diagnostic, DiagnosticContext
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.models.blocks import BasicBlock
from resnet_repro.tables import Table

BLOCK_IMAGES = 2_000


class Blocks(Diagnostic):
    """Test error of the finished network after leaving out each of its blocks in turn (A. Veit et al., 2016).

    A residual block is replaced by its shortcut; a block of a plain net, two convolutions, by nothing. A plain block that
    changes the size of its input cannot be left out. Running statistics are not measured again. The error is that on the
    first 2,000 test images.
    Writes blocks.csv: one row per block, and a row "all" for the whole network. Diagnostics, over the blocks that do not
    change the size: block_loss, median increase of the error in percentage points; block_share, the same in percent of
    the difference between the error of guessing and that of the whole network, which is what the network has learned.
    block_share is left out for a network that has learned nothing.
    """

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "blocks.csv", ("place", "name", "changes_size", "error"))]

    def finish(self, net: nn.Module) -> dict[str, float]:
        whole = self._error(net)
        rows = [self._row(0, "all", False, whole)]
        errors = []
        for place, (name, block) in enumerate(_blocks(net), start=1):
            replacement = shortcut_of(block)
            if replacement is None:
                continue
            with _replaced(block, replacement):
                error = self._error(net)
            rows.append(self._row(place, name, changes_size(block), error))
            if not changes_size(block):
                errors.append(error)
        self.tables[0].rewind(-1)  # an earlier attempt may have written it before it was killed
        self.tables[0].append(rows)
        return block_diagnostics(whole, errors, self.context.data.classes)

    def _row(self, place: int, name: str, changes: bool, error: float) -> dict[str, object]:
        step = self.context.settings.stop_at
        return {"iteration": step, "place": place, "name": name, "changes_size": int(changes), "error": error}

    def _error(self, net: nn.Module) -> float:
        context = self.context
        batches = context.data.batches("test", BLOCK_IMAGES)
        return evaluate(net, batches, context.device, context.settings.precision).error


def block_diagnostics(whole: float, errors: list[float], classes: int) -> dict[str, float]:
    """The diagnostics of `Blocks` from the error of the whole network and those without a block, in percent."""
    if not errors:
        return {}
    loss = median(errors) - whole
    learned = 100 * (1 - 1 / classes) - whole
    return {"block_loss": loss} | ({"block_share": 100 * loss / learned} if learned > 0 else {})


def changes_size(block: BasicBlock) -> bool:
    """Whether a block has another number of channels or another map at its output than at its input."""
    return block.conv1.in_channels != block.conv1.out_channels or block.conv1.stride != (1, 1)


def shortcut_of(block: BasicBlock) -> Callable[[Tensor], Tensor] | None:
    """What remains of a block without its convolutions; None if nothing of the right size does."""
    shortcut = block.downsample
    if shortcut is not None:
        return lambda x: F.relu(shortcut(x))
    return None if changes_size(block) else lambda x: x


@contextmanager
def _replaced(block: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    block.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del block.forward  # the method of the class again


def _blocks(net: nn.Module) -> list[tuple[str, BasicBlock]]:
    """Names and blocks of the stages layer1, layer2, ... Raises ValueError for a network without `BasicBlock`s."""
    found = [(name, module) for name, module in net.named_modules() if isinstance(module, BasicBlock)]
    if not found:
        raise ValueError(f"{type(net).__name__} has no blocks to leave out: expected a CIFAR network")
    return cast(list[tuple[str, BasicBlock]], found)
