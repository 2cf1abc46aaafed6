"""Pretrained weights from outside: a file that the user names, a mirror's, or torchvision's own download."""

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

log = logging.getLogger(__name__)
FIRST_BYTES = (b"PK\x03\x04", b"\x80")  # of what torch.save writes: a zip archive, in old versions a pickle


@dataclass(frozen=True)
class Weights:
    """A file of weights, what it is called, and the sha256 of its bytes."""

    name: str
    path: Path
    sha256: str


def obtain(wanted: str | None, depth: int, folder: Path, mirror: str | None) -> Weights | None:
    """The weights to begin with, for a ResNet of `depth` layers; None, with the reason logged, where there are none.

    wanted: the file that the user names. Without one, torchvision's ImageNet weights, from `folder` or from the mirror (a
    folder or a URL), else downloaded into `folder`. Raises UserError for a file that cannot be read as weights.
    """
    if wanted is not None:
        path = _file(Path(wanted))
        read_state(path)
        return Weights(path.name, path, file_sha256(path))
    name, url = torchvision_weights(depth)
    file = url.rsplit("/", 1)[-1]
    for path in _kept(file, folder, mirror):
        if _is_whole(path):
            return Weights(name, path, file_sha256(path))
        log.info(f"passed over: {path} is not {name}, as its digest shows")
    for address in (*([f"{mirror.rstrip('/')}/{file}"] if mirror and is_url(mirror) else []), url):
        problem = _download(address, folder / file)
        if problem is None:
            return Weights(name, folder / file, file_sha256(folder / file))
        log.info(f"{name} cannot be had from {address} ({problem})")
    return None


def torchvision_weights(depth: int) -> tuple[str, str]:
    """(name, address) of torchvision's ImageNet weights for a ResNet: those of the published recipe."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
    return f"torchvision resnet{depth} {weights.name}", weights.url


def read_state(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a file: safetensors, or what torch.save wrote of a state dict or of a checkpoint with one.

    Nothing in it is executed. Wrappers' prefixes are dropped. Raises UserError where the file holds no such thing.
    """
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else _load(path)
    except FileNotFoundError as error:
        raise UserError(f"WEIGHTS={path} is no file: name a file of weights") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than weights, and nothing of it is executed: save the state dict alone, with torch.save or "
            "as safetensors"
        ) from error
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be read as weights ({reason}): name a file that torch.save or safetensors wrote"
        ) from error
    except (EOFError, LookupError, TypeError, AssertionError, struct.error) as error:  # torch does not say of what file
        raise UserError(f"{path} cannot be read as weights (it is damaged): replace it by a whole copy") from error
    for entry in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(entry), dict):
            loaded = loaded[entry]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path} holds no state dict: name a file with the tensors of a network by their names")
    state = map_keys(loaded)
    if all(key.startswith("net.") for key in state):
        state = {key.removeprefix("net."): tensor for key, tensor in state.items()}
    return state


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path) -> object:
    with path.open("rb") as file:
        if not file.read(4).startswith(FIRST_BYTES):
            raise ValueError("it is neither a zip archive nor a pickle")
    return torch.load(path, map_location="cpu", weights_only=True)


def _file(path: Path) -> Path:
    """The file that a path means: of a run's folder its weights."""
    inside = path / "weights.safetensors"
    if path.is_dir() and not inside.exists():
        raise UserError(f"WEIGHTS={path} is a folder without weights.safetensors: name a file of weights")
    return inside if path.is_dir() else path


def _kept(file: str, folder: Path, mirror: str | None) -> list[Path]:
    places = [folder, *([Path(mirror), Path(mirror) / "weights"] if mirror and not is_url(mirror) else [])]
    return [place / file for place in places if (place / file).is_file()]


def _is_whole(path: Path) -> bool:
    """Whether the file's digest begins as torchvision writes it into the name: resnet34-b627a593.pth."""
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return digest is None or file_sha256(path).startswith(digest[1])


def _download(url: str, path: Path) -> str | None:
    """Fetch `url` to `path`, whole or not at all; what went wrong, or None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as scratch:
        part = Path(scratch) / path.name
        try:
            fetch(url, part)
        except DownloadError as error:
            return str(error)
        if not _is_whole(part):
            return "its digest is not the one in its name"
        shutil.move(part, path)
    return None
