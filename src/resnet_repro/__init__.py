"""Reproduction of the key experiments of *Deep Residual Learning*.

`load_run` is imported on first use, because it imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_repro.interrupts import end_at_once, is_command_line

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resnet_repro.training.load import load_run as load_run


if is_command_line():
    end_at_once()  # here, since the imports of the command line take a quarter of a second


def __getattr__(name: str) -> Any:
    if name == "load_run":
        from resnet_repro.training.load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
