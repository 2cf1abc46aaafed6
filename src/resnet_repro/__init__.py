"""Reproduction of the key experiments of *Deep Residual Learning*.

`load_run` is imported on first use, because it imports torch.
"""

from resnet_repro.interrupts import end_at_once, is_command_line

if is_command_line():
    end_at_once()  # before all other imports, which take a quarter of a second

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from resnet_repro.training.load import load_run as load_run


def __getattr__(name: str) -> object:
    if name == "load_run":
        from resnet_repro.training.load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
