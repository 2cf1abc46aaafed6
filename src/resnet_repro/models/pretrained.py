"""Pretrained weights: a file of the user, or torchvision's weights from a folder, a mirror or a download."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resnet_repro.download import DownloadError, fetch, is_url
from resnet_repro.errors import UserError
from resnet_repro.models.weights import map_keys
from resnet_repro.surroundings import printable

log = logging.getLogger(__name__)
FIRST_BYTES = (b"PK\x03\x04", b"\x80")  # of files of torch.save: a zip archive, or a pickle in old versions


@dataclass(frozen=True)
class Weights:
    """A file of weights."""

    name: str
    """Name in reports: the file's name, or e.g. "torchvision resnet34 IMAGENET1K_V1"."""
    path: Path
    sha256: str
    """Digest of the file."""


def obtain(user_file: str | None, depth: int, folder: Path, mirror: str | None) -> Weights | None:
    """Return pretrained weights for a ResNet of `depth` layers.

    user_file: a file of weights, or the folder of a run. None: torchvision's ImageNet weights.
    folder, mirror: places to search for torchvision's file; the mirror is a folder or a URL. If neither has the file, it is
        downloaded into `folder`.

    Returns None, and logs the reason, if torchvision's weights are not available. Raises UserError if `user_file` cannot be
    read as weights.
    """
    if user_file is not None:
        path = _weights_file(Path(user_file))
        read_state(path)
        return Weights(printable(path.name), path, file_sha256(path))
    name, url = torchvision_weights(depth)
    file = url.rsplit("/", 1)[-1]
    for path in _local_files(file, folder, mirror):
        if _digest_matches_name(path):
            return Weights(name, path, file_sha256(path))
        log.info(f"skipped: {path} is not {name} (its digest differs)")
    for address in (*([f"{mirror.rstrip('/')}/{file}"] if mirror and is_url(mirror) else []), url):
        problem = _download(address, folder / file)
        if problem is None:
            return Weights(name, folder / file, file_sha256(folder / file))
        log.info(f"{name} not available from {address} ({problem})")
    return None


def torchvision_weights(depth: int) -> tuple[str, str]:
    """Return (name, address) of torchvision's ImageNet weights for a ResNet, in the version of the published recipe."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
    return f"torchvision resnet{depth} {weights.name}", weights.url


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a file of safetensors or torch.save, which may also hold a checkpoint with a state dict.

    Code in the file is not executed. Prefixes of wrappers are removed from the keys (see `weights.map_keys`).
    Raises UserError if the file cannot be read as a state dict.
    """
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else _load(path)
    except FileNotFoundError as error:
        raise UserError(f"WEIGHTS={path} does not exist: expected a file of weights") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds objects other than weights, which are not loaded: expected a state dict alone, saved with "
            "torch.save or safetensors"
        ) from error
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be read as weights ({reason}): expected a file of torch.save or safetensors"
        ) from error
    except (EOFError, LookupError, TypeError, AssertionError, struct.error) as error:  # torch's message lacks the file
        raise UserError(f"{path} cannot be read as weights (it is damaged): replace it with a complete copy") from error
    for entry in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(entry), dict):
            loaded = loaded[entry]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path} does not hold a state dict: expected the tensors of a network by name")
    state = map_keys(loaded)
    if all(key.startswith("net.") for key in state):
        state = {key.removeprefix("net."): tensor for key, tensor in state.items()}
    return state


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path) -> object:
    with path.open("rb") as file:
        if not file.read(4).startswith(FIRST_BYTES):
            raise ValueError("neither a zip archive nor a pickle")
    return torch.load(path, map_location="cpu", weights_only=True)


def _weights_file(path: Path) -> Path:
    """Return the weights in the folder of a run, or `path` if it is not a folder."""
    inside = path / "weights.safetensors"
    if path.is_dir() and not inside.exists():
        raise UserError(f"WEIGHTS={path} is a folder without weights.safetensors: expected a file of weights")
    return inside if path.is_dir() else path


def _local_files(file: str, folder: Path, mirror: str | None) -> list[Path]:
    folders = [folder, *([Path(mirror), Path(mirror) / "weights"] if mirror and not is_url(mirror) else [])]
    return [path / file for path in folders if (path / file).is_file()]


def _digest_matches_name(path: Path) -> bool:
    """Whether the sha256 of a file begins with the digits in its name, as in torchvision's resnet34-b627a593.pth."""
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return digest is None or file_sha256(path).startswith(digest[1])


def _download(url: str, path: Path) -> str | None:
    """Download `url` to `path` atomically. Return a description of the error, or None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as scratch:
        part = Path(scratch) / path.name
        try:
            fetch(url, part)
        except DownloadError as error:
            return str(error)
        if not _digest_matches_name(part):
            return "its digest differs from its name"
        shutil.move(part, path)
    return None
