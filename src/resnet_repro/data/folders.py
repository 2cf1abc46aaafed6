"""Listing of a data set of class folders. Images are not opened."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from resnet_repro.data.catalogue import CATALOGUE, DatasetFacts
from resnet_repro.data.image_files import SUFFIXES, counted, is_hidden, is_image, listed, suffix_of
from resnet_repro.errors import UserError, os_reason
from resnet_repro.surroundings import printable

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
FOLDERS_PREFIX = "folders-"  # begins the names of class folders as data sets
IMAGENET = "imagenet"  # name of ImageNet-1k as a data set, without the prefix
IMAGENET_IMAGES = 1_281_167  # training images
UNNAMED = "data"  # the name in budgets of folders whose own name has no letter or digit of ASCII
LONGEST_NAME = 40  # characters of a name in budgets
DIGEST_DIGITS = 8  # of these, the digest in names that are changed
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
    left_out: dict[str, int] = field(default_factory=dict)
    """{kind: number} of the files that are not used: by suffix, if they are in no class folder with a remark. Hidden
    files do not count.
    """
    unknown_folders: tuple[str, ...] = ()
    """Names of the folders in the root that belong to no split."""

    def remarks(self) -> list[str]:
        """Return a sentence for the user on the files that are not used, and one on the folders."""
        lines = []
        if self.left_out:
            lines.append(
                f"LEFT OUT: {listed(self.left_out)} in {self.root} are not used: images are {', '.join(SUFFIXES)} in "
                "class folders"
            )
        if self.unknown_folders:
            names = [name for names in SPLIT_FOLDERS.values() for name in names]
            lines.append(
                f"LEFT OUT: {_some(self.unknown_folders)} in {self.root} is not used: the folders of images are "
                f"{', '.join(names)}"
            )
        return lines

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
    recognized by the names of its classes. Hidden files are ignored, and other files that are not images are counted, see
    `image_files`. Names of classes are equal if they differ only in the composition of letters in Unicode.
    Raises UserError if a folder is missing, two folders mean the same or are the same, a class is empty, the classes of the
    splits differ, or a file is unreadable.
    """
    try:
        return _scan(root)
    except OSError as error:  # e.g. a broken link
        raise UserError(
            f"{error.filename} cannot be read ({os_reason(error)}): repair or remove it, or check its permissions"
        ) from error


def _scan(root: Path) -> ClassFolders:
    if not root.is_dir():
        raise UserError(f"DATASET={root} is not a folder: expected a folder that holds train and val")
    present = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_hidden(entry.name))
    by_name = {
        split: _only(root, [name for name in names if _is_folder(root / name)])
        for split, names in SPLIT_FOLDERS.items()
    }
    used = [folder for folder in by_name.values() if folder]
    for one, other in itertools.combinations(used, 2):
        if os.path.samefile(one, other):
            raise UserError(f"{one} and {other} are the same folder: expected other images in each, or one of them")
    unknown = tuple(name for name in present if not any(os.path.samefile(root / name, folder) for folder in used))
    others = f"; it holds {_some(unknown)}" if unknown else ""
    if by_name["train"] is None:
        raise UserError(f"{root} has no folder train: {REMEDY}{others}")
    if by_name["val"] is None and by_name["test"] is None:
        raise UserError(f"{root} has no folder val or test: {REMEDY}{others}")
    folders = {"train": by_name["train"], "test": by_name["test"] or by_name["val"]}
    if by_name["test"] and by_name["val"]:
        folders["validation"] = by_name["val"]
    class_names = {split: _class_names(folder) for split, folder in folders.items() if folder}
    classes = class_names["train"]
    if len(classes) == 1:
        raise UserError(f"{folders['train']} holds one class, {classes[0]}: expected two or more")
    for split, names in class_names.items():
        _check_same_classes(classes, names, folders["train"], folders[split])
    files, left_out = {}, []
    for split, folder in folders.items():
        assert folder is not None
        own_names = {_composed(name): name for name in class_names[split]}
        images = _images(root, folder, [own_names[_composed(name)] for name in classes], left_out)
        files[split] = sorted(images, key=lambda file: hashlib.sha256(os.fsencode(file.path)).digest())
    return ClassFolders(root, _facts(root, classes, files), files, counted(left_out), unknown)


def _composed(name: str) -> str:
    """Return a name with its letters composed. Some systems store é as one character, others as e with an accent."""
    return unicodedata.normalize("NFC", name)


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
    name = _composed(printable(root.resolve().name))
    slug = _slug(name)
    if name.isascii() and slug and len(slug) <= LONGEST_NAME:
        return FOLDERS_PREFIX + slug
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST_DIGITS]
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


def _only(root: Path, names: Sequence[str]) -> Path | None:
    """Return the folder of a split, given the names that exist; None without one. Raises UserError for several."""
    if len(names) > 1:
        raise UserError(f"{root} holds {' and '.join(names)}, which are names of the same split: expected one of them")
    return root / names[0] if names else None


def _is_folder(path: str | Path) -> bool:
    """Whether a path is a folder. Raises OSError for a link to nothing, which may have been a folder."""
    if os.path.islink(path):
        os.stat(path)
    return os.path.isdir(path)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _class_names(folder: Path) -> list[str]:
    entries = [entry for entry in os.scandir(folder) if not is_hidden(entry.name)]
    classes = sorted(entry.name for entry in entries if _is_folder(entry.path))
    if not classes:
        contents = (
            "images and no class folders" if any(is_image(entry.name) for entry in entries) else "no class folders"
        )
        raise UserError(f"{folder} holds {contents}: {REMEDY}")
    by_composed: dict[str, str] = {}
    for name in classes:
        if (twin := by_composed.setdefault(_composed(name), name)) != name:
            raise UserError(
                f"{folder} holds two classes with the name {name}, {twin!a} and {name!a}, which differ only in "
                "the composition of letters: move their images into one"
            )
    return classes


def _check_same_classes(classes: Sequence[str], others: Sequence[str], train: Path | None, other: Path | None) -> None:
    own, theirs = ({_composed(name) for name in names} for names in (classes, others))
    for missing, incomplete, complete in (
        ([name for name in classes if _composed(name) not in theirs], other, train),
        ([name for name in others if _composed(name) not in own], train, other),
    ):
        if missing:
            raise UserError(
                f"{incomplete} lacks the classes {_some(missing)} of {complete}: expected the same classes in both"
            )


def _images(root: Path, folder: Path, classes: Sequence[str], left_out: list[str]) -> Iterator[File]:
    """Yield the images below a split's folder. The kind of each other file is appended to `left_out`."""
    for entry in os.scandir(folder):
        if not is_hidden(entry.name) and not entry.is_dir():
            left_out.append(f"{suffix_of(entry.name)} outside of class folders")
    for label, name in enumerate(classes):
        others: list[str] = []
        paths = list(_image_paths(folder / name, others))
        if not paths:
            held = f", but {listed(counted(others))}" if others else ""
            raise UserError(
                f"{folder / name} holds no images ({', '.join(SUFFIXES)}){held}: add images or remove the folder"
            )
        left_out += others
        yield from (File(os.path.relpath(path, root), _size(path), label) for path in paths)


def _size(path: str) -> int:
    """Return the bytes of a file. Raises UserError for pipes and devices, which might never end."""
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(f"{path} is not a regular file: remove it")
    return facts.st_size


def _image_paths(folder: Path, others: list[str]) -> Iterator[str]:
    """Yield the paths of the images below a folder, following links, and append the suffixes of other files to `others`.

    Raises OSError, and UserError for cyclic links.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if os.path.islink(parent) and (real := os.path.realpath(parent)) in map(os.path.realpath, Path(parent).parents):
            raise UserError(f"{parent} is a link to {real}, a folder that contains it: remove the link")
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if is_hidden(name):
                continue
            if is_image(name):
                yield os.path.join(parent, name)
            else:
                others.append(suffix_of(name))


def _raise(error: OSError) -> None:
    raise error
