"""First weights of a run (initialized, from a parent run, or from a file), and the learning rate from a search."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from resnet_repro.config.arm import Recipe, Weights
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.base import Data
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.construction import deepen
from resnet_repro.models.inspect import main_path_layers
from resnet_repro.models.reconstruction import ReconstructionNet
from resnet_repro.models.transfer import load_backbone
from resnet_repro.records.entries import Candidate, FoundRate, Parent
from resnet_repro.records.layout import candidate_folders, parent_folder
from resnet_repro.records.record import find_record
from resnet_repro.training.load import load_run

MEASURED_IMAGES = 4_000  # images on which the statistics of fixed maps and their target are measured
DEEPEN_IMAGES = 4_000  # images on which batch statistics of added layers are measured


class Skip(Exception):
    """Raised if a run cannot be trained for a reason that is not an error; the reason goes into its record."""


def first_weights(
    folder: Path, settings: RunSettings, data: Data, weights: str | None = None
) -> tuple[nn.Module, Parent | None]:
    """The network of a run before its first step, in channels-last layout on the data's device, and its parent.

    The running statistics of its batch normalization are measured on data if the arm is calibrated. Raises as `_origin`.
    """
    net, parent = _origin(folder, settings, data, weights)
    assert isinstance(net, ReconstructionNet) == (settings.arm.task == "reconstruct"), (
        f"{settings.arm.name} has a network for another task than {settings.arm.task}"
    )
    if isinstance(net, ReconstructionNet) and parent is None:
        net.fixed.measure(data.batches("train", MEASURED_IMAGES))
    if images := settings.arm.calibrated_on:
        # Statistics of batches as large as those of the training, averaged with equal weights.
        update_bn(data.batches("train", images, size=settings.arm.recipe.batch_size), net)
    return net, parent


def _origin(folder: Path, settings: RunSettings, data: Data, weights: str | None) -> tuple[nn.Module, Parent | None]:
    """The network with the weights of its initialization, parent or file, and its parent.

    weights: path of the weights file that the settings name. Raises Skip if the parent diverged or was skipped, and
    UserError if the parent has no record or other data, or if the file has other content or does not fit the network.
    """
    device = data.device
    net = build(settings.arm.model, data.classes, settings.seed)
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = settings.arm.start
    if start is None:
        return net, None
    if settings.weights is not None:
        _load_from_file(net, settings.weights, weights)
        return net, None
    source = parent_folder(folder, settings)
    assert source is not None
    record = find_record(source)
    if record is None:
        raise UserError(
            f"{source} holds no finished run, but {settings.arm.name} starts from it: run {start.arm} first"
        )
    if record.status != "finished":
        raise Skip(f"its parent {start.arm} seed {settings.seed} did not finish ({record.status})")
    is_backbone = start.how in ("backbone", "other classes")
    if not is_backbone and record.settings.dataset_digest != settings.dataset_digest:
        raise UserError(f"{source} was trained on other data than its child {folder} uses: use another RUNS_DIR")
    trained = load_run(source).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start.how == "deepen":
        deepen(trained, net, data.batches("train", DEEPEN_IMAGES), start.scale, start.perturbation)
    elif is_backbone:
        load_backbone(net, trained.state_dict(), str(source))
    else:
        net.load_state_dict(trained.state_dict())
    assert record.weights_sha256 is not None
    return net, Parent(record.settings.experiment, record.arm, record.seed, record.weights_sha256, *record.schedule)


def _load_from_file(net: nn.Module, weights: Weights, path: str | None) -> None:
    from resnet_repro.models.pretrained import file_sha256, read_state

    file = Path(path or "")
    if not path or not file.is_file() or file_sha256(file) != weights.sha256:
        raise UserError(
            f"{path} does not hold the weights {weights.name} of this run: expected a file with sha256 {weights.sha256}"
        )
    load_backbone(net, read_state(file), str(file))


def found_rate(folder: Path, settings: RunSettings) -> tuple[Recipe, FoundRate | None]:
    """The recipe of a run with the learning rate that its search found, and the search for the record.

    The rate is that of the candidate with the lowest metric; if two are equal, the lower rate. Candidates that did not
    finish, or have no value, are ignored. Without a search, returns the arm's recipe and None. Raises Skip if no candidate
    is left, and UserError if a candidate has no record.
    """
    recipe, search = settings.arm.recipe, settings.arm.search
    if search is None:
        return recipe, None
    candidates: dict[str, Candidate] = {}
    scored: list[tuple[float, float, str]] = []
    for arm, source in candidate_folders(folder, settings).items():
        record = find_record(source)
        if record is None:
            raise UserError(
                f"{source} holds no finished run, but the search of {settings.arm.name} needs it: run {arm} first"
            )
        score = record.value(search.metric) if record.status == "finished" else None
        candidates[arm] = Candidate(record.recipe.learning_rate, record.weights_sha256, **{search.metric: score})
        if score is not None:
            scored.append((score, record.recipe.learning_rate, arm))
    if not scored:
        raise Skip(
            f"none of the {len(candidates)} candidates of its learning-rate search has a value of {search.metric}"
        )
    _, rate, arm = min(scored)
    return replace(recipe, learning_rate=rate), FoundRate(arm, rate, search.metric, candidates)


def pairing_key(net: nn.Module, settings: RunSettings) -> str:
    """Digest of a run's random choices: first weights on the main path, and order and augmentation of the data.

    Runs of two arms with the same digest may be compared in pairs. Shortcut projections and auxiliary heads are not part
    of it, because such arms differ in them.
    """
    digest = hashlib.sha256()
    layers = [layer for _, layer in main_path_layers(net)]
    convolutions_first = sorted(layers, key=lambda layer: isinstance(layer, nn.Linear))
    for weight in (layer.weight for layer in convolutions_first):
        digest.update(f"{list(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    recipe = settings.arm.recipe
    digest.update(
        f"{settings.dataset_digest} {recipe.validation_images} {recipe.batch_size} {recipe.padding} {recipe.flip} "
        f"{settings.seed}".encode()
    )
    options = (recipe.train_images, recipe.scale, recipe.color, settings.resolution)
    if any(options):  # without them, digests stay comparable with those of older records
        digest.update(str(options).encode())
    if recipe.order != "shuffled":  # for the same reason
        digest.update(recipe.order.encode())
    return digest.hexdigest()
