"""A data set as uint8 arrays in one order of its own, cached as memory-mapped files.

Whatever source the bytes came from, the arrays are the same: images are sorted by their digest, which knows no file
names and no batches. That order mixes the classes, so its first k images are a sample of all of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.errors import UserError


@dataclass(frozen=True)
class Split:
    """images (N, C, H, W) uint8, labels (N,) uint8."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Arrays:
    """A data set in memory. `digest` covers the contents of both splits, `folder` holds the cached files."""

    facts: DatasetFacts
    train: Split
    test: Split
    digest: str
    folder: Path


def canonical(split: Split) -> tuple[Split, str]:
    """The split sorted by per-image digest, and its contents digest.

    The digest of an image is sha256 over its label byte and its pixels (C, H, W order); that of the contents is
    sha256 over the sorted digests, so the order in which a source lists its images does not matter.
    """
    digests = [
        hashlib.sha256(bytes([label]) + image.tobytes()).digest()
        for image, label in zip(split.images, split.labels, strict=True)
    ]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    contents = hashlib.sha256(b"".join(digests[i] for i in order)).hexdigest()
    return Split(split.images[order], split.labels[order]), contents


def combined_digest(digests: dict[str, str]) -> str:
    """One digest for a data set, from those of its two splits."""
    return hashlib.sha256(f"train {digests['train']}\ntest {digests['test']}\n".encode()).hexdigest()


def store(facts: DatasetFacts, splits: dict[str, Split], folder: Path, origin: str) -> None:
    """Check the contents against the catalogue and write them to `folder`, whole or not at all.

    Two processes may do this at once: each writes a folder of its own, and the first to finish gives it its name.
    Raises UserError where the contents are not those of the catalogue, or the folder cannot be written.
    """
    digests = {}
    for name, split in splits.items():
        if len(split) != facts.count(name):
            raise UserError(
                f"{origin} holds {len(split):,} of {facts.count(name):,} {name} images of {facts.title}: "
                f"replace it by a whole copy"
            )
        splits[name], digests[name] = canonical(split)
        if facts.digests and digests[name] != facts.digests[name]:
            raise UserError(
                f"{origin} does not hold {facts.title}: the digest of its {name} images is {digests[name][:12]}…, "
                f"not {facts.digests[name][:12]}…; replace it or name another source"
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder.parent} cannot be written ({error.strerror}): name another DATA_DIR") from error
    try:
        for name, split in splits.items():
            np.save(temporary / f"{name}_images.npy", split.images)
            np.save(temporary / f"{name}_labels.npy", split.labels)
        (temporary / "contents.json").write_text(json.dumps({"dataset": facts.name, "origin": origin, **digests}))
        temporary.chmod(0o755)
        if folder.exists() and load(facts, folder) is None:
            shutil.rmtree(folder)  # a damaged cache is ours to replace
        try:
            temporary.rename(folder)
        except OSError:
            if load(facts, folder) is None:  # not lost to another process that was faster
                raise
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): free some space or name another DATA_DIR"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(facts: DatasetFacts, folder: Path) -> Arrays | None:
    """The cached arrays, memory-mapped; None where the folder holds no whole cache of this data set."""
    try:
        digests = json.loads((folder / "contents.json").read_text())
        splits = {
            name: Split(np.load(folder / f"{name}_images.npy", mmap_mode="r"), np.load(folder / f"{name}_labels.npy"))
            for name in ("train", "test")
        }
    except (OSError, ValueError, EOFError):
        return None
    whole = all(splits[n].images.shape == (facts.count(n), *facts.shape) for n in splits)
    known = not facts.digests or all(digests.get(n) == facts.digests[n] for n in splits)
    if not whole or not known:
        return None
    return Arrays(facts, splits["train"], splits["test"], combined_digest(digests), folder)
