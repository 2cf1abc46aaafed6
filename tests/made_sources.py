"""Small data sets in the file formats of the real ones."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_repro.data import catalogue
from resnet_repro.data.arrays import Arrays, Split, canonical
from resnet_repro.data.catalogue import DatasetFacts

TRAIN, TEST = 50, 20


def made_splits(facts: DatasetFacts) -> dict[str, Split]:
    rng = np.random.default_rng(7)
    return {
        name: Split(
            rng.integers(0, 256, (count, *facts.shape), dtype=np.uint8),
            rng.integers(0, facts.classes, count).astype(np.uint8),
        )
        for name, count in (("train", TRAIN), ("test", TEST))
    }


def shrink(patch: pytest.MonkeyPatch, facts: DatasetFacts) -> DatasetFacts:
    """Replace a data set in the catalogue by one of 70 images with the same layout, and its stand-in by one of 30 images.

    Its official site is unreachable.
    """
    small = replace(
        facts,
        train_images=TRAIN,
        test_images=TEST,
        digests={name: canonical(split)[1] for name, split in made_splits(facts).items()},
        md5={name: hashlib.md5(data).hexdigest() for name, data in official_files(facts).items()},
        url=f"http://127.0.0.1:9/{facts.url.rpartition('/')[2]}",
    )
    standin = catalogue.standin_for(facts)
    patch.setitem(catalogue.CATALOGUE, facts.name, small)
    patch.setitem(catalogue.CATALOGUE, standin.name, replace(standin, train_images=20, test_images=10))
    return small


def official_files(facts: DatasetFacts) -> dict[str, bytes]:
    """The files of the official site: idx files, or CIFAR's pickles. The coarse labels of CIFAR-100 are all 0."""
    splits = made_splits(facts)
    if not facts.archives:
        return {
            f"{prefix}-{content}-ubyte": bytes([0, 0, 8, array.ndim])
            + b"".join(size.to_bytes(4, "big") for size in array.shape)
            + array.tobytes()
            for prefix, split in (("train", splits["train"]), ("t10k", splits["test"]))
            for content, array in (("images-idx3", split.images[:, 0]), ("labels-idx1", split.labels))
        }
    parts = np.array_split(np.arange(TRAIN), len(facts.md5) - 1)
    indices = [("train", part) for part in parts] + [("test", np.arange(TEST))]
    files = {}
    for name, (split, index) in zip(facts.md5, indices, strict=True):
        images, labels = splits[split].images[index].reshape(-1, 3072), splits[split].labels[index].tolist()
        fine = {b"fine_labels": labels, b"coarse_labels": [0] * len(labels)}
        files[name] = pickle.dumps({b"data": images, **(fine if facts.classes == 100 else {b"labels": labels})}, 2)
    return files


def write_official(folder: Path, facts: DatasetFacts, zipped: bool = False) -> Path:
    """Write the official files to a subfolder of `folder`."""
    target = folder / facts.folders[0]
    target.mkdir(parents=True, exist_ok=True)
    for name, data in official_files(facts).items():
        (target / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data, 1) if zipped else data)
    return target


def write_class_folders(folder: Path, facts: DatasetFacts) -> Path:
    target = folder / facts.name
    for name, split in made_splits(facts).items():
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = target / name / facts.class_names[label] / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(path)
    return target


def pack(content: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as file:
        file.add(content, content.name)
    return archive


def assert_made(arrays: Arrays) -> None:
    """Assert that the arrays are those of `made_splits`, in the order of their digests."""
    assert not arrays.facts.standin
    for name, split in (("train", arrays.train), ("test", arrays.test)):
        expected = canonical(made_splits(arrays.facts)[name])[0]
        assert split.images.dtype == split.labels.dtype == np.uint8
        assert np.array_equal(split.images, expected.images) and np.array_equal(split.labels, expected.labels)
