"""The entries of a record that have fields of their own, see `records.record`. Does not import torch."""

from __future__ import annotations

from typing import Literal

import msgspec

Number = int | float


class Parent(msgspec.Struct, frozen=True):
    """The run whose weights another run starts from."""

    experiment: str
    arm: str
    seed: int
    weights_sha256: str
    """SHA-256 of the parent's final weights."""
    iterations: int
    """Steps of all schedules that led to the parent's weights."""
    published_iterations: int
    """Published steps of the same schedules."""


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run of a learning-rate search. Only the metric of the search is set; it is None if the run has no value."""

    learning_rate: float
    weights_sha256: str | None
    """SHA-256 of the run's final weights. None: diverged or skipped."""
    validation_error: float | None = None
    """Final validation error in percent."""
    validation_loss: float | None = None
    """Final validation loss in nats."""
    doublings_to_25: float | None = None
    """log2 of the steps until 25 % running training error."""
    train_error: float | None = None
    """Final training error in percent."""


class FoundRate(msgspec.Struct, frozen=True):
    """The result of a learning-rate search."""

    chosen: str
    """The candidate arm with the lowest metric."""
    learning_rate: float
    """The learning rate of the chosen arm."""
    metric: Literal["validation_error", "validation_loss", "doublings_to_25", "train_error"]
    candidates: dict[str, Candidate]
    """{arm: candidate}, all with the seed of the searching run."""

    def score(self, arm: str) -> float | None:
        """The metric of a candidate; None if it diverged or has no value."""
        return getattr(self.candidates[arm], self.metric)


class WeightsFrom(msgspec.Struct, frozen=True):
    """The source of a pretrained backbone."""

    name: str
    """Name of the published weights, or the run that trained the backbone."""
    substitute: bool
    """Whether the backbone replaces the published weights."""


class ModelFacts(msgspec.Struct, frozen=True):
    """Size and cost of a network."""

    layers: int
    """Layers with weights on the main path."""
    parameters: int
    """Trainable and frozen parameters."""
    multiply_adds: int
    """Multiply-adds of a forward pass on one image."""
    trainable_parameters: int | None = None
    """None in older records."""
    parts: tuple[tuple[str, int, int], ...] | None = None
    """(name, trainable, frozen parameters) of each top-level part and of the total. None for trained networks."""


class Energy(msgspec.Struct, frozen=True):
    """The energy of a run: of the processors or the GPUs that it used, during training and evaluation."""

    joules: float
    measured: bool
    """Whether counters of the hardware were read all the time. Otherwise at least a part is stated power times time."""
    basis: str
    """The counters with the run's share of the device, and the stated power, e.g. "RAPL, 2 of 16 cores"."""


class Dataset(msgspec.Struct, frozen=True):
    """The data set of a run."""

    name: str
    title: str
    """Name for readers."""
    digest: str
    """SHA-256 of the contents; for class folders, of the file listing."""
    standin: bool
    """Whether the data are the synthetic stand-in for the data set."""
    classes: int
    train_images: int
    """Training images in the data set."""
    test_images: int
    """Test images in the data set."""
    shape: tuple[int, ...] | None = None
    """(C, H, W) of an image at the input of the network."""
    used: dict[str, int] = {}
    """{split: images} that the run used."""
    class_images: dict[str, dict[str, int]] | None = None
    """{class: {split: images}} for class folders."""
    broken_images: int = 0
    """Images that could not be read."""
    broken: dict[str, str] = {}
    """{file: reason} of the first broken images."""
    left_out: dict[str, int] = {}
    """{kind: number} of the files in class folders that do not count as images, see `ClassFolders.left_out`."""
