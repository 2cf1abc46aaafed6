"""Published formats of data sets: all give the same arrays, and damaged files are rejected."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from made_sources import assert_made, official_files, pack, shrink, write_class_folders, write_official
from PIL import Image

from resnet_repro.data.catalogue import CATALOGUE, CIFAR10, CIFAR100, MNIST, DatasetFacts
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.errors import UserError

Spoil = Callable[[Path], object]
IMAGES = "t10k-images-idx3-ubyte"


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> DatasetFacts:
    return shrink(monkeypatch, CIFAR10)


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> DatasetFacts:
    return shrink(monkeypatch, MNIST)


LAYOUTS: dict[str, Callable[[Path, DatasetFacts], object]] = {
    "official files": write_official,
    "official files, gzipped": lambda folder, facts: write_official(folder, facts, zipped=True),
    "official archive": lambda f, facts: pack(write_official(f / "x", facts), f / facts.archives[1]),
    "class folders": write_class_folders,
    "archive of class folders": lambda f, facts: pack(write_class_folders(f / "x", facts), f / facts.archives[0]),
}


@pytest.mark.parametrize(
    ("facts", "layout"),
    [(facts, layout) for facts in (CIFAR10, CIFAR100) for layout in LAYOUTS if "gzipped" not in layout]
    + [(MNIST, layout) for layout in LAYOUTS if "archive" not in layout],
    ids=lambda value: getattr(value, "name", value),
)
def test_all_formats_give_the_same_arrays(
    facts: DatasetFacts, layout: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CIFAR-100 has its fine labels."""
    LAYOUTS[layout](tmp_path / "mirror", shrink(monkeypatch, facts))
    assert_made(obtain(facts.name, DataSources(tmp_path / "data", str(tmp_path / "mirror"))))


def test_idx_files_may_be_gzipped_unpacked_or_both(mnist: DatasetFacts, tmp_path: Path) -> None:
    """One file only gzipped, one only unpacked, one unpacked under its gzipped name, one in both forms."""
    folder = write_official(tmp_path, mnist)
    write_official(tmp_path, mnist, zipped=True)
    names = list(mnist.md5)
    (folder / names[0]).unlink()
    (folder / f"{names[1]}.gz").unlink()
    (folder / names[2]).replace(folder / f"{names[2]}.gz")
    assert_made(obtain("mnist", DataSources(tmp_path)))


@pytest.mark.parametrize("layout", ["class folders", "archive of class folders", "official files"])
def test_hidden_files_and_thumbnails_of_a_source_are_ignored(
    layout: str, cifar10: DatasetFacts, tmp_path: Path
) -> None:
    folder = (write_official if "official" in layout else write_class_folders)(tmp_path / "mirror", cifar10)
    for name in (
        *("._0.png", ".hidden/0.png", "Thumbs.db", "train/airplane/._0.png", "__MACOSX/train/airplane/._0.png"),
        *("train/airplane/@eaDir/0.png/SYNOFILE_THUMB_M.jpg", "@eaDir/data_batch_1", "._data_batch_1"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"metadata")
    if "archive" in layout:
        pack(folder, tmp_path / "mirror" / cifar10.archives[0])
        shutil.rmtree(folder)
    assert_made(obtain("cifar10", DataSources(tmp_path / "data", str(tmp_path / "mirror"))))


@pytest.mark.parametrize(
    ("facts", "official"), [(CIFAR10, torchvision.datasets.CIFAR10), (CIFAR100, torchvision.datasets.CIFAR100)]
)
def test_md5_sums_equal_torchvisions(facts: DatasetFacts, official: type) -> None:
    assert facts.md5 == dict(official.train_list + official.test_list)


def test_cifar100_has_a_hundred_classes_in_alphabetical_order() -> None:
    names = CIFAR100.class_names
    assert (len(set(names)), names[0], names[-1]) == (100, "apple", "worm")
    assert list(names) == sorted(names)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_bit(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _any_dog(folder: Path) -> Path:
    return next((write_class_folders(folder, CIFAR10) / "train" / "dog").iterdir())


def _pickle_with_code(path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(path.parents[1] / "owned"),)

    path.write_bytes(pickle.dumps(Evil()))


def _archive_of(name: str, link: str = "") -> Spoil:
    def write(folder: Path) -> None:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        with tarfile.open(folder / "cifar10.tgz", "w:gz") as file:
            file.addfile(member, io.BytesIO(b""))

    return write


def _noise(compression: str) -> Spoil:
    """An archive with damaged data in the middle."""

    def write(folder: Path) -> None:
        path = folder / "cifar10.tgz"
        with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
            content = np.random.default_rng(0).integers(0, 64, 200_000, dtype=np.uint8).tobytes()
            member = tarfile.TarInfo("cifar10/train/dog/1.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 2_000] = b"\xff" * 2_000
        path.write_bytes(data)

    return write


DAMAGES: dict[str, tuple[Spoil, str]] = {
    "truncated archive": (
        lambda f: _truncate(pack(write_official(f / "x", CIFAR10), f / "cifar-10-python.tar.gz")),
        r"cifar-10-python\.tar\.gz is not a complete tar archive",
    ),
    "no archive": (lambda f: (f / "cifar10.tgz").write_bytes(b"hello"), r"cifar10\.tgz is not a complete tar archive"),
    "archive that climbs out": (
        _archive_of("../../cifar10/train/cat/1.png"),
        r"unsafe member '\.\./\.\./cifar10/train/cat/1.png'",
    ),
    "archive with a link": (_archive_of("cifar10/train/cat", "/etc/passwd"), "unsafe member"),
    "absolute member": (_archive_of("/cifar10/train/cat/1.png"), "unsafe member"),
    "gzip with damaged data": (_noise("gz"), "not a complete tar archive"),
    "xz with damaged data": (_noise("xz"), "not a complete tar archive"),
    "other images": (
        lambda f: Image.new("RGB", (32, 32)).save(_any_dog(f)),
        "does not hold CIFAR-10: .*digest .* train images",
    ),
    "missing image": (lambda f: _any_dog(f).unlink(), "holds 49 train images of CIFAR-10: expected 50"),
    "unreadable image": (
        lambda f: _any_dog(f).write_bytes(b"no image"),
        r"train/dog/.*\.png\) cannot be read as an image",
    ),
    "wrong size": (lambda f: Image.new("RGB", (8, 8)).save(_any_dog(f)), r"has shape \(3, 8, 8\)"),
    "foreign class": (
        lambda f: _any_dog(f).parent.rename(f / "cifar10" / "train" / "wolf"),
        "holds the class 'wolf': expected .*CIFAR-10",
    ),
    "no test images": (
        lambda f: shutil.rmtree(write_class_folders(f, CIFAR10) / "test"),
        "holds no test images of CIFAR-10",
    ),
    "no test batch": (
        lambda f: (write_official(f, CIFAR10) / "test_batch").unlink(),
        "lacks the file test_batch of CIFAR-10",
    ),
    "cut batch": (
        lambda f: _truncate(write_official(f, CIFAR10) / "data_batch_1"),
        r"data_batch_1\) is not the official file of CIFAR-10: expected MD5 [0-9a-f]{32}, not [0-9a-f]{32}",
    ),
    "pickle with code": (
        lambda f: _pickle_with_code(write_official(f, CIFAR10) / "data_batch_2"),
        r"data_batch_2\) is not the official file",
    ),
    "batch of CIFAR-100": (
        lambda f: (write_official(f, CIFAR10) / "data_batch_1").write_bytes(official_files(CIFAR100)["train"]),
        r"data_batch_1\) is not the official file",
    ),
    "archive of CIFAR-100": (
        lambda f: pack(write_official(f / "x", CIFAR100), f / "cifar-10-python.tar.gz"),
        "holds no train images of CIFAR-10",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_mirror_is_an_error_that_names_it(damage: str, cifar10: DatasetFacts, tmp_path: Path) -> None:
    assert_rejected(*DAMAGES[damage], cifar10, tmp_path)
    assert not (tmp_path / "mirror" / "owned").exists()


def assert_rejected(spoil: Spoil, message: str, facts: DatasetFacts, folder: Path) -> None:
    mirror, data = folder / "mirror", folder / "data"
    mirror.mkdir()
    spoil(mirror)
    for name in (facts.name, "auto"):
        with pytest.raises(UserError, match=message) as error:
            obtain(name, DataSources(data, str(mirror)), facts.name)
        assert str(mirror) in str(error.value) and "\n" not in str(error.value)
    assert not list(data.glob("cache/*"))


IDX_DAMAGES: dict[str, tuple[Spoil, str]] = {
    "another pixel": (lambda f: _flip_a_bit(f / IMAGES), rf"{IMAGES}\) is not the official file of MNIST: .*MD5"),
    "truncated file": (lambda f: _truncate(f / IMAGES), rf"{IMAGES}\) is not the official file of MNIST: .*MD5"),
    "truncated gzip": (
        lambda f: (
            (f / IMAGES).unlink(),
            (f / f"{IMAGES}.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03cut off"),
        ),
        rf"{IMAGES}\.gz\) is not a complete gzip file",
    ),
    "missing file": (lambda f: (f / IMAGES).unlink(), f"mnist lacks the file {IMAGES} of MNIST"),
}


@pytest.mark.parametrize("damage", IDX_DAMAGES)
def test_damaged_idx_file_is_an_error_that_names_it(damage: str, mnist: DatasetFacts, tmp_path: Path) -> None:
    spoil, message = IDX_DAMAGES[damage]
    assert_rejected(lambda mirror: spoil(write_official(mirror, mnist)), message, mnist, tmp_path)


@pytest.mark.parametrize(
    ("name", "train", "test"),  # mean and standard deviation of each channel of pixels in [0, 1]
    [
        (
            "cifar10",
            ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
            ([0.4942, 0.4851, 0.4504], [0.2467, 0.2429, 0.2616]),
        ),
        (
            "cifar100",
            ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
            ([0.5088, 0.4874, 0.4419], [0.2683, 0.2574, 0.2771]),
        ),
        ("mnist", ([0.1307], [0.3081]), ([0.1325], [0.3105])),
        ("fashion-mnist", ([0.2860], [0.3530]), ([0.2868], [0.3524])),
    ],
)
def test_real_data_from_the_mirror(
    name: str, train: tuple[list, list], test: tuple[list, list], real_mirror: str, tmp_path: Path
) -> None:
    facts = CATALOGUE[name]
    if not any((Path(real_mirror) / path).exists() for path in (*facts.archives, *facts.folders)):
        pytest.skip(f"DATA_MIRROR does not hold {name}")
    arrays = obtain("auto", DataSources(tmp_path, real_mirror), name)
    assert (arrays.facts.name, len(arrays.train), len(arrays.test)) == (name, facts.train_images, facts.test_images)
    assert set(arrays.train.labels.tolist()) == set(range(facts.classes))
    if name.startswith("cifar"):
        assert np.bincount(arrays.test.labels).tolist() == [10_000 // facts.classes] * facts.classes
    for split, (mean, std) in ((arrays.train, train), (arrays.test, test)):
        assert split.images.mean((0, 2, 3)) / 255 == pytest.approx(mean, abs=5e-5)
        assert split.images.std((0, 2, 3)) / 255 == pytest.approx(std, abs=6e-5)
