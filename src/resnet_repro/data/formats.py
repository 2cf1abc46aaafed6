"""The forms in which a data set is published: class folders, pickled batches and idx files, in a folder or a tar archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import math
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from resnet_repro.data.arrays import Split
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.errors import UserError

IMAGE_SUFFIXES = {".webp", ".png", ".bmp", ".jpg", ".jpeg"}
IMAGE_FORMATS = ("WEBP", "PNG", "BMP", "JPEG")  # whatever the suffix says; trying Pillow's others first would take time
OFFICIAL_BATCHES = {  # CIFAR-10's files, then CIFAR-100's
    **{f"data_batch_{number}": "train" for number in range(1, 6)},
    "test_batch": "test",
    "train": "train",
    "test": "test",
}
IDX_FILES = {  # split: its images, its labels
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_source(facts: DatasetFacts, path: Path, origin: str | None = None) -> dict[str, Split]:
    """Decode the images and labels under a folder or inside a tar archive.

    Understands class folders `{train,test}/<class>/<image>`, CIFAR's official pickled batches and MNIST's official
    idx files, gzipped or not.
    Raises UserError naming the file and the remedy where it is truncated, unsafe or holds something else.
    """
    origin = origin or str(path)
    files = _folder_files(path) if path.is_dir() else _archive_files(path, origin)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"train": [], "test": []}
    idx: dict[str, np.ndarray] = {}
    for name, data in files:
        member = PurePosixPath(name)
        stem = member.name.removesuffix(".gz")
        if stem in facts.idx_md5:
            if stem not in idx:  # torchvision keeps both forms of each file
                idx[stem] = _read_idx(facts, stem, data, f"{origin} ({name})")
        elif split := OFFICIAL_BATCHES.get(member.name):
            found[split].append(_read_batch(facts, data, f"{origin} ({name})"))
        elif member.suffix.lower() in IMAGE_SUFFIXES:
            split, label = _place(facts, member, origin)
            found[split].append((_read_image(facts, data, f"{origin} ({name})")[None], np.array([label], np.uint8)))
    if idx:
        for split, pair in IDX_FILES.items():
            if missing := [stem for stem in pair if stem not in idx]:
                raise UserError(f"{origin} holds no {missing[0]}, gzipped or not: add this file of {facts.title}")
            found[split].append((idx[pair[0]], idx[pair[1]]))
    splits = {}
    for split, parts in found.items():
        if not parts:
            raise UserError(f"{origin} holds no {split} images of {facts.title}: name a source that does")
        images, labels = zip(*parts, strict=True)
        splits[split] = Split(np.concatenate(images), np.concatenate(labels))
    return splits


def _folder_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        try:
            data = file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}): see to its permissions") from error
        if data is not None:
            yield file.relative_to(path.parent).as_posix(), data


def _archive_files(path: Path, origin: str) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the regular members; nothing is written to disk. Raises UserError for members that point outside."""
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                    raise UserError(f"{origin} holds the unsafe member {member.name!r}: do not use this archive")
                if member.isfile():
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name, content.read()
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise UserError(f"{origin} is truncated or no tar archive ({reason}): replace it by a whole copy") from error


def _place(facts: DatasetFacts, member: PurePosixPath, origin: str) -> tuple[str, int]:
    """Split and label of an image in class folders, from the last three parts of its path."""
    parts = member.parts
    if len(parts) < 3 or parts[-3] not in ("train", "test"):
        raise UserError(f"{origin} holds {member}, which is not of the form train/<class>/<image>: name another source")
    if parts[-2] not in facts.class_names:
        raise UserError(f"{origin} holds the class {parts[-2]!r}, which {facts.title} has not: name another source")
    return parts[-3], facts.class_names.index(parts[-2])


def _read_image(facts: DatasetFacts, data: bytes, origin: str) -> np.ndarray:
    """(C, H, W) uint8."""
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            pixels = np.asarray(image.convert("RGB" if facts.shape[0] == 3 else "L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{origin} is no readable image ({error}): replace it by a whole copy") from error
    image = pixels.reshape(*pixels.shape[:2], facts.shape[0]).transpose(2, 0, 1)
    if image.shape != facts.shape:
        raise UserError(f"{origin} has shape {image.shape}, {facts.title} has {facts.shape}: name another source")
    return image


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays, dicts, lists, strings and numbers; a pickle that asks for anything else could run code."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        if (module, name) in {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_batch(facts: DatasetFacts, data: bytes, origin: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W) and labels (N,) of an official CIFAR batch."""
    key = facts.label_key.encode()
    try:
        batch = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, *facts.shape)
        labels = np.asarray(batch[key], np.uint8) if key in batch else None
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{origin} is no official batch ({error}): replace it by a whole copy") from error
    if labels is None:
        raise UserError(f"{origin} has no {facts.label_key!r} as {facts.title}'s batches have: name another source")
    if len(images) != len(labels):
        raise UserError(f"{origin} holds {len(images)} images and {len(labels)} labels: replace it by a whole copy")
    return images, labels


def _read_idx(facts: DatasetFacts, stem: str, data: bytes, origin: str) -> np.ndarray:
    """Images (N, 1, H, W) or labels (N,) uint8 of one of MNIST's official files; `stem` is its name without ".gz".

    Format: 0, 0, the type (8 for uint8), the number of dimensions, the dimensions as big-endian 32-bit integers, data.
    """
    if data.startswith(b"\x1f\x8b"):  # by content: browsers unpack some files and leave them their name
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{origin} is truncated or no gzip file ({error}): replace it by a whole copy") from error
    split = next(split for split, pair in IDX_FILES.items() if stem in pair)
    item = facts.shape[1:] if stem == IDX_FILES[split][0] else ()
    magic, header = int.from_bytes(data[:4], "big"), 4 * (2 + len(item))
    if magic != 0x800 + 1 + len(item):
        raise UserError(
            f"{origin} is no idx file of {'images' if item else 'labels'} (magic number {magic}, "
            f"not {0x800 + 1 + len(item)}): replace it by a whole copy"
        )
    dimensions = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    if len(data) != header + math.prod(dimensions):
        raise UserError(
            f"{origin} has {len(data):,} bytes, where its header {dimensions} asks for "
            f"{header + math.prod(dimensions):,}: replace it by a whole copy"
        )
    if dimensions != (facts.count(split), *item):
        raise UserError(
            f"{origin} has the dimensions {dimensions}, {facts.title} {(facts.count(split), *item)}: "
            f"replace it by a whole copy"
        )
    values = np.frombuffer(data, np.uint8, offset=header)
    if not item and values.max() >= facts.classes:
        raise UserError(
            f"{origin} holds label {values.max()}, {facts.title} has {facts.classes} classes: replace it by a whole copy"
        )
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if md5 != facts.idx_md5[stem]:
        raise UserError(
            f"{origin} is not the official file of {facts.title} (MD5 {md5}, not {facts.idx_md5[stem]}): "
            f"replace it by a whole copy"
        )
    return values.reshape(-1, *facts.shape) if item else values
