"""Network architectures, one file a family. A new architecture is one new file here.

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
    """The function that makes the network of `spec` from its options."""
    module, function = spec.builder.rsplit(".", 1)
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)


def build(spec: ModelSpec, classes: int, seed: int) -> nn.Module:
    """The network of `spec` with `classes` outputs, initialized on the CPU from `seed` alone.

    Initializing on the CPU, from a generator of its own, gives the same weights whatever device trains them.
    """
    return builder(spec)(classes=classes, seed=seed, **spec.options)
