"""A trained network as a folder for the Hugging Face Hub: weights, configuration, normalization of the pixels, card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resnet_repro import __version__
from resnet_repro.config.arm import ModelSpec, Recipe
from resnet_repro.config.settings import as_json
from resnet_repro.errors import UserError, os_reason
from resnet_repro.files import read_json, typed, write_json
from resnet_repro.models.weights import save_state, state_sha256

if TYPE_CHECKING:
    from resnet_repro.data.stream import Normalization

CONFIG, MODEL, NORMALIZATION, CARD = "config.json", "model.safetensors", "normalization.safetensors", "README.md"
LIBRARY = "resnet-repro"
FORMAT = 1


@dataclass(frozen=True)
class ExportedConfig:
    """The content of config.json: what it takes to build the network again and to score it."""

    library: str
    """Always `LIBRARY`."""
    format: int
    """Version of the folder's format."""
    name: str
    """Name for readers, e.g. "resnet-20"."""
    architecture: ModelSpec
    classes: int
    class_names: tuple[str, ...]
    """Names of the outputs, in their order."""
    input: tuple[int, ...]
    """(C, H, W) of an image at the input of the network."""
    scaling: str
    """Scaling of the pixels, see `Recipe.scaling`; its numbers are in normalization.safetensors."""
    recipe: Recipe
    """The recipe of the training."""
    dataset: str
    """Name of the data set in the catalogue of this project; names of class folders begin with "folders-"."""
    dataset_digest: str
    resolution: int | None
    """Side to which images are resized. None: they keep their size."""
    precision: str
    """Arithmetic of the scores, "bf16" or "fp32"."""
    weights_sha256: str
    """Digest of the weights, see `models.weights.state_sha256`."""
    provenance: dict[str, Any]
    """Entries of the record of the training."""
    version: str = __version__
    """Version of this package that wrote the folder."""


def write_exported(
    folder: Path, config: ExportedConfig, state: Mapping[str, Tensor], normalization: Normalization, card: str
) -> None:
    """Write the folder; an exported network that it holds is replaced.

    Raises UserError if the folder holds something else or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()) and not _is_exported(folder):
            raise UserError(f"{folder} holds files that are no exported network: expected a new or an empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        save_state(state, folder / MODEL, {"format": "pt"})
        save_state({"mean": normalization.mean, "scale": normalization.scale}, folder / NORMALIZATION, {"format": "pt"})
        (folder / CARD).write_text(card, encoding="utf-8")
        write_json(folder / CONFIG, as_json(config))
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({os_reason(error)}): use another folder") from error


def read_exported(folder: Path) -> tuple[ExportedConfig, dict[str, Tensor]]:
    """Return configuration and weights of an exported network. Raises UserError for a damaged or incomplete folder."""
    try:
        data = read_json(folder / CONFIG)
        if data is None or not _is_exported(folder):
            raise UserError(
                f"{folder / CONFIG} is not that of an exported network: expected a folder of resnet-repro export"
            )
        config = typed(data, ExportedConfig)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} cannot be read ({error}): export the network again") from error
    if config.format != FORMAT:
        raise UserError(f"{folder} has format {config.format}: expected {FORMAT}; export the network again")
    try:
        state = load_file(folder / MODEL)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / MODEL} cannot be read ({error}): export the network again") from error
    if state_sha256(state) != config.weights_sha256:
        raise UserError(f"{folder / MODEL} has another digest than {CONFIG} names: export the network again")
    return config, state


def _is_exported(folder: Path) -> bool:
    return (folder / CONFIG).exists() and (read_json(folder / CONFIG) or {}).get("library") == LIBRARY
