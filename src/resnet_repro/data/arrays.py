"""Data sets as uint8 arrays in a canonical order, cached as memory-mapped files.

Images are sorted by their digest, so every source of a data set gives the same arrays. The order mixes the classes: the
first k images are a sample of all classes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.errors import UserError, os_reason

NO_LABEL = 255


@dataclass(frozen=True)
class Split:
    """Images and labels of one split."""

    images: np.ndarray
    """(N, C, H, W) uint8."""
    labels: np.ndarray
    """(N,) uint8."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Arrays:
    """A data set as memory-mapped arrays."""

    facts: DatasetFacts
    train: Split
    test: Split
    digest: str
    """Digest of the contents of both splits, see `combined_digest`."""
    folder: Path
    """Folder of the cached files."""


def only_classes(split: Split, class_names: Sequence[str], wanted: Sequence[str]) -> Split:
    """Return the images of the `wanted` classes, labelled by their places in `wanted`.

    class_names: names of the labels of `split`.
    """
    labels = np.array([wanted.index(name) if name in wanted else NO_LABEL for name in class_names], np.uint8)
    kept = labels[split.labels] != NO_LABEL
    return Split(split.images[kept], labels[split.labels[kept]])


def canonical(split: Split) -> tuple[Split, str]:
    """Return the split sorted by image digest, and the digest of its contents.

    The digest of an image is the sha256 of its label byte and its pixels in (C, H, W) order. The digest of the contents
    is the sha256 of the sorted image digests, so it does not depend on the order of images in the source.
    """
    digests = _image_digests(split)
    order = sorted(range(len(digests)), key=digests.__getitem__)
    contents = hashlib.sha256(b"".join(digests[i] for i in order)).hexdigest()
    return Split(split.images[order], split.labels[order]), contents


def stored_digest(split: Split) -> str:
    """Return the digest of the contents of a split that is in canonical order; another order gives another digest."""
    return hashlib.sha256(b"".join(_image_digests(split))).hexdigest()


def _image_digests(split: Split) -> list[bytes]:
    return [
        hashlib.sha256(bytes([label]) + image.tobytes()).digest()
        for image, label in zip(split.images, split.labels, strict=True)
    ]


def combined_digest(digests: dict[str, str]) -> str:
    """Return the digest of a data set, from the digests of its splits "train" and "test"."""
    return hashlib.sha256(f"train {digests['train']}\ntest {digests['test']}\n".encode()).hexdigest()


def store(facts: DatasetFacts, splits: dict[str, Split], folder: Path, origin: str) -> None:
    """Check `splits` against the catalogue and write them to `folder`, atomically.

    origin: the source, for error messages. Several processes may call this at once: each writes to a temporary folder,
    and the first to finish renames it. Raises UserError if the number of images or their digest differs from the
    catalogue, or if the folder cannot be written.
    """
    digests = {}
    for name, split in splits.items():
        if len(split) != facts.count(name):
            raise UserError(
                f"{origin} holds {len(split):,} {name} images of {facts.title}: expected {facts.count(name):,}; "
                f"replace it with a complete copy"
            )
        splits[name], digests[name] = canonical(split)
        if facts.digests and digests[name] != facts.digests[name]:
            raise UserError(
                f"{origin} does not hold {facts.title}: expected the digest {facts.digests[name][:12]}… of its {name} "
                f"images, not {digests[name][:12]}…; replace it or use another source"
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(
            f"{folder.parent} cannot be written ({os_reason(error)}): set DATA_DIR to another folder"
        ) from error
    try:
        for name, split in splits.items():
            np.save(temporary / f"{name}_images.npy", split.images)
            np.save(temporary / f"{name}_labels.npy", split.labels)
        (temporary / "contents.json").write_text(
            json.dumps({"dataset": facts.name, "origin": origin, **digests}), encoding="utf-8"
        )
        temporary.chmod(0o755)
        if folder.exists() and load(facts, folder) is None:
            shutil.rmtree(folder)  # a damaged cache holds nothing of the user's
        try:
            temporary.rename(folder)
        except OSError:
            if load(facts, folder) is None:  # otherwise another process was faster
                raise
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({os_reason(error)}): free some space or set DATA_DIR to another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(facts: DatasetFacts, folder: Path) -> Arrays | None:
    """Return the cached arrays, memory-mapped; None if `folder` is not a complete cache of this data set."""
    try:
        digests = json.loads((folder / "contents.json").read_text(encoding="utf-8"))
        splits = {
            name: Split(np.load(folder / f"{name}_images.npy", mmap_mode="r"), np.load(folder / f"{name}_labels.npy"))
            for name in ("train", "test")
        }
    except (OSError, ValueError, EOFError):
        return None
    is_complete = all(splits[n].images.shape == (facts.count(n), *facts.shape) for n in splits)
    is_known = not facts.digests or all(digests.get(n) == facts.digests[n] for n in splits)
    if not is_complete or not is_known:
        return None
    return Arrays(facts, splits["train"], splits["test"], combined_digest(digests), folder)
