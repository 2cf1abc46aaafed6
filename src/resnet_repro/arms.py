"""Arms in one line each, for the experiment files."""

from __future__ import annotations

from typing import Any

from resnet_repro.experiment import Arm, ModelSpec, Recipe


def cifar_arm(
    kind: str, depth: int, recipe: Recipe, *, control: bool = False, share: float = 1.0, **options: Any
) -> Arm:
    """plain-`depth` or resnet-`depth` of the CIFAR family, named so; `options` as `models.cifar.cifar_net` takes them.

    Options other than the paper's show in the name: resnet-20-B, plain-56-no-bn.
    """
    name = f"{kind}-{depth}"
    if (shortcut := options.get("shortcut", "A")) != "A":
        name += f"-{shortcut}"
    if (norm := options.get("norm", "batch")) != "batch":
        name += {"none": "-no-bn"}.get(norm, f"-{norm}")
    model = ModelSpec("cifar.cifar_net", {"kind": kind, "depth": depth, **options})
    return Arm(name, model, recipe, control=control, share=share)
