"""Structure of a network, measured on its modules: shares of memory, parameters and operations, and map sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, prod

from torch import nn

from resnet_repro.diagnostics.complexity import LayerCost, parameter_count
from resnet_repro.diagnostics.structure import SPATIAL, Shape, side_of, stage_ends, structure, watched_pass


def measures(net: nn.Module, rows: Sequence[LayerCost], shape: Shape) -> dict[str, float]:
    """Measures of `net` by name, from its `rows` (`complexity.layer_costs`) and one pass of an image of `shape` (C, H, W).

    Shares are percentages of the network without auxiliary heads. A measure that does not apply to `net` is left out.
    Besides those of `structure.structure`:

    memory_peak_depth: position of the layer with the largest output (the first such layer); 0: first layer, 100: last.
    early_memory_share: share of memory in the first third of the convolutions, rounded up.
    fc_params_share, conv_macs_share: share of parameters in linear layers, of multiply-adds in convolutions.
    fc_memory_share: share of memory in linear layers.
    operations: multiply-adds of convolutions and linear layers, and numbers that pooling compares or adds.
    conv_memory_rises: convolutions with a larger output than the convolution before.
    macs_peak_conv: place among the convolutions, counted from 1, of the one with the most multiply-adds.
    filters_data_peak_conv: the same for the largest product of filters and numbers in the output.
    fc_layers: number of linear layers.
    fc_inputs: inputs of the first linear layer.
    fc_jump: parameters of the first linear layer divided by those of the largest convolution.
    fc_params_rises: linear layers with more parameters than the one before.
    fc_params_saved: parameters that linear layers save because the last map is pooled before them, in percent of the
    parameters that they would have without pooling.
    first_kernel, first_stride: of the first convolution, along one side, in pixels.
    conv3_filters, conv4_filters, conv5_filters: output channels of the third to fifth convolution.
    receptive_field: see `receptive_field`; only for networks without branches.
    pool_params, identity_params, projection_params: learned scalars in pooling layers, in shortcuts without a convolution,
    and in shortcuts with one.
    map_growths: steps of the main path at which the map gets larger.
    channel_drops: stages with fewer channels at their end (`stage_ends`) than the previous stage.
    map_shrinkage: side of the first map divided by that of the last.
    channel_growth: channels at the end of the last stage divided by those at the end of the first.
    running_statistics: means and variances of training images that normalization layers keep for evaluation.
    """
    trunk = [row for row in rows if not row.in_heads]
    seen = watched_pass(net, shape)
    found = structure(seen, shape)
    return (
        _shares(trunk)
        | _course(trunk)
        | _linear(trunk, seen.path)
        | _first(net, trunk)
        | (_field(net, trunk) if found["branches"] <= 1 else {})
        | _free_parts(net, trunk)
        | _path_measures(seen.path)
        | found
        | {"running_statistics": _running_statistics(net)}
    )


def _running_statistics(net: nn.Module) -> int:
    names = ("running_mean", "running_var")
    return sum(buffer.numel() for name, buffer in net.named_buffers() if name.rpartition(".")[2] in names)


def receptive_field(layers: Sequence[nn.Module]) -> int:
    """Side, in pixels, of the input region that one output number depends on, for layers in a row.

    A layer with kernel k adds (k-1) * dilation steps, each as long as the product of the preceding strides. A shortcut
    past some of the layers does not enlarge the region.
    """
    field, step = 1, 1
    for layer in layers:
        kernel, stride, dilation = (side_of(layer, name, 1) for name in ("kernel_size", "stride", "dilation"))
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def _shares(trunk: Sequence[LayerCost]) -> dict[str, float]:
    memory = sum(row.memory_kib for row in trunk)
    params = sum(row.params for row in trunk)
    macs = {kind: sum(row.macs for row in trunk if row.kind == kind) for kind in ("conv", "fc")}
    layers = [row for row in trunk if row.kind != "norm"]
    largest = max(range(len(layers)), key=lambda place: layers[place].memory_kib)
    convolutions = [row for row in trunk if row.kind == "conv"]
    early = convolutions[: ceil(len(convolutions) / 3)]
    values = {
        "memory_peak_depth": 100 * largest / max(1, len(layers) - 1),
        "early_memory_share": 100 * sum(row.memory_kib for row in early) / memory,
        "fc_memory_share": 100 * sum(row.memory_kib for row in trunk if row.kind == "fc") / memory,
        "operations": sum(row.macs for row in trunk),
    }
    if params:
        values["fc_params_share"] = 100 * sum(row.params for row in trunk if row.kind == "fc") / params
        values["conv_macs_share"] = 100 * macs["conv"] / sum(macs.values())
    return values


def _course(trunk: Sequence[LayerCost]) -> dict[str, float]:
    """How costs go from layer to layer."""
    convolutions = [row for row in trunk if row.kind == "conv"]
    linear = [row for row in trunk if row.kind == "fc"]
    values: dict[str, float] = {}
    if convolutions:
        products = [row.output[0] * prod(row.output) for row in convolutions]
        macs = [row.macs for row in convolutions]
        values["conv_memory_rises"] = _rises([row.memory_kib for row in convolutions])
        values["macs_peak_conv"] = 1 + macs.index(max(macs))
        values["filters_data_peak_conv"] = 1 + products.index(max(products))
    if linear:
        values["fc_params_rises"] = _rises([row.params for row in linear])
    if convolutions and linear:
        values["fc_jump"] = linear[0].params / max(row.params for row in convolutions)
    return values


def _rises(values: Sequence[float]) -> int:
    return sum(after > before for before, after in pairwise(values))


def _linear(trunk: Sequence[LayerCost], path: Sequence[Shape]) -> dict[str, float]:
    linear = [row for row in trunk if row.kind == "fc"]
    values: dict[str, float] = {"fc_layers": len(linear)}
    if linear:
        inputs, outputs = linear[0].macs // linear[0].output[0], linear[0].output[0]
        values["fc_inputs"] = inputs
        if not path:
            return values
        saved = (prod(path[-1]) - inputs) * outputs
        values["fc_params_saved"] = 100 * saved / (saved + sum(row.params for row in linear))
    return values


def _first(net: nn.Module, trunk: Sequence[LayerCost]) -> dict[str, float]:
    convolutions = [row for row in trunk if row.kind == "conv"]
    if not convolutions:
        return {}
    conv = net.get_submodule(convolutions[0].name)
    values: dict[str, float] = {"first_kernel": side_of(conv, "kernel_size"), "first_stride": side_of(conv, "stride")}
    return values | {
        f"conv{place}_filters": convolutions[place - 1].output[0] for place in (3, 4, 5) if place <= len(convolutions)
    }


def _field(net: nn.Module, trunk: Sequence[LayerCost]) -> dict[str, float]:
    modules = dict(net.named_modules())
    main = [modules[row.name] for row in trunk if row.name in modules and "downsample" not in row.name.split(".")]
    return {"receptive_field": receptive_field([m for m in main if isinstance(m, SPATIAL)])}


def _free_parts(net: nn.Module, trunk: Sequence[LayerCost]) -> dict[str, float]:
    values: dict[str, float] = {}
    pooling = [row.params for row in trunk if row.kind == "pool"]
    if pooling:
        values["pool_params"] = sum(pooling)
    shortcuts = [module for name, module in net.named_modules() if name.split(".")[-1] == "downsample"]
    for name, projects in (("identity_params", False), ("projection_params", True)):
        group = [s for s in shortcuts if any(isinstance(m, nn.Conv2d) for m in s.modules()) == projects]
        if group:
            values[name] = sum(parameter_count(shortcut) for shortcut in group)
    return values


def _path_measures(path: Sequence[Shape]) -> dict[str, float]:
    ends = stage_ends(path)
    if not ends:
        return {}
    return {
        "map_growths": sum(after[1] > shape[1] or after[2] > shape[2] for shape, after in pairwise(path)),
        "channel_drops": sum(after[0] < end[0] for end, after in pairwise(ends)),
        "map_shrinkage": path[0][1] / path[-1][1],
        "channel_growth": ends[-1][0] / ends[0][0],
    }
