"""One data set from every kind of source, and every way in which a source can be bad."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_repro.data import catalogue, sources
from resnet_repro.data.arrays import Split, canonical, load, store
from resnet_repro.data.catalogue import CIFAR10, CIFAR100, STANDIN_TINY, DatasetFacts
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.standin import generate
from resnet_repro.errors import UserError

TRAIN, TEST = 50, 20


def _splits() -> dict[str, Split]:
    rng = np.random.default_rng(7)
    return {
        name: Split(rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8))
        for name, count in (("train", TRAIN), ("test", TEST))
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> DatasetFacts:
    """CIFAR-10's names and layouts with 70 images, and an official site that cannot be reached."""
    digests = {name: canonical(split)[1] for name, split in _splits().items()}
    facts = replace(
        CIFAR10, train_images=TRAIN, test_images=TEST, digests=digests, url="http://127.0.0.1:9/cifar-10-python.tar.gz"
    )
    standin = replace(catalogue.STANDIN, train_images=20, test_images=10)
    monkeypatch.setitem(catalogue.CATALOGUE, "cifar10", facts)
    monkeypatch.setitem(catalogue.CATALOGUE, "standin", standin)
    return facts


def write_class_folders(folder: Path) -> Path:
    for name, split in _splits().items():
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / "cifar10" / name / CIFAR10.class_names[label] / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return folder / "cifar10"


def write_batches(folder: Path) -> Path:
    target = folder / "cifar-10-batches-py"
    target.mkdir(parents=True)
    splits = _splits()
    parts = {f"data_batch_{i + 1}": (splits["train"], slice(i * 10, (i + 1) * 10)) for i in range(5)}
    for name, (split, part) in (parts | {"test_batch": (splits["test"], slice(0, TEST))}).items():
        batch = {b"data": split.images[part].reshape(-1, 3072), b"labels": [int(v) for v in split.labels[part]]}
        (target / name).write_bytes(pickle.dumps(batch, protocol=2))
    (target / "batches.meta").write_bytes(b"ignored")
    return target


def pack(content: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as file:
        file.add(content, content.name)
    return archive


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "class folders": write_class_folders,
    "official batches": write_batches,
    "archive of class folders": lambda f: pack(write_class_folders(f / "x"), f / "cifar10.tgz"),
    "official archive": lambda f: pack(write_batches(f / "x"), f / "cifar-10-python.tar.gz"),
}


@pytest.mark.parametrize(
    ("layout", "place"),
    [(layout, place) for layout in LAYOUTS for place in ("data folder", "mirror")]
    + [(layout, "mirror url") for layout in LAYOUTS if "archive" in layout],
)
def test_every_source_gives_the_same_arrays(layout: str, place: str, small: DatasetFacts, tmp_path: Path) -> None:
    data, mirror = tmp_path / "data", tmp_path / "mirror"
    data.mkdir()
    mirror.mkdir()
    LAYOUTS[layout](data if place == "data folder" else mirror)
    if place == "mirror url":
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(mirror)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arrays = obtain("cifar10", DataSources(data, f"http://127.0.0.1:{server.server_port}/"))
        server.shutdown()
    else:
        arrays = obtain("cifar10", DataSources(data, None if place == "data folder" else str(mirror)))
    expected = canonical(_splits()["train"])[0]
    assert np.array_equal(arrays.train.images, expected.images)
    assert np.array_equal(arrays.train.labels, expected.labels)
    assert arrays.train.images.dtype == np.uint8
    assert arrays.train.images.shape == (TRAIN, 3, 32, 32)
    assert isinstance(arrays.train.images, np.memmap)
    assert not arrays.facts.standin


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_digest_knows_labels_and_pixels_but_no_order() -> None:
    split = _splits()["train"]
    turned = Split(split.images[::-1].copy(), split.labels[::-1].copy())
    assert canonical(split)[1] == canonical(turned)[1]
    assert np.array_equal(canonical(split)[0].images, canonical(turned)[0].images)
    relabelled = split.labels.copy()
    relabelled[3] ^= 1
    assert canonical(Split(split.images, relabelled))[1] != canonical(split)[1]
    repainted = split.images.copy()
    repainted[3, 0, 0, 0] ^= 1
    assert canonical(Split(repainted, split.labels))[1] != canonical(split)[1]


def test_a_second_load_needs_the_cache_alone(
    small: DatasetFacts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = tmp_path / "mirror"
    write_batches(mirror)
    first = obtain("cifar10", DataSources(tmp_path / "data", str(mirror)))
    caplog.clear()
    second = obtain("cifar10", DataSources(tmp_path / "data"))
    assert first.digest == second.digest and not caplog.messages


def test_a_damaged_cache_is_made_anew(small: DatasetFacts, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_batches(data)
    arrays = obtain("cifar10", DataSources(data))
    images = arrays.folder / "train_images.npy"
    images.write_bytes(images.read_bytes()[:1_000])
    assert load(small, arrays.folder) is None
    assert obtain("cifar10", DataSources(data)).digest == arrays.digest


def test_two_processes_may_fill_the_cache_at_once(small: DatasetFacts, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_batches(data)
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(obtain("cifar10", DataSources(data)).digest)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 4
    assert len(set(digests)) == 1
    assert [p.name for p in (data / "cache").iterdir()] == ["cifar10"]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _other_images(folder: Path) -> None:
    path = next((folder / "cifar10" / "train" / "cat").iterdir())
    Image.new("RGB", (32, 32)).save(path)


def _tampered_pickle(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(folder / "owned"),)

    (folder / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(Evil()))


def _escaping_archive(path: Path, member: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w:gz") as file:
        file.addfile(member, io.BytesIO(b""))


def _link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def _noise(path: Path, compression: str) -> None:
    """An archive whose compressed data go wrong in the middle."""
    with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
        content = np.random.default_rng(0).integers(0, 64, 200_000, dtype=np.uint8).tobytes()
        member = tarfile.TarInfo("cifar10/train/dog/1.png")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2_000] = b"\xff" * 2_000
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated archive": (
        lambda f: _truncate(pack(write_batches(f / "x"), f / "cifar-10-python.tar.gz")),
        "cifar-10-python.tar.gz is truncated or no tar archive .*: replace it",
    ),
    "no archive": (lambda f: (f / "cifar10.tgz").write_bytes(b"hello"), "cifar10.tgz is truncated or no tar archive"),
    "archive that climbs out": (
        lambda f: _escaping_archive(f / "cifar10.tgz", tarfile.TarInfo("../../cifar10/train/cat/1.png")),
        "unsafe member '../../cifar10",
    ),
    "archive with a link": (
        lambda f: _escaping_archive(f / "cifar10.tgz", _link("cifar10/train/cat")),
        "unsafe member",
    ),
    "absolute member": (
        lambda f: _escaping_archive(f / "cifar10.tgz", tarfile.TarInfo("/cifar10/train/cat/1.png")),
        "unsafe member",
    ),
    "gzip that turns to noise": (lambda f: _noise(f / "cifar10.tgz", "gz"), "is truncated or no tar archive"),
    "xz that turns to noise": (lambda f: _noise(f / "cifar10.tgz", "xz"), "is truncated or no tar archive"),
    "other images": (lambda f: (write_class_folders(f), _other_images(f)), "does not hold CIFAR-10: the digest"),
    "missing image": (
        lambda f: next((write_class_folders(f) / "train" / "dog").iterdir()).unlink(),
        "holds 49 of 50 train images of CIFAR-10: replace it",
    ),
    "unreadable image": (
        lambda f: next((write_class_folders(f) / "train" / "dog").iterdir()).write_bytes(b"no image"),
        r"dog/.*\.png\) is no readable image .*: replace it",
    ),
    "wrong size": (
        lambda f: Image.new("RGB", (8, 8)).save(next((write_class_folders(f) / "test" / "dog").iterdir())),
        "has shape",
    ),
    "foreign class": (
        lambda f: (write_class_folders(f) / "train" / "dog").rename(f / "cifar10" / "train" / "wolf"),
        "holds the class 'wolf', which CIFAR-10 has not",
    ),
    "no test images": (
        lambda f: (write_batches(f) / "test_batch").unlink(),
        "holds no test images of CIFAR-10",
    ),
    "cut batch": (lambda f: _truncate(write_batches(f) / "data_batch_1"), "data_batch_1.* is no official batch"),
    "pickle with code": (lambda f: (write_batches(f), _tampered_pickle(f)), "data_batch_2.* is no official batch"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_mirror_is_named_and_not_passed_over(damage: str, small: DatasetFacts, tmp_path: Path) -> None:
    mirror, data = tmp_path / "mirror", tmp_path / "data"
    mirror.mkdir()
    spoil, message = DAMAGES[damage]
    spoil(mirror)
    for name in ("cifar10", "auto"):
        with pytest.raises(UserError, match=message) as error:
            obtain(name, DataSources(data, str(mirror)))
        assert "\n" not in str(error.value)
    assert not (mirror / "owned").exists()
    assert not list((data / "cache").glob("*")) if (data / "cache").exists() else True


def test_a_file_that_may_not_be_read_is_named(
    small: DatasetFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path / "mirror")

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"\.png cannot be read \(Permission denied\): see to its permissions"):
        obtain("cifar10", DataSources(tmp_path / "data", str(tmp_path / "mirror")))


def test_a_damaged_source_that_nobody_named_is_passed_over(
    small: DatasetFacts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, mirror = tmp_path / "data", tmp_path / "mirror"
    data.mkdir()
    (data / "cifar10.tgz").write_bytes(b"hello")
    write_batches(mirror)
    arrays = obtain("cifar10", DataSources(data, str(mirror), data_dir_named=False))
    assert len(arrays.train) == TRAIN
    assert any("passed over" in line and "cifar10.tgz" in line for line in caplog.messages)
    with pytest.raises(UserError, match=r"cifar10\.tgz"):
        obtain("cifar10", DataSources(tmp_path / "data2", str(data)))


def test_auto_takes_the_standin_and_says_so_and_cifar10_does_not(
    small: DatasetFacts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = obtain("auto", DataSources(tmp_path))
    assert arrays.facts.standin
    assert any("STAND-IN" in line for line in caplog.messages)
    with pytest.raises(UserError, match=r"CIFAR-10 is not to be had .* set DATA_MIRROR"):
        obtain("cifar10", DataSources(tmp_path))


def test_a_mirror_that_is_no_folder_is_named(small: DatasetFacts, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is no folder"):
        obtain("cifar10", DataSources(tmp_path, str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    "mirror", ["http://localhost:abc/", "http://a b/", "http://[::1", f"http://{80 * 'a'}.com/", "http://127.0.0.1:1/"]
)
def test_a_mirror_that_is_no_address_is_named(mirror: str, small: DatasetFacts, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=rf"^{re.escape(mirror.rstrip('/'))}/cifar10\.tgz c.*(DATA_MIRROR|network)$"
    ) as error:
        obtain("cifar10", DataSources(tmp_path, mirror))
    assert "\n" not in str(error.value)


def test_an_unwritable_data_folder_is_named(small: DatasetFacts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*: name another DATA_DIR"):
        obtain("standin-tiny", DataSources(tmp_path / "file"))


def test_contents_other_than_the_catalogues_are_never_cached(small: DatasetFacts, tmp_path: Path) -> None:
    splits = _splits()
    splits["train"] = Split(splits["train"].images ^ 1, splits["train"].labels)
    with pytest.raises(UserError, match="digest"):
        store(small, splits, tmp_path / "cache" / "cifar10", "a test")
    assert not (tmp_path / "cache" / "cifar10").exists()


FINE_TRAIN, FINE_TEST = 200, 100


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Split]:
    """Made-up CIFAR-100 of 300 images, all classes in it, and an official site that cannot be reached."""
    rng = np.random.default_rng(8)
    splits = {
        name: Split(
            rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), (np.arange(count)[::-1] % 100).astype(np.uint8)
        )
        for name, count in (("train", FINE_TRAIN), ("test", FINE_TEST))
    }
    facts = replace(
        CIFAR100,
        train_images=FINE_TRAIN,
        test_images=FINE_TEST,
        digests={name: canonical(split)[1] for name, split in splits.items()},
        url="http://127.0.0.1:9/cifar-100-python.tar.gz",
    )
    monkeypatch.setitem(catalogue.CATALOGUE, "cifar100", facts)
    return splits


def write_fine_batches(folder: Path, splits: dict[str, Split]) -> Path:
    """CIFAR-100's official files; the coarse labels in them are other numbers than the fine ones."""
    target = folder / "cifar-100-python"
    target.mkdir(parents=True)
    for name, split in splits.items():
        labels = [int(v) for v in split.labels]
        batch = {b"data": split.images.reshape(-1, 3072), b"fine_labels": labels, b"coarse_labels": [0] * len(labels)}
        (target / name).write_bytes(pickle.dumps(batch, protocol=2))
    (target / "meta").write_bytes(b"ignored")
    return target


def write_fine_folders(folder: Path, splits: dict[str, Split]) -> Path:
    for name, split in splits.items():
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / "cifar100" / name / CIFAR100.class_names[label] / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return folder / "cifar100"


def test_the_fine_classes_are_a_hundred_in_alphabetical_order() -> None:
    names = CIFAR100.class_names
    assert (len(set(names)), names[0], names[-1]) == (100, "apple", "worm")
    assert list(names) == sorted(names)


@pytest.mark.parametrize(
    "layout", ["official batches", "official archive", "class folders", "archive of class folders"]
)
def test_cifar100_has_fine_labels_whatever_the_source(layout: str, fine: dict[str, Split], tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    write = write_fine_batches if "official" in layout else write_fine_folders
    if "archive" in layout:
        name = "cifar-100-python.tar.gz" if "official" in layout else "cifar100.tgz"
        pack(write(tmp_path / "x", fine), mirror / name)
    else:
        write(mirror, fine)
    arrays = obtain("auto", DataSources(tmp_path / "data", str(mirror)), default_name="cifar100")
    assert (arrays.facts.name, arrays.facts.classes) == ("cifar100", 100)
    for name, split in (("train", arrays.train), ("test", arrays.test)):
        expected = canonical(fine[name])[0]
        assert np.array_equal(split.images, expected.images)
        assert np.array_equal(split.labels, expected.labels)


@pytest.mark.parametrize("form", ["batch", "folder", "archive"])
@pytest.mark.parametrize("asked", ["cifar10", "cifar100"])
def test_one_cifar_is_not_taken_for_the_other(
    asked: str, form: str, small: DatasetFacts, fine: dict[str, Split], tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    facts = catalogue.dataset(asked)
    other = write_batches(tmp_path) if asked == "cifar100" else write_fine_batches(tmp_path, fine)
    if form == "archive":
        pack(other, mirror / facts.archives[1])
    else:
        other.rename(mirror / facts.folders[0])
    if form == "batch":  # under the other set's file names too
        theirs, ours = ("data_batch_1", "train") if asked == "cifar100" else ("train", "data_batch_1")
        (mirror / facts.folders[0] / theirs).rename(mirror / facts.folders[0] / ours)
    with pytest.raises(UserError, match=rf"has no '{facts.label_key}' as {facts.title}'s batches have: name") as error:
        obtain(asked, DataSources(tmp_path / "data", str(mirror)))
    assert str(mirror) in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "data").glob("cache/*"))


def test_the_standin_is_seeded_and_balanced_and_colour_says_nothing() -> None:
    first, second = generate(STANDIN_TINY), generate(STANDIN_TINY)
    assert np.array_equal(first["train"].images, second["train"].images)
    assert np.bincount(first["train"].labels).tolist() == [100] * 10
    assert not np.array_equal(first["train"].images[:500], first["test"].images)
    images, labels = first["train"].images.astype(np.float64), first["train"].labels
    colours = images.mean((2, 3))
    centres = np.stack([colours[labels == label].mean(0) for label in range(10)])
    test_colours = first["test"].images.astype(np.float64).mean((2, 3))
    nearest = np.square(test_colours[:, None] - centres).sum(2).argmin(1)
    assert (nearest == first["test"].labels).mean() < 0.2  # chance is 0.1


def test_real_cifar10_from_the_mirror(real_mirror: str, tmp_path: Path) -> None:
    arrays = obtain("cifar10", DataSources(tmp_path, real_mirror))
    assert arrays.train.images.shape == (50_000, 3, 32, 32)
    assert np.bincount(arrays.test.labels).tolist() == [1_000] * 10
    mean = arrays.train.images.mean((0, 2, 3)) / 255
    assert mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert arrays.test.images.std((0, 2, 3)) / 255 == pytest.approx([0.2467, 0.2429, 0.2616], abs=5e-5)
    assert sources.load(CIFAR10, arrays.folder) is not None


def test_real_cifar100_from_the_mirror(real_mirror: str, tmp_path: Path) -> None:
    if not (Path(real_mirror) / "cifar100.tgz").exists():
        pytest.skip("DATA_MIRROR holds no cifar100.tgz")
    arrays = obtain("cifar100", DataSources(tmp_path, real_mirror))
    assert arrays.train.images.shape == (50_000, 3, 32, 32)
    assert np.bincount(arrays.train.labels).tolist() == [500] * 100
    assert np.bincount(arrays.test.labels).tolist() == [100] * 100
    mean = arrays.train.images.mean((0, 2, 3)) / 255
    assert mean == pytest.approx([0.5071, 0.4865, 0.4409], abs=5e-5)
    assert arrays.test.images.std((0, 2, 3)) / 255 == pytest.approx([0.2683, 0.2574, 0.2771], abs=5e-5)
    assert sources.load(CIFAR100, arrays.folder) is not None
