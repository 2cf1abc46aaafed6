"""Pretrained weights: a file of the user, or torchvision's weights from a folder, a mirror or a download."""

from __future__ import annotations

import argparse
import codecs
import hashlib
import logging
import pickle
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy._core.multiarray import scalar as numpy_scalar
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resnet_repro.download import DownloadError, fetch, is_url
from resnet_repro.errors import UserError, os_reason
from resnet_repro.models.weights import COUNTER, map_keys
from resnet_repro.parsing import listed, plural
from resnet_repro.surroundings import printable

log = logging.getLogger(__name__)
ZIP = b"PK\x03\x04"
FIRST_BYTES = (ZIP, b"\x80")  # of files of torch.save: a zip archive, or a pickle in old versions
LFS_POINTER = b"version https://git-lfs"
FILES_IN_FOLDERS = ("weights.safetensors", "model.safetensors", "pytorch_model.bin")
# Names of state dicts in checkpoints, in the order in which one of several is chosen.
WRAPPERS = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "backbone", "encoder", "weights", "params",
    "ema", "model_ema", "state_dict_ema", "ema_state_dict",
)  # fmt: skip
DEEPEST_WRAPPER = 3  # dicts around a state dict
VARIANCE = ".running_var"
NAMED = 4  # entries that a message names
TRAINABLE_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Types beside the weights in checkpoints of training scripts: their options, and numbers of numpy. They hold values only.
PLAIN_TYPES = [
    argparse.Namespace, numpy_scalar, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType,
    np.dtypes.Int64DType, np.dtypes.BoolDType, codecs.encode,
]  # fmt: skip


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
    if at_hand := find(user_file, depth, folder, mirror):
        return at_hand
    name, url = torchvision_weights(depth)
    file = url.rsplit("/", 1)[-1]
    for address in (*([f"{mirror.rstrip('/')}/{file}"] if mirror and is_url(mirror) else []), url):
        problem = _download(address, folder / file)
        if problem is None:
            return Weights(name, folder / file, file_sha256(folder / file))
        log.info(f"{name} not available from {address} ({problem})")
    return None


def find(user_file: str | None, depth: int, folder: Path, mirror: str | None) -> Weights | None:
    """Return the weights that `obtain` returns without a download; None if this machine does not have them.

    Raises UserError if `user_file` cannot be read as weights.
    """
    if user_file is not None:
        path = weights_file(Path(user_file))
        read_state(path)
        return Weights(printable(path.name), path, file_sha256(path))
    name, url = torchvision_weights(depth)
    for path in _local_files(url.rsplit("/", 1)[-1], folder, mirror):
        if _digest_matches_name(path):
            return Weights(name, path, file_sha256(path))
        log.info(f"skipped: {path} is not {name} (its digest differs)")
    return None


def torchvision_weights(depth: int) -> tuple[str, str]:
    """Return (name, address) of torchvision's ImageNet weights for a ResNet, in the version of the published recipe."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
    return f"torchvision resnet{depth} {weights.name}", weights.url


def read_state(path: Path, quiet: bool = False) -> dict[str, Tensor]:
    """Read a state dict from a file of safetensors or torch.save, which may also hold a checkpoint with a state dict.

    The content of the file tells its format, not its name. Code in the file is not executed. Keys lose a prefix that all
    of them have, and get torchvision's names (see `weights.map_keys`). quiet: do not log which of several state dicts it is.
    Raises UserError if the file cannot be read as a state dict.
    """
    try:
        loaded = _load(path)
    except FileNotFoundError as error:
        raise UserError(f"WEIGHTS={path} does not exist: expected a file of weights") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds objects other than weights{_foreign_types(path)}, which are not loaded: expected a state dict "
            "alone, saved with torch.save or safetensors"
        ) from error
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be read as weights ({reason}): expected a file of torch.save or safetensors"
        ) from error
    except (EOFError, LookupError, TypeError, AssertionError, struct.error) as error:  # torch's message lacks the file
        raise UserError(f"{path} cannot be read as weights (it is damaged): replace it with a complete copy") from error
    return map_keys(_state_dict(loaded, path, quiet))


def check_values(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError that names the first tensor of `state` with values that no network can be trained from."""
    for key, tensor in state.items():
        if key.endswith(COUNTER):
            continue
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_meta or tensor.layout != torch.strided:
            kind = "without values" if tensor.is_meta else f"{kind} in the layout {tensor.layout}"
        elif tensor.dtype in TRAINABLE_TYPES:
            kind = ""
        if kind:
            raise UserError(f"{key} in {path} is {kind}: expected float16, bfloat16, float32 or float64 numbers")
        if broken := int((~torch.isfinite(tensor.float())).sum()):
            raise UserError(
                f"{key} in {path} has {plural(broken, 'value')} that are NaN or infinite: expected finite numbers"
            )
        if key.endswith(VARIANCE) and bool((tensor < 0).any()):
            raise UserError(f"{key} in {path} has negative values: expected variances")


def _state_dict(loaded: object, path: Path, quiet: bool) -> dict[str, Tensor]:
    """Return the state dict in what a file holds: the only one, or that of the best-known name."""
    if (
        isinstance(loaded, dict)
        and loaded
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items())
    ):
        return loaded
    found = dict(_state_dicts(loaded, ()))
    if not found:
        raise UserError(f"{path} does not hold a state dict: expected the tensors of a network by name")
    names = {entry: ".".join(entry) for entry in found}
    known = [entry for entry in found if entry and entry[-1] in WRAPPERS]
    chosen = (
        min(known, key=lambda entry: WRAPPERS.index(entry[-1]), default=None) if len(found) > 1 else next(iter(found))
    )
    if chosen is None:
        raise UserError(f"{path} holds several state dicts ({listed([*names.values()], NAMED)}): expected one")
    if not quiet and (others := [name for entry, name in names.items() if entry != chosen]):
        log.info(f"weights are read from {names[chosen]} of {path}, not from {listed([*others], NAMED)}")
    return found[chosen]


def _state_dicts(value: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield (keys that lead to it, state dict) of all state dicts inside `value`.

    Names of weights have a dot, as in conv1.weight. Other tensors, such as those of an optimizer, have none.
    """
    if not isinstance(value, Mapping):
        return
    own = {key: tensor for key, tensor in value.items() if isinstance(key, str) and isinstance(tensor, Tensor)}
    if any("." in key for key in own):
        yield place, own
    elif len(place) < DEEPEST_WRAPPER:
        for key, inner in value.items():
            yield from _state_dicts(inner, (*place, str(key)))


def _foreign_types(path: Path) -> str:
    """Return the types in a file that are not loaded, in brackets; empty if they cannot be told."""
    try:
        with torch.serialization.safe_globals(PLAIN_TYPES):
            types = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError):
        return ""
    return f" ({listed(sorted(types), NAMED)})" if types else ""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path) -> object:
    with path.open("rb") as file:
        start = file.read(64)
    length = int.from_bytes(start[:8], "little")  # of the header of safetensors
    if start[8:9] == b"{" and length <= path.stat().st_size - 8:
        return load_file(path)
    if start.startswith(LFS_POINTER):
        raise ValueError("it is a pointer of Git LFS, not the file itself, which git lfs pull fetches")
    if not start.startswith(FIRST_BYTES):
        raise ValueError("neither a zip archive nor a pickle")
    if start.startswith(ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise ValueError("it is an incomplete zip archive; replace it with a complete copy") from error
        if any(name.endswith("/constants.pkl") for name in names):
            raise ValueError(
                "it is a TorchScript archive, which holds a program; save the state dict of its network instead"
            )
        if not any(name.endswith("/data.pkl") for name in names):
            raise ValueError("it is a zip archive that torch.save has not written")
    # A file object, since torch.load tells the format of a path by its suffix.
    with torch.serialization.safe_globals(PLAIN_TYPES), path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def weights_file(path: Path) -> Path:
    """Return the weights in the folder of a run or of a model from Hugging Face, or `path` if it is not a folder."""
    if not path.is_dir():
        return path
    for name in FILES_IN_FOLDERS:
        if (path / name).exists():
            return path / name
    raise UserError(f"WEIGHTS={path} is a folder without {' or '.join(FILES_IN_FOLDERS)}: expected a file of weights")


def _local_files(file: str, folder: Path, mirror: str | None) -> list[Path]:
    folders = [folder, *([Path(mirror), Path(mirror) / "weights"] if mirror and not is_url(mirror) else [])]
    return [path / file for path in folders if (path / file).is_file()]


def _digest_matches_name(path: Path) -> bool:
    """Whether the sha256 of a file begins with the digits in its name, as in torchvision's resnet34-b627a593.pth."""
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return digest is None or file_sha256(path).startswith(digest[1])


def _download(url: str, path: Path) -> str | None:
    """Download `url` to `path` atomically. Return a description of the error, or None."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as scratch:
            part = Path(scratch) / path.name
            fetch(url, part)
            if not _digest_matches_name(part):
                return "its digest differs from its name"
            shutil.move(part, path)
    except DownloadError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be written: {os_reason(error)}"
    return None
