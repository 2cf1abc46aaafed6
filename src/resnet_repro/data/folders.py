"""A data set of class folders: which images there are, found without opening one of them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from resnet_repro.data.catalogue import CATALOGUE, DatasetFacts
from resnet_repro.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
FOLDERS_PREFIX = "folders-"  # of the names of data sets that are class folders
IMAGENET = "imagenet"  # the one whose class folders have a name of their own
IMAGENET_IMAGES = 1_281_167  # for training
NAMED = 4  # classes that a message names
REMEDY = "lay the images out as train/<class>/*, val/<class>/*"


@dataclass(frozen=True)
class File:
    """An image: its path below the root, its size in bytes, its label."""

    path: str
    size: int
    label: int


@dataclass(frozen=True)
class ClassFolders:
    """The images of each split ("train", "test", and "validation" where there are both val and test).

    They stand in the order of their paths' digests, which mixes the classes: the first k are a sample of all of them.
    """

    root: Path
    facts: DatasetFacts
    files: dict[str, list[File]]

    @cached_property
    def digest(self) -> str:
        """sha256 of the listing: split, path, size and label of every image, whose contents are not read."""
        lines = (
            f"{split} {file.path} {file.size} {file.label}\n" for split, files in self.files.items() for file in files
        )
        return hashlib.sha256(os.fsencode("".join(sorted(lines)))).hexdigest()

    def class_counts(self, split: str) -> dict[str, int]:
        """{class: images} of a split."""
        counts = Counter(file.label for file in self.files[split])
        return {name: counts[label] for label, name in enumerate(self.facts.class_names)}


def scan(root: Path) -> ClassFolders:
    """The images below root/train/<class> and root/val or root/test; of ImageNet-1k by its classes' names.

    Where there are both, those of val are the split "validation". Files with other suffixes, and hidden ones, are not
    looked at. Raises UserError where the folders are not as they must be.
    """
    try:
        return _scan(root)
    except OSError as error:  # of a link to nothing, for one
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}): repair or remove it, or see to its permissions"
        ) from error


def _scan(root: Path) -> ClassFolders:
    if not root.is_dir():
        raise UserError(f"DATASET={root} is no folder: name the folder that holds train and val")
    found = {split: _first(root, names) for split, names in SPLIT_FOLDERS.items()}
    if found["train"] is None:
        raise UserError(f"{root} holds no folder train: {REMEDY}")
    if found["val"] is None and found["test"] is None:
        raise UserError(f"{root} holds no folder val or test to score on: {REMEDY}")
    folders = {"train": found["train"], "test": found["test"] or found["val"]}
    if found["test"] and found["val"]:
        folders["validation"] = found["val"]
    names = {split: _class_names(folder) for split, folder in folders.items() if folder}
    classes = names["train"]
    if len(classes) == 1:
        raise UserError(
            f"{folders['train']} holds one class, {classes[0]}: there is nothing to tell apart; give two or more"
        )
    for split, others in names.items():
        _check_same(classes, others, folders["train"], folders[split])
    files = {
        split: sorted(_images(root, folder, classes), key=lambda file: hashlib.sha256(os.fsencode(file.path)).digest())
        for split, folder in folders.items()
        if folder
    }
    return ClassFolders(root, _facts(root, classes, files), files)


def _facts(root: Path, classes: Sequence[str], files: dict[str, list[File]]) -> DatasetFacts:
    is_imagenet = _are_imagenets(classes)
    return DatasetFacts(
        name=IMAGENET if is_imagenet else folders_name(root),
        title="ImageNet-1k" if is_imagenet else f"{root.resolve().name} (class folders)",
        class_names=tuple(classes),
        shape=(3, 224, 224),
        train_images=len(files["train"]),
        test_images=len(files["test"]),
        digests={},
    )


def names_folders(dataset: str) -> bool:
    """Whether what the user calls a data set is the path of class folders."""
    return dataset not in CATALOGUE and ("/" in dataset or "\\" in dataset or Path(dataset).is_dir())


def folders_name(root: Path) -> str:
    """What class folders are called in the names of budgets, by the name of their root."""
    return FOLDERS_PREFIX + (re.sub(r"[^a-z0-9._]+", "-", root.resolve().name.lower()).strip("-.") or "data")


def names_in_budgets(root: Path) -> list[str]:
    """What class folders may be called in the names of budgets: one name where they are here, else also ImageNet's."""
    name = folders_name(root)
    train = root / SPLIT_FOLDERS["train"][0]
    try:
        return [IMAGENET if _are_imagenets(_class_names(train)) else name]
    except (OSError, UserError):  # records are reported where the images are no longer, or never were
        return [name, IMAGENET] if name == FOLDERS_PREFIX + IMAGENET else [name]


def _are_imagenets(classes: Sequence[str]) -> bool:
    return len(classes) == 1_000 and all(re.fullmatch(r"n\d{8}", wnid) for wnid in classes)


def _first(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _class_names(folder: Path) -> list[str]:
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    classes = sorted(entry.name for entry in entries if entry.is_dir())
    if classes:
        return classes
    what = "images and no class folders" if any(_is_image(entry.name) for entry in entries) else "no class folders"
    raise UserError(f"{folder} holds {what}: {REMEDY}")


def _check_same(classes: Sequence[str], others: Sequence[str], train: Path | None, other: Path | None) -> None:
    for missing, where, there in (
        (sorted(set(classes) - set(others)), other, train),
        (sorted(set(others) - set(classes)), train, other),
    ):
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise UserError(
                f"{where} lacks the classes {', '.join(missing[:NAMED])}{more} that {there} has: give both the same classes"
            )


def _images(root: Path, folder: Path, classes: Sequence[str]) -> Iterator[File]:
    for label, name in enumerate(classes):
        paths = list(_image_paths(folder / name))
        if not paths:
            raise UserError(
                f"{folder / name} holds no images ({', '.join(SUFFIXES)}): fill the class or remove its folder"
            )
        yield from (File(os.path.relpath(path, root), os.stat(path).st_size, label) for path in paths)


def _image_paths(folder: Path) -> Iterator[str]:
    """The images below a folder, also through links. Raises OSError."""
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if os.path.islink(parent) and (real := os.path.realpath(parent)) in map(os.path.realpath, Path(parent).parents):
            raise UserError(f"{parent} leads through a link back to a folder that it lies in, {real}: remove the link")
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in names if _is_image(name) and not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
