"""Reproduction of the key experiments of *Deep Residual Learning*.

`load_run`, `load_pretrained` and `load_exported` return trained networks; `runs`, `curves` and `claims` return tables
(docs/python.md). They are imported on first use, because they import torch or pandas.
"""

from resnet_repro.interrupts import end_at_once, is_command_line

if is_command_line():
    end_at_once()  # before all other imports, which take a quarter of a second

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from resnet_repro.report.frames import claims as claims
    from resnet_repro.report.frames import curves as curves
    from resnet_repro.report.frames import runs as runs
    from resnet_repro.trained.hub import load_exported as load_exported
    from resnet_repro.trained.shared import load_pretrained as load_pretrained
    from resnet_repro.training.load import load_run as load_run

_FUNCTIONS = {
    "load_run": "training.load",
    "load_pretrained": "trained.shared",
    "load_exported": "trained.hub",
    "runs": "report.frames",
    "curves": "report.frames",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _FUNCTIONS:
        return getattr(import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    if name == "claims":  # the wing, which can be called: importing any module of it sets this attribute
        return import_module(f"{__name__}.claims")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _claims(*arguments: object, **options: object) -> object:
    """The call of `resnet_repro.claims`."""
    from resnet_repro.report import frames

    return frames.claims(*arguments, **options)  # type: ignore[arg-type]
