"""Readers of the published formats of data sets: class folders, pickled batches, idx files, in a folder or a tar archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from resnet_repro.data.arrays import Split
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.data.image_files import FORMATS, is_hidden, is_image
from resnet_repro.errors import UserError, os_reason


def read_source(facts: DatasetFacts, path: Path, origin: str | None = None) -> dict[str, Split]:
    """Return the splits "train" and "test" of a data set, read from a folder or a tar archive.

    Reads class folders `{train,test}/<class>/<image>` and the official files listed in the catalogue: CIFAR's pickled
    batches and MNIST's idx files, gzipped or not. Hidden files are ignored, see `image_files`.
    origin: the source in error messages; `path` by default.
    Raises UserError if a file is damaged, unsafe, missing or unexpected.
    """
    origin = origin or str(path)
    files = _folder_files(path) if path.is_dir() else _archive_files(path, origin)
    images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    official: set[str] = set()
    for name, data in files:
        member = PurePosixPath(name)
        stem = member.name.removesuffix(".gz")
        if stem in facts.md5:
            if stem in official:  # torchvision keeps each idx file both gzipped and unpacked
                continue
            official.add(stem)
            split = "train" if stem.startswith(("train", "data_batch")) else "test"
            arrays = _read_official(facts, stem, data, f"{origin} ({name})")
        elif is_image(member.name):
            split, label = _split_and_label(facts, member, origin)
            arrays = _read_image(facts, data, f"{origin} ({name})")[None], np.array([label], np.uint8)
        else:
            continue
        for array in arrays:
            (images if array.ndim == 4 else labels)[split].append(array)
    if official and (missing := [stem for stem in facts.md5 if stem not in official]):
        raise UserError(f"{origin} lacks the file {missing[0]} of {facts.title}: add it")
    for split, parts in images.items():
        if not parts:
            raise UserError(f"{origin} holds no {split} images of {facts.title}: use another source")
    return {split: Split(np.concatenate(images[split]), np.concatenate(labels[split])) for split in images}


def _folder_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if any(map(is_hidden, file.relative_to(path).parts)):
            continue
        try:
            data = file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise UserError(f"{file} cannot be read ({os_reason(error)}): check its permissions") from error
        if data is not None:
            yield file.relative_to(path.parent).as_posix(), data


def _archive_files(path: Path, origin: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the regular members; nothing is written to disk.

    Raises UserError for links and for members outside the archive's folder. Hidden members are left out.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                    raise UserError(f"{origin} holds the unsafe member {member.name!r}: use another archive")
                if member.isfile() and not any(map(is_hidden, name.parts)):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name, content.read()
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise UserError(
            f"{origin} is not a complete tar archive ({reason}): replace it with a complete copy"
        ) from error


def _split_and_label(facts: DatasetFacts, member: PurePosixPath, origin: str) -> tuple[str, int]:
    """Return split and label of an image in class folders, from the last three parts of its path."""
    parts = member.parts
    if len(parts) < 3 or parts[-3] not in ("train", "test"):
        raise UserError(f"{origin} holds {member}: expected train/<class>/<image> or test/<class>/<image>")
    if parts[-2] not in facts.class_names:
        raise UserError(f"{origin} holds the class {parts[-2]!r}: expected the classes of {facts.title}")
    return parts[-3], facts.class_names.index(parts[-2])


def _read_image(facts: DatasetFacts, data: bytes, origin: str) -> np.ndarray:
    """Decode an image to (C, H, W) uint8. Raises UserError if it is unreadable or has another shape."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = np.asarray(image.convert("RGB" if facts.shape[0] == 3 else "L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{origin} cannot be read as an image ({error}): replace it with a complete copy") from error
    image = pixels.reshape(*pixels.shape[:2], facts.shape[0]).transpose(2, 0, 1)
    if image.shape != facts.shape:
        raise UserError(f"{origin} has shape {image.shape}: expected {facts.shape} for {facts.title}")
    return image


def _read_official(facts: DatasetFacts, stem: str, data: bytes, origin: str) -> tuple[np.ndarray, ...]:
    """Return images (N, C, H, W) and labels (N,), uint8, of the official file `stem`; an idx file has only one of them.

    The MD5 sum is checked before the data are parsed, so foreign pickles are never loaded. Raises UserError if the
    file is damaged or is not the official one.
    """
    if data.startswith(b"\x1f\x8b"):  # the name does not tell: browsers may unpack a .gz file and keep its name
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"{origin} is not a complete gzip file ({error}): replace it with a complete copy"
            ) from error
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if md5 != facts.md5[stem]:
        raise UserError(
            f"{origin} is not the official file of {facts.title}: expected MD5 {facts.md5[stem]}, not {md5}; "
            f"replace it with a complete copy"
        )
    if stem.endswith("images-idx3-ubyte"):  # after a header of 16 bytes; that of labels has 8
        return (np.frombuffer(data, np.uint8, offset=16).reshape(-1, *facts.shape),)
    if stem.endswith("labels-idx1-ubyte"):
        return (np.frombuffer(data, np.uint8, offset=8),)
    batch = pickle.loads(data, encoding="bytes")
    labels = batch[b"labels"] if b"labels" in batch else batch[b"fine_labels"]
    return batch[b"data"].reshape(-1, *facts.shape), np.array(labels, np.uint8)
