"""Reproduction of the key experiments of *Deep Residual Learning*.

The functions that load networks are imported on first use, because they import torch.
"""

from resnet_repro.interrupts import end_at_once, is_command_line

if is_command_line():
    end_at_once()  # before all other imports, which take a quarter of a second

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from resnet_repro.trained.hub import load_exported as load_exported
    from resnet_repro.trained.shared import load_pretrained as load_pretrained
    from resnet_repro.training.load import load_run as load_run

_FUNCTIONS = {"load_run": "training.load", "load_pretrained": "trained.shared", "load_exported": "trained.hub"}


def __getattr__(name: str) -> object:
    if name in _FUNCTIONS:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
