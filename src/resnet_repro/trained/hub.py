"""Export a trained network: gather what its folder needs, and write it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from resnet_repro.data.sources import DataSources
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.weights import load_strictly, state_sha256
from resnet_repro.trained.card import model_card, provenance, siblings_of
from resnet_repro.trained.export import CARD, FORMAT, LIBRARY, ExportedConfig, read_exported, write_exported
from resnet_repro.trained.measure import open_images
from resnet_repro.trained.network import TrainedNet


def load_exported(folder: str | Path) -> nn.Module:
    """Return the network of a folder that `resnet-repro export` wrote, in evaluation mode on the CPU.

    Raises UserError if the folder is incomplete, or if its weights do not have the digest that it names.
    """
    config, state = read_exported(Path(folder))
    net = build(config.architecture, config.classes, 0)
    load_strictly(net, state, str(folder))
    return net.eval()


def export(trained: TrainedNet, folder: Path, sources: DataSources) -> list[str]:
    """Write a trained network to a folder for the Hugging Face Hub, see `write_exported`. Returns lines for the console.

    sources: places of its data set, from whose training images the normalization of the pixels is computed.
    Raises UserError for a network without a record, and for data of another digest than the record's.
    """
    record = trained.record
    if record is None or record.status != "finished":
        raise UserError(
            f"{trained.name} of {trained.origin} has no record of its training: expected the folder of a finished run, or a "
            "network of the repository's weights, e.g. resnet-20"
        )
    data = open_images(trained, sources, device=torch.device("cpu"))
    if data.digest != record.dataset.digest:
        raise UserError(
            f"{data.facts.title} here has the digest {data.digest[:12]}…, and {trained.name} was trained on "
            f"{record.dataset.digest[:12]}…: set DATASET or DATA_DIR to that data"
        )
    state, siblings = trained.net.state_dict(), siblings_of(record)
    config = ExportedConfig(
        library=LIBRARY,
        format=FORMAT,
        name=trained.name,
        architecture=trained.model,
        classes=trained.classes,
        class_names=data.facts.class_names,
        input=data.shape,
        scaling=trained.recipe.scaling,
        recipe=trained.recipe,
        dataset=record.settings.dataset,
        dataset_digest=record.dataset.digest,
        resolution=trained.resolution,
        precision=record.precision,
        weights_sha256=state_sha256(state),
        provenance=provenance(record, siblings),
    )
    write_exported(folder, config, state, data.normalization, model_card(config, record, siblings))
    return [
        f"exported {trained.name} to {folder}",
        f"to upload it: hf upload USER/{trained.name} {folder}",
        f"its card: {folder / CARD}",
    ]
