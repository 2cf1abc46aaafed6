"""Short constructors of arms for experiment files."""

from __future__ import annotations

from typing import Any

from resnet_repro.config.arm import Arm, CountedArm, ModelSpec, Recipe

ARM_FIELDS = (
    "control",
    "share",
    "length",
    "start",
    "watch",
    "activations",
    "dataset",
    "features",
    "read_every",
    "calibrated_on",
    "precision",
)


def cifar_arm(kind: str, depth: int, recipe: Recipe, *, name: str | None = None, **options: Any) -> Arm:
    """An arm of the CIFAR family: plain-`depth` or resnet-`depth`.

    options: fields of `Arm`, and arguments of `models.cifar.cifar_net`. Arguments that differ from the paper appear in
    the default name: resnet-20-B, plain-56-no-bn, resnet-20-group, resnet-20-single (a shortcut around every layer),
    plain-20-over-64 (batch statistics over 64 images), plain-56-identity, resnet-56-last-0 (last scale of its blocks).
    """
    fields = {field: options.pop(field) for field in ARM_FIELDS if field in options}
    model = ModelSpec("cifar.cifar_net", {"kind": kind, "depth": depth, **options})
    return Arm(name or _cifar_name(kind, depth, **options), model, recipe, **fields)


def imagenet_arm(kind: str, depth: int, recipe: Recipe, *, name: str | None = None, **options: Any) -> Arm:
    """An arm of the ImageNet family: plain-`depth` or resnet-`depth`.

    options: fields of `Arm`, and arguments of `models.imagenet.imagenet_net`. A shortcut option other than B appears in
    the default name.
    """
    fields = {field: options.pop(field) for field in ARM_FIELDS if field in options}
    model = ModelSpec("imagenet.imagenet_net", {"kind": kind, "depth": depth, **options})
    shortcut = options.get("shortcut", "B")
    return Arm(name or f"{kind}-{depth}" + ("" if shortcut == "B" else f"-{shortcut}"), model, recipe, **fields)


def reconstruction_arm(
    kind: str, depth: int, target: str, recipe: Recipe, *, name: str | None = None, **fields: Any
) -> Arm:
    """An arm that maps feature maps to a target: plain-`depth`-`target` or residual-`depth`-`target`.

    fields: fields of `Arm`. The network is that of `models.reconstruction.reconstruction_net`.
    """
    model = ModelSpec("reconstruction.reconstruction_net", {"kind": kind, "depth": depth, "target": target})
    return Arm(name or f"{kind}-{depth}-{target}", model, recipe, task="reconstruct", **fields)


def counted_arm(
    name: str, builder: str, shape: tuple[int, int, int], classes: int = 1000, *, control: bool = False, **options: Any
) -> CountedArm:
    """A network to count on an image of `shape` (C, H, W). options: arguments of the builder."""
    return CountedArm(name, ModelSpec(builder, options), shape, classes, control)


def _cifar_name(
    kind: str,
    depth: int,
    shortcut: str = "A",
    norm: str = "batch",
    span: int = 2,
    statistics_over: int | None = None,
    bias: bool = False,
    branch_scale: float | None = None,
    init: str = "he",
    last_scale: float | None = None,
) -> str:
    name = f"{kind}-{depth}"
    if shortcut != "A":
        name += f"-{shortcut}"
    if norm != "batch":
        name += {"none": "-no-bn"}.get(norm, f"-{norm}")
    name += "-single" if span == 1 else ""
    name += "" if statistics_over is None else f"-over-{statistics_over}"
    name += "-bias" if bias else ""
    name += "" if branch_scale is None else f"-branch-{branch_scale:g}"
    name += "" if init == "he" else f"-{init}"
    return name + ("" if last_scale is None else f"-last-{last_scale:g}")
