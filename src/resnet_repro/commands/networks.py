"""Commands on networks and their weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from resnet_repro.commands.shared import existing_runs_dir, print_lines, sources_of
from resnet_repro.errors import UserError

if TYPE_CHECKING:
    pass


def show_complexity(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.diagnostics.complexity import build_on_meta, format_shape, layer_costs, layer_lines
    from resnet_repro.models.catalogue import catalogued, parse_shape

    net = catalogued(options.net)
    shape = net.shape if options.input is None else parse_shape(options.input)
    try:
        rows = layer_costs(build_on_meta(net.model, net.classes), shape)
    except RuntimeError as error:  # torch's answer to a size that a layer cannot process
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{options.net} cannot process images of {format_shape(shape)} ({reason}): expected {format_shape(net.shape)}"
        ) from error
    print_lines([f"{options.net}, one image of {format_shape(shape)}", "", *layer_lines(rows)], console)
    return 0


def evaluate(options: argparse.Namespace, console: Console) -> int:
    import torch

    from resnet_repro.hardware import best_device, gpu_count, gpu_trouble, usable_gpus
    from resnet_repro.launch.slots import parse_devices
    from resnet_repro.trained.measure import measure, measured_lines, open_images
    from resnet_repro.trained.network import find_trained

    trained = find_trained(options.net, options.weights, options.dataset)
    device, *_ = parse_devices(options.devices or "auto", best_device(), gpu_count(), usable_gpus(), gpu_trouble())
    data = open_images(
        trained,
        sources_of(options),
        options.scaling,
        torch.device(device),
        options.workers,
        options.broken == "skip",
    )
    precision = options.precision or trained.precision or "fp32"
    scores = [measure(trained, data, precision, split) for split in ("test", *(["train"] if options.train else []))]
    scaling = options.scaling or trained.recipe.scaling
    print_lines(measured_lines(trained, data, scaling, precision, scores), console)
    return 0


def export(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.trained.hub import export as write
    from resnet_repro.trained.network import find_trained

    trained = find_trained(options.net, dataset=options.dataset)
    print_lines(write(trained, Path(options.folder), sources_of(options)), console)
    return 0


def pick_weights(options: argparse.Namespace, console: Console) -> int:
    from resnet_repro.design.registry import load_experiment
    from resnet_repro.trained.pick import pick_weights as pick
    from resnet_repro.trained.shared import Repository

    print_lines(pick(load_experiment(options.experiment), existing_runs_dir(options), Repository()), console)
    return 0
