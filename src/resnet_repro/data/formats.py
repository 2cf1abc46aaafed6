"""The forms in which a data set is published: class folders, pickled batches and idx files, in a folder or a tar archive."""

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
from resnet_repro.errors import UserError

IMAGE_SUFFIXES = {".webp", ".png", ".bmp", ".jpg", ".jpeg"}
IMAGE_FORMATS = ("WEBP", "PNG", "BMP", "JPEG")  # whatever the suffix says; trying Pillow's others first would take time


def read_source(facts: DatasetFacts, path: Path, origin: str | None = None) -> dict[str, Split]:
    """Decode the images and labels under a folder or inside a tar archive.

    Understands class folders `{train,test}/<class>/<image>` and the official files, of which the catalogue has MD5 sums:
    CIFAR's pickled batches and MNIST's idx files, gzipped or not.
    Raises UserError naming the file and the remedy where it is damaged, unsafe or holds something else.
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
            if stem in official:  # torchvision keeps both forms of each idx file
                continue
            official.add(stem)
            split = "train" if stem.startswith(("train", "data_batch")) else "test"
            arrays = _read_official(facts, stem, data, f"{origin} ({name})")
        elif member.suffix.lower() in IMAGE_SUFFIXES:
            split, label = _place(facts, member, origin)
            arrays = _read_image(facts, data, f"{origin} ({name})")[None], np.array([label], np.uint8)
        else:
            continue
        for array in arrays:
            (images if array.ndim == 4 else labels)[split].append(array)
    if official and (missing := [stem for stem in facts.md5 if stem not in official]):
        raise UserError(f"{origin} holds no {missing[0]}: add this file of {facts.title}")
    for split, parts in images.items():
        if not parts:
            raise UserError(f"{origin} holds no {split} images of {facts.title}: name a source that does")
    return {split: Split(np.concatenate(images[split]), np.concatenate(labels[split])) for split in images}


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


def _read_official(facts: DatasetFacts, stem: str, data: bytes, origin: str) -> tuple[np.ndarray, ...]:
    """Images (N, C, H, W) and labels (N,), uint8, of the official file `stem`; of an idx file, which has one of them, that.

    Nothing is parsed before the MD5 sum is that of the catalogue, so that no foreign pickle is ever loaded.
    """
    if data.startswith(b"\x1f\x8b"):  # by content: browsers unpack some files and leave them their name
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{origin} is truncated or no gzip file ({error}): replace it by a whole copy") from error
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if md5 != facts.md5[stem]:
        raise UserError(
            f"{origin} is not the official file of {facts.title} (MD5 {md5}, not {facts.md5[stem]}): "
            f"replace it by a whole copy"
        )
    if stem.endswith("images-idx3-ubyte"):  # behind a header of 16 bytes
        return (np.frombuffer(data, np.uint8, offset=16).reshape(-1, *facts.shape),)
    if stem.endswith("labels-idx1-ubyte"):
        return (np.frombuffer(data, np.uint8, offset=8),)
    batch = pickle.loads(data, encoding="bytes")
    labels = batch[b"labels"] if b"labels" in batch else batch[b"fine_labels"]
    return batch[b"data"].reshape(-1, *facts.shape), np.array(labels, np.uint8)
