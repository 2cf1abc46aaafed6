"""Where the bytes of a data set come from: the data folder, a mirror, the official site; class folders, archives, batches."""

from __future__ import annotations

import io
import pickle
import socket
import tarfile
import tempfile
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from resnet_repro.data.arrays import Arrays, Split, load, store
from resnet_repro.data.catalogue import DatasetFacts, dataset
from resnet_repro.data.standin import generate
from resnet_repro.errors import UserError

Say = Callable[[str], None]
IMAGE_SUFFIXES = {".webp", ".png", ".bmp", ".jpg", ".jpeg"}
OFFICIAL_BATCHES = {  # CIFAR-10's files, then CIFAR-100's
    **{f"data_batch_{number}": "train" for number in range(1, 6)},
    "test_batch": "test",
    "train": "train",
    "test": "test",
}
TIMEOUT_SECONDS = 20.0


def obtain(
    name: str, data_dir: Path, mirror: str | None, say: Say, default_name: str = "cifar10", data_dir_named: bool = True
) -> Arrays:
    """The arrays of a data set, from its cache or from the first source that has it.

    name: a name of the catalogue, or "auto": `default_name` where it can be had, else the built-in stand-in.
    data_dir_named: whether the user chose the data folder; a damaged source is passed over only if not.
    Raises UserError where no source has the data set, or where a source that the user named is damaged.
    """
    facts = dataset(default_name if name == "auto" else name)
    cache = data_dir / "cache" / facts.name
    if arrays := load(facts, cache):
        return arrays
    if facts.standin:
        return _make_standin(facts, cache, say)
    problems = []
    for origin, named, read in _sources(facts, data_dir, mirror, data_dir_named, say):
        say(f"reading {facts.title} from {origin}")
        try:
            store(facts, read(), cache, origin)
        except UserError as error:
            if named:
                raise
            problems.append(str(error))
            say(f"passed over: {error}")
            continue
        arrays = load(facts, cache)
        assert arrays is not None, f"{cache} was written and cannot be read"
        return arrays
    where = f"{data_dir}" + (f", {mirror}" if mirror else "") + " and the official site"
    trouble = f" ({problems[-1]})" if problems else ""
    if name == "auto":
        say(f"STAND-IN DATA: {facts.title} is not to be had from {where}; training on generated images instead")
        return obtain("standin", data_dir, mirror, say)
    raise UserError(
        f"{facts.title} is not to be had from {where}{trouble}: "
        f"set DATA_MIRROR to a folder or URL that holds {' or '.join(facts.archives)}"
    )


def _make_standin(facts: DatasetFacts, cache: Path, say: Say) -> Arrays:
    say(f"drawing the {facts.title}")
    store(facts, generate(facts), cache, "the built-in generator")
    arrays = load(facts, cache)
    assert arrays is not None, f"{cache} was written and cannot be read"
    return arrays


def _sources(
    facts: DatasetFacts, data_dir: Path, mirror: str | None, data_dir_named: bool, say: Say
) -> Iterator[tuple[str, bool, Callable[[], dict[str, Split]]]]:
    """(origin, whether the user named it, how to read it) of every source that has something, best first."""
    for path in _holdings(facts, data_dir):
        yield str(path), data_dir_named, lambda path=path: read_source(facts, path)
    if mirror and urllib.parse.urlparse(mirror).scheme in ("http", "https", "file", "ftp"):
        for archive in facts.archives:
            url = f"{mirror.rstrip('/')}/{archive}"
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / archive
                if _download(url, path, say, optional=True):
                    yield url, True, lambda path=path, url=url: read_source(facts, path, url)
    elif mirror:
        if not Path(mirror).is_dir():
            raise UserError(f"DATA_MIRROR={mirror} is no folder: name an existing folder or a URL")
        for path in _holdings(facts, Path(mirror)):
            yield str(path), True, lambda path=path: read_source(facts, path)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / facts.url.rsplit("/", 1)[-1]

        def read_official() -> dict[str, Split]:
            _download(facts.url, path, say)
            return read_source(facts, path, facts.url)

        yield facts.url, False, read_official


def _holdings(facts: DatasetFacts, folder: Path) -> list[Path]:
    candidates = [folder / name for name in (*facts.folders, *facts.archives)]
    return [path for path in candidates if path.exists()]


def _download(url: str, path: Path, say: Say, optional: bool = False) -> bool:
    """Fetch `url` to `path`. False where an optional file is not there. Raises UserError for any other failure."""
    from torch.hub import download_url_to_file

    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        download_url_to_file(url, str(path), progress=True)
    except urllib.error.HTTPError as error:
        if optional and error.code in (403, 404):
            return False
        raise UserError(f"{url} answers {error.code} {error.reason}: name another DATA_MIRROR") from error
    except urllib.error.URLError as error:
        if optional and isinstance(error.reason, FileNotFoundError):
            return False
        raise UserError(f"{url} cannot be reached ({error.reason}): check the address or the network") from error
    except OSError as error:
        raise UserError(f"{url} could not be downloaded ({error}): try again or name a DATA_MIRROR") from error
    finally:
        socket.setdefaulttimeout(None)
    return True


def read_source(facts: DatasetFacts, path: Path, origin: str | None = None) -> dict[str, Split]:
    """Decode the images and labels under a folder or inside a tar archive.

    Understands class folders `{train,test}/<class>/<image>` and the official pickled batches.
    Raises UserError naming the file and the remedy where it is truncated, unsafe or holds something else.
    """
    origin = origin or str(path)
    files = _folder_files(path) if path.is_dir() else _archive_files(path, origin)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"train": [], "test": []}
    for name, data in files:
        if split := OFFICIAL_BATCHES.get(PurePosixPath(name).name):
            found[split].append(_read_batch(facts, data, f"{origin} ({name})"))
        elif PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
            split, label = _place(facts, name, origin)
            found[split].append((_read_image(facts, data, f"{origin} ({name})")[None], np.array([label], np.uint8)))
    splits = {}
    for split, parts in found.items():
        if not parts:
            raise UserError(f"{origin} holds no {split} images of {facts.title}: name a source that does")
        images, labels = zip(*parts, strict=True)
        splits[split] = Split(np.concatenate(images), np.concatenate(labels))
    return splits


def _folder_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path.parent).as_posix(), file.read_bytes()


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
    except (tarfile.TarError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise UserError(f"{origin} is truncated or no tar archive ({reason}): replace it by a whole copy") from error


def _place(facts: DatasetFacts, name: str, origin: str) -> tuple[str, int]:
    """Split and label of an image in class folders, from the last three parts of its name."""
    parts = PurePosixPath(name).parts
    if len(parts) < 3 or parts[-3] not in ("train", "test"):
        raise UserError(f"{origin} holds {name}, which is not of the form train/<class>/<image>: name another source")
    if parts[-2] not in facts.class_names:
        raise UserError(f"{origin} holds the class {parts[-2]!r}, which {facts.title} has not: name another source")
    return parts[-3], facts.class_names.index(parts[-2])


def _read_image(facts: DatasetFacts, data: bytes, origin: str) -> np.ndarray:
    """(C, H, W) uint8."""
    try:
        with Image.open(io.BytesIO(data)) as image:
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
