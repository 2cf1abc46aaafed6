"""Network architectures, one file per family. A new architecture is a new file here.

May import: config and the modules at the root; never data.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from resnet_repro.config.arm import ModelSpec

if TYPE_CHECKING:
    from torch import nn


def builder(spec: ModelSpec) -> Callable[..., nn.Module]:
    """Return the function that builds the network of `spec` from its options."""
    module, function = spec.builder.rsplit(".", 1)
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)


def build(spec: ModelSpec, classes: int, seed: int) -> nn.Module:
    """Return the network of `spec` with `classes` outputs, on the CPU, initialized from `seed`.

    The weights depend on `seed` alone: they are drawn on the CPU from a separate generator.
    """
    return builder(spec)(classes=classes, seed=seed, **spec.options)
