"""Score a trained network on a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torchmetrics.classification import MulticlassCalibrationError

from resnet_repro.claims.statistics import Interval, wilson_interval
from resnet_repro.data.base import Data, StreamConfig
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.data.folder_stream import FolderData
from resnet_repro.data.folders import FOLDERS_PREFIX, IMAGENET, names_folders, scan
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import FIXED_SCALINGS, InMemoryData, Normalization
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.errors import UserError
from resnet_repro.hardware import best_device, cpu_cores
from resnet_repro.parsing import choice
from resnet_repro.trained.network import TrainedNet

CALIBRATION_BINS = 15
Scaled = InMemoryData | FolderData
SCALINGS = ("pixel-mean", "standard", *FIXED_SCALINGS)


@dataclass(frozen=True)
class Measured:
    """The score of a network on a split of a data set."""

    split: str
    images: int
    error: Interval
    """Error in percent, with the interval for other images of the kind."""
    loss: float
    """Mean cross-entropy in nats."""
    calibration_error: float
    """Expected calibration error in percentage points: the mean distance between confidence and accuracy over 15 bins of
    equal width, weighted by their images (C. Guo et al., *On Calibration of Modern Neural Networks*, 2017).
    """


def open_images(
    trained: TrainedNet,
    sources: DataSources,
    scaling: str | None = None,
    device: torch.device | None = None,
    workers: int | None = None,
    skip_broken: bool = False,
) -> Scaled:
    """Open the data set of a network, with pixels scaled as in its training.

    scaling: another scaling, see `parse_scaling`. device: by default the best of this machine. workers, skip_broken: for
    class folders only, see `FolderData`; by default one worker per core. Raises UserError if the data are not found or do
    not fit the network.
    """
    name, recipe = trained.dataset, trained.recipe
    if not names_folders(name) and (workers is not None or skip_broken):
        option = "BROKEN=skip" if workers is None else f"WORKERS={workers}"
        raise UserError(f"{option} applies to class folders only: leave it out, or set DATASET to their path")
    numbers = None
    if scaling is not None:
        scaling, numbers = parse_scaling(scaling)
        recipe = replace(recipe, scaling=scaling)
    config = StreamConfig(recipe, 0, 0, device or torch.device(best_device()), trained.resolution)
    if names_folders(name):
        data: Scaled = FolderData(scan(Path(name)), config, cpu_cores() if workers is None else workers, skip_broken)
    elif name.startswith(FOLDERS_PREFIX) or name == IMAGENET:
        raise UserError(f"{trained.name} is scored on class folders: set DATASET to the path of its images ({name})")
    else:
        choice(name, CATALOGUE, "data set")
        data = InMemoryData(obtain(name, sources), config)
    if data.classes != trained.classes:
        raise UserError(
            f"{data.facts.title} has {data.classes} classes, and {trained.name} of {trained.origin} tells {trained.classes}: "
            "set DATASET to the data it was trained on"
        )
    if (channels := _channels(trained)) not in (None, data.shape[0]):
        raise UserError(
            f"{data.facts.title} has images of {data.shape[0]} channels, and {trained.name} takes {channels}: use another "
            "DATASET"
        )
    if numbers is not None:
        mean, std = (255 * torch.tensor(values, device=data.device).reshape(-1, 1, 1) for values in numbers)
        if len(mean) not in (1, data.shape[0]) or len(std) not in (1, data.shape[0]):
            raise UserError(
                f"{len(mean)} means do not fit images of {data.shape[0]} channels: expected one for each channel"
            )
        data.normalization = Normalization(mean, std)
    return data


def parse_scaling(text: str) -> tuple[str, tuple[list[float], list[float]] | None]:
    """Parse a scaling of pixels: a name of `Recipe.scaling`, or mean and standard deviation of pixels in [0, 1] by channel.

    Returns the name of the scaling, and the numbers, e.g. of "0.49,0.48,0.45/0.2,0.2,0.2", in place of which the name is
    "unit". Raises UserError if it is neither.
    """
    if text in SCALINGS:
        return text, None
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in text.split("/"))
    except ValueError:
        mean, std = [], []
    if (
        mean
        and len(mean) == len(std)
        and all(0 < value < 10 for value in std)
        and all(abs(value) < 10 for value in mean)
    ):
        return "unit", (mean, std)
    raise UserError(
        f"invalid SCALING {text!r}: expected one of {', '.join(SCALINGS)}, or mean and standard deviation of pixels in [0, 1] "
        "by channel, e.g. 0.49,0.48,0.45/0.25,0.24,0.26"
    )


def measure(trained: TrainedNet, data: Data, precision: str, split: str = "test") -> Measured:
    """Score a network on all images of a split, "test" or "train" (without augmentation).

    precision: "bf16" or "fp32". Raises UserError if the network cannot process the images.
    """
    net = trained.net.to(device=data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    _check_size(trained, data)
    calibration = MulticlassCalibrationError(data.classes, CALIBRATION_BINS, "l1").to(data.device)
    score = evaluate(
        net,
        data.batches(split),
        data.device,
        precision,
        observe=lambda logits, predicted, labels: calibration.update(predicted.exp(), labels),
    )
    wrong = round(score.error * score.images / 100)
    error = wilson_interval(wrong, score.images)
    return Measured(split, score.images, error, score.loss, 100 * float(calibration.compute()))


def measured_lines(trained: TrainedNet, data: Data, scaling: str, precision: str, scores: list[Measured]) -> list[str]:
    """What was scored and the scores, as lines for the console."""
    lines = [f"{trained.name}, weights of {trained.origin}", f"{data.facts.title}, scaling {scaling}, {precision}"]
    if data.facts.standin:
        lines.append("STAND-IN DATA: generated images, no photographs")
    for score in scores:
        lines.append(
            f"{score.split:<5}  error {score.error.estimate:.2f} % (95 % interval over images {score.error.low:.2f} to "
            f"{score.error.high:.2f})   loss {score.loss:.4f} nats   calibration error {score.calibration_error:.2f} points   "
            f"{score.images:,} images"
        )
    return lines


def _check_size(trained: TrainedNet, data: Data) -> None:
    """Raise UserError if the network cannot process images of this size."""
    try:
        with torch.inference_mode():
            trained.net(torch.zeros(1, *data.shape, device=data.device))
    except RuntimeError as error:  # torch's answer to a size that a layer cannot process
        shape, reason = "×".join(map(str, data.shape)), str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{trained.name} cannot process images of {shape} ({reason}): use another DATASET") from error


def _channels(trained: TrainedNet) -> int | None:
    """Channels of the images that the first convolution takes; None without convolutions."""
    return next((layer.in_channels for layer in trained.net.modules() if isinstance(layer, torch.nn.Conv2d)), None)
