"""Listing of a data set of class folders. Images are not opened."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from resnet_repro.data.catalogue import CATALOGUE, DatasetFacts
from resnet_repro.errors import UserError
from resnet_repro.surroundings import printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
FOLDERS_PREFIX = "folders-"  # begins the names of class folders as data sets
IMAGENET = "imagenet"  # name of ImageNet-1k as a data set, without the prefix
IMAGENET_IMAGES = 1_281_167  # training images
UNNAMED = "data"  # the name in budgets of folders whose own name has no letter or digit of ASCII
LONGEST_NAME, DIGEST_DIGITS = (
    40,
    8,
)  # characters of a name in budgets, and of these the digest in names that are changed
NAMED = 4  # classes that a message names
REMEDY = "expected train/<class>/<image> and val/<class>/<image>"


@dataclass(frozen=True)
class File:
    """An image file."""

    path: str
    """Path relative to the root of the data set."""
    size: int
    """Bytes."""
    label: int
    """Index of the class in `DatasetFacts.class_names`."""


@dataclass(frozen=True)
class ClassFolders:
    """Listing of a data set of class folders."""

    root: Path
    facts: DatasetFacts
    files: dict[str, list[File]]
    """Images by split: "train", "test", and "validation" if the root has both val and test.

    Sorted by the digest of their paths, which mixes the classes: the first k images are a sample of all classes.
    """

    @cached_property
    def digest(self) -> str:
        """sha256 of the listing: split, path, size and label of every image. Contents are not read."""
        lines = (
            f"{split} {file.path} {file.size} {file.label}\n" for split, files in self.files.items() for file in files
        )
        return hashlib.sha256(os.fsencode("".join(sorted(lines)))).hexdigest()

    def class_counts(self, split: str) -> dict[str, int]:
        """Return {class: number of images} of a split."""
        counts = Counter(file.label for file in self.files[split])
        return {name: counts[label] for label, name in enumerate(self.facts.class_names)}


def scan(root: Path) -> ClassFolders:
    """List the images below root/train/<class>/, and below root/test/ or root/val/.

    With both test and val, val is the split "validation"; otherwise either is the split "test". ImageNet-1k is
    recognized by the names of its classes. Hidden files and files with other suffixes are ignored.
    Raises UserError if a folder is missing, a class is empty, the classes of the splits differ, or a file is unreadable.
    """
    try:
        return _scan(root)
    except OSError as error:  # e.g. a broken link
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}): repair or remove it, or check its permissions"
        ) from error


def _scan(root: Path) -> ClassFolders:
    if not root.is_dir():
        raise UserError(f"DATASET={root} is not a folder: expected a folder that holds train and val")
    by_name = {name: _first_existing(root, names) for name, names in SPLIT_FOLDERS.items()}
    if by_name["train"] is None:
        raise UserError(f"{root} has no folder train: {REMEDY}")
    if by_name["val"] is None and by_name["test"] is None:
        raise UserError(f"{root} has no folder val or test: {REMEDY}")
    folders = {"train": by_name["train"], "test": by_name["test"] or by_name["val"]}
    if by_name["test"] and by_name["val"]:
        folders["validation"] = by_name["val"]
    class_names = {split: _class_names(folder) for split, folder in folders.items() if folder}
    classes = class_names["train"]
    if len(classes) == 1:
        raise UserError(f"{folders['train']} holds one class, {classes[0]}: expected two or more")
    for split, others in class_names.items():
        _check_same_classes(classes, others, folders["train"], folders[split])
    files = {
        split: sorted(_images(root, folder, classes), key=lambda file: hashlib.sha256(os.fsencode(file.path)).digest())
        for split, folder in folders.items()
        if folder
    }
    return ClassFolders(root, _facts(root, classes, files), files)


def _facts(root: Path, classes: Sequence[str], files: dict[str, list[File]]) -> DatasetFacts:
    is_imagenet = _has_imagenet_names(classes)
    return DatasetFacts(
        name=IMAGENET if is_imagenet else folders_name(root),
        title="ImageNet-1k" if is_imagenet else title_of(root),
        class_names=tuple(map(printable, classes)),
        shape=(3, 224, 224),
        train_images=len(files["train"]),
        test_images=len(files["test"]),
        digests={},
    )


def names_folders(dataset: str) -> bool:
    """Whether the value of DATASET is the path of class folders, not a name of the catalogue."""
    return dataset not in CATALOGUE and ("/" in dataset or "\\" in dataset or Path(dataset).is_dir())


def folders_name(root: Path) -> str:
    """Return the name of class folders in budgets, e.g. "folders-flowers" for a root .../Flowers.

    It is short and has only lower-case ASCII. A digest takes the place of what is left out of other names, so that these
    stay different.
    """
    name = printable(root.resolve().name)
    slug = _slug(name)
    if name.isascii() and slug and len(slug) <= LONGEST_NAME:
        return FOLDERS_PREFIX + slug
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode()).hexdigest()[:DIGEST_DIGITS]
    start = slug[: LONGEST_NAME - DIGEST_DIGITS - 1].rstrip("-._") or UNNAMED
    return f"{FOLDERS_PREFIX}{start}-{digest}"


def earlier_name(root: Path) -> str | None:
    """Return the name under which earlier versions trained on class folders; None if it is the same as now."""
    name = FOLDERS_PREFIX + (_slug(root.resolve().name) or UNNAMED)
    return None if name == folders_name(root) else name


def title_of(root: Path) -> str:
    """Return the name of class folders in reports."""
    return f"{printable(root.resolve().name)} (class folders)"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.")


def names_in_budgets(root: Path) -> list[str]:
    """Return the possible names of class folders in budgets.

    One name if the folders exist. Without them, a root named "imagenet" may also be ImageNet-1k, so there are two.
    """
    name = folders_name(root)
    train = root / SPLIT_FOLDERS["train"][0]
    try:
        return [IMAGENET if _has_imagenet_names(_class_names(train)) else name]
    except (OSError, UserError):  # reports are also written on machines without the images
        return [name, IMAGENET] if name == FOLDERS_PREFIX + IMAGENET else [name]


def _has_imagenet_names(classes: Sequence[str]) -> bool:
    return len(classes) == 1_000 and all(re.fullmatch(r"n\d{8}", wnid) for wnid in classes)


def _first_existing(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _class_names(folder: Path) -> list[str]:
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    classes = sorted(entry.name for entry in entries if entry.is_dir())
    if classes:
        return classes
    contents = "images and no class folders" if any(_is_image(entry.name) for entry in entries) else "no class folders"
    raise UserError(f"{folder} holds {contents}: {REMEDY}")


def _check_same_classes(classes: Sequence[str], others: Sequence[str], train: Path | None, other: Path | None) -> None:
    for missing, incomplete, complete in (
        (sorted(set(classes) - set(others)), other, train),
        (sorted(set(others) - set(classes)), train, other),
    ):
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise UserError(
                f"{incomplete} lacks the classes {', '.join(missing[:NAMED])}{more} of {complete}: "
                "expected the same classes in both"
            )


def _images(root: Path, folder: Path, classes: Sequence[str]) -> Iterator[File]:
    for label, name in enumerate(classes):
        paths = list(_image_paths(folder / name))
        if not paths:
            raise UserError(f"{folder / name} holds no images ({', '.join(SUFFIXES)}): add images or remove the folder")
        yield from (File(os.path.relpath(path, root), os.stat(path).st_size, label) for path in paths)


def _image_paths(folder: Path) -> Iterator[str]:
    """Yield the paths of the images below a folder, following links. Raises OSError, and UserError for cyclic links."""
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if os.path.islink(parent) and (real := os.path.realpath(parent)) in map(os.path.realpath, Path(parent).parents):
            raise UserError(f"{parent} is a link to {real}, a folder that contains it: remove the link")
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in names if _is_image(name) and not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
