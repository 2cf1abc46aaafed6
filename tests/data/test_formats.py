"""Grey images: MNIST's idx files from every source, every way in which they can be bad, their stand-ins, their batches."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data import catalogue
from resnet_repro.data.arrays import Arrays, Split, canonical
from resnet_repro.data.catalogue import (
    CIFAR10,
    CIFAR100,
    FASHION_MNIST,
    MNIST,
    STANDIN_GREY,
    STANDIN_GREY_TINY,
    DatasetFacts,
    standin_for,
)
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.standin import generate
from resnet_repro.data.stream import InMemoryData, Normalization, crop_and_flip
from resnet_repro.errors import UserError

TRAIN, TEST = 50, 20


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


CPU = torch.device("cpu")


def _splits() -> dict[str, Split]:
    rng = np.random.default_rng(9)
    return {
        name: Split(rng.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8))
        for name, count in (("train", TRAIN), ("test", TEST))
    }


def idx(array: np.ndarray) -> bytes:
    """An array of uint8 as an idx file, written from the format's description."""
    header = [bytes([0, 0, 8, array.ndim]), *(size.to_bytes(4, "big") for size in array.shape)]
    return b"".join(header) + array.tobytes()


def _files() -> dict[str, bytes]:
    splits = _splits()
    return {
        IMAGES: idx(splits["train"].images[:, 0]),
        LABELS: idx(splits["train"].labels),
        TEST_IMAGES: idx(splits["test"].images[:, 0]),
        TEST_LABELS: idx(splits["test"].labels),
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> DatasetFacts:
    """MNIST's names and layouts with 70 images, an official site that cannot be reached, a stand-in of 30 images."""
    facts = replace(
        MNIST,
        train_images=TRAIN,
        test_images=TEST,
        digests={name: canonical(split)[1] for name, split in _splits().items()},
        idx_md5={name: hashlib.md5(data).hexdigest() for name, data in _files().items()},
        url="http://127.0.0.1:9/mnist",
    )
    monkeypatch.setitem(catalogue.CATALOGUE, "mnist", facts)
    monkeypatch.setitem(catalogue.CATALOGUE, "standin-grey", replace(STANDIN_GREY, train_images=20, test_images=10))
    return facts


def write(folder: Path, *names: str, zipped: bool = False) -> Path:
    """The four files, or those named, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in _files().items():
        if not names or name in names:
            (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data, 1) if zipped else data)
    return folder


def is_the_same(arrays: Arrays) -> bool:
    expected = {name: canonical(split)[0] for name, split in _splits().items()}
    return all(
        np.array_equal(split.images, expected[name].images) and np.array_equal(split.labels, expected[name].labels)
        for name, split in (("train", arrays.train), ("test", arrays.test))
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("folder", MNIST.folders)
@pytest.mark.parametrize("place", ["data folder", "mirror", "mirror url"])
def test_every_place_gives_the_same_arrays(
    place: str, folder: str, zipped: bool, small: DatasetFacts, tmp_path: Path
) -> None:
    data, mirror = tmp_path / "data", tmp_path / "mirror"
    write((data if place == "data folder" else mirror) / folder, zipped=zipped)
    named = {"data folder": None, "mirror": str(mirror), "mirror url": mirror.as_uri()}[place]
    arrays = obtain("mnist", DataSources(data, named))
    assert is_the_same(arrays)
    assert arrays.train.images.shape == (TRAIN, 1, 28, 28)
    assert arrays.train.images.dtype == arrays.train.labels.dtype == np.uint8
    assert not arrays.facts.standin


def test_fashion_mnist_is_found_in_both_its_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digests = {name: canonical(split)[1] for name, split in _splits().items()}
    sums = {name: hashlib.md5(data).hexdigest() for name, data in _files().items()}
    facts = replace(FASHION_MNIST, train_images=TRAIN, test_images=TEST, digests=digests, idx_md5=sums)
    monkeypatch.setitem(catalogue.CATALOGUE, "fashion-mnist", facts)
    for i, folder in enumerate(("fashion-mnist", "FashionMNIST/raw")):
        mirror = tmp_path / f"mirror{i}"
        write(mirror / folder)
        assert is_the_same(obtain("fashion-mnist", DataSources(tmp_path / f"data{i}", str(mirror))))


def test_gzipped_and_plain_files_may_be_mixed_and_stand_side_by_side(small: DatasetFacts, tmp_path: Path) -> None:
    write(tmp_path / "mnist", IMAGES, TEST_LABELS)
    write(tmp_path / "mnist", LABELS, TEST_IMAGES, TEST_LABELS, zipped=True)
    assert is_the_same(obtain("mnist", DataSources(tmp_path)))


def test_a_file_that_was_unpacked_and_kept_its_name_is_read(small: DatasetFacts, tmp_path: Path) -> None:
    for path in write(tmp_path / "mnist").iterdir():
        path.rename(path.with_name(f"{path.name}.gz"))
    assert is_the_same(obtain("mnist", DataSources(tmp_path)))


def test_class_folders_of_grey_images_give_the_same_arrays(small: DatasetFacts, tmp_path: Path) -> None:
    for name, split in _splits().items():
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = tmp_path / "mnist" / name / str(label) / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(path)
    assert is_the_same(obtain("mnist", DataSources(tmp_path)))


def test_the_official_site_is_the_last_resort(
    small: DatasetFacts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = write(tmp_path / "site", zipped=True)
    monkeypatch.setitem(catalogue.CATALOGUE, "mnist", replace(small, url=site.as_uri()))
    arrays = obtain("auto", DataSources(tmp_path / "data"), "mnist")
    assert is_the_same(arrays) and not arrays.facts.standin
    assert caplog.messages == [f"reading MNIST from {site.as_uri()}"]
    (site / f"{IMAGES}.gz").write_bytes(b"<html>")
    with pytest.raises(UserError, match=rf"MNIST is not to be had .*{IMAGES}.* is no idx file .*set DATA_MIRROR"):
        obtain("mnist", DataSources(tmp_path / "data2"))


def _change(name: str, how: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(how((folder / name).read_bytes()))


def _cut_gzip(folder: Path) -> None:
    (folder / TEST_IMAGES).unlink()
    (folder / f"{TEST_IMAGES}.gz").write_bytes(gzip.compress(_files()[TEST_IMAGES])[:1_000])


def _one_less(folder: Path) -> None:
    (folder / LABELS).write_bytes(idx(_splits()["train"].labels[:-1]))


def _smaller_images(folder: Path) -> None:
    (folder / TEST_IMAGES).write_bytes(idx(_splits()["test"].images[:, 0, :27]))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "too few bytes": (
        _change(IMAGES, lambda data: data[:-1]),
        rf"{IMAGES}\) has 39,215 bytes, where its header \(50, 28, 28\) asks for 39,216: replace it",
    ),
    "too many bytes": (
        _change(LABELS, lambda data: data + b"\0"),
        rf"{LABELS}\) has 59 bytes, .* asks for 58: replace",
    ),
    "a header that lies": (
        _change(IMAGES, lambda data: data[:4] + b"\xff" * 12 + data[16:]),
        rf"{IMAGES}\) has 39,216 bytes, where its header \(4294967295, .* asks for .*: replace it",
    ),
    "a header cut short": (_change(LABELS, lambda data: data[:6]), rf"{LABELS}\) has 6 bytes, .*: replace it"),
    "an empty file": (
        _change(IMAGES, lambda data: b""),
        rf"{IMAGES}\) is no idx file of images \(magic number 0, not 2051\): replace it",
    ),
    "labels for images": (
        lambda folder: (folder / LABELS).replace(folder / IMAGES),
        rf"{IMAGES}\) is no idx file of images \(magic number 2049, not 2051\): replace it",
    ),
    "images for labels": (
        lambda folder: (folder / TEST_IMAGES).replace(folder / TEST_LABELS),
        rf"{TEST_LABELS}\) is no idx file of labels \(magic number 2051, not 2049\): replace it",
    ),
    "training images for test images": (
        lambda folder: (folder / IMAGES).replace(folder / TEST_IMAGES),
        rf"{TEST_IMAGES}\) has the dimensions \(50, 28, 28\), MNIST \(20, 28, 28\): replace it",
    ),
    "fewer labels": (_one_less, rf"{LABELS}\) has the dimensions \(49,\), MNIST \(50,\): replace it"),
    "smaller images": (_smaller_images, rf"{TEST_IMAGES}\) has the dimensions \(20, 27, 28\), MNIST .*: replace it"),
    "a label out of range": (
        _change(TEST_LABELS, lambda data: data[:-1] + b"\x0a"),
        rf"{TEST_LABELS}\) holds label 10, MNIST has 10 classes: replace it",
    ),
    "truncated gzip": (_cut_gzip, rf"{TEST_IMAGES}\.gz\) is truncated or no gzip file \(.*\): replace it"),
    "another pixel": (
        _change(IMAGES, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        rf"{IMAGES}\) is not the official file of MNIST \(MD5 [0-9a-f]{{32}}, not [0-9a-f]{{32}}\): replace it",
    ),
    **{
        f"no {name}": (
            lambda folder, name=name: (folder / name).unlink(),
            f"mnist holds no {name}, gzipped or not: add this file of MNIST",
        )
        for name in MNIST.idx_md5
    },
    "an empty folder": (
        lambda folder: [path.unlink() for path in folder.iterdir()],
        "mnist holds no train images of MNIST: name a source that does",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_idx_file_is_named_and_not_passed_over(damage: str, small: DatasetFacts, tmp_path: Path) -> None:
    mirror, data = tmp_path / "mirror", tmp_path / "data"
    spoil, message = DAMAGES[damage]
    spoil(write(mirror / "mnist"))
    for name in ("mnist", "auto"):
        with pytest.raises(UserError, match=message) as error:
            obtain(name, DataSources(data, str(mirror)), "mnist")
        assert str(mirror) in str(error.value) and "\n" not in str(error.value)
    assert not list(data.glob("cache/*"))


def test_a_file_that_a_mirror_url_lacks_is_named(small: DatasetFacts, tmp_path: Path) -> None:
    write(tmp_path / "mirror" / "mnist", IMAGES, LABELS, TEST_IMAGES, zipped=True)
    url = (tmp_path / "mirror").as_uri()
    with pytest.raises(UserError, match=f"^{url}/mnist holds no {TEST_LABELS}, gzipped or not: add this file"):
        obtain("mnist", DataSources(tmp_path / "data", url))


def test_auto_falls_back_on_the_standin_of_the_same_shape_and_says_so(
    small: DatasetFacts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = obtain("auto", DataSources(tmp_path), "mnist")
    assert (arrays.facts.name, arrays.train.images.shape) == ("standin-grey", (20, 1, 28, 28))
    assert any("STAND-IN DATA: MNIST" in line for line in caplog.messages)
    with pytest.raises(UserError, match=rf"set DATA_MIRROR to a folder or URL that holds mnist/{IMAGES}\.gz and"):
        obtain("mnist", DataSources(tmp_path), "mnist")


def test_standins_have_the_shape_of_what_they_stand_for() -> None:
    for facts in (CIFAR10, CIFAR100, MNIST, FASHION_MNIST):
        for name in ("standin", "standin-tiny"):
            standin = standin_for(facts, name)
            assert standin.standin and standin.shape == facts.shape
            assert standin.name.endswith("-tiny") == name.endswith("-tiny")
        assert (standin_for(facts).train_images, standin_for(facts).test_images) == (
            facts.train_images,
            facts.test_images,
        )


def test_the_tiny_standin_of_a_grey_experiment_is_grey(tmp_path: Path) -> None:
    for own, name in ((FASHION_MNIST, "standin-grey-tiny"), (CIFAR10, "standin-tiny")):
        arrays = obtain("standin-tiny", DataSources(tmp_path), own.name)
        assert arrays.facts.name == name
        assert arrays.train.images.shape == (1_000, *own.shape)


@pytest.mark.parametrize(
    ("asked", "own", "sentence"),
    [
        (
            "cifar10",
            "mnist",
            r"the images of cifar10 have shape \(3, 32, 32\), those of mnist, .*, \(1, 28, 28\): "
            r"take auto, mnist, fashion-mnist, standin-grey, standin-grey-tiny$",
        ),
        (
            "standin-grey",
            "cifar100",
            r"the images of standin-grey have shape \(1, 28, 28\), those of cifar100, .*, \(3, 32, 32\): "
            r"take auto, cifar10, cifar100, standin, standin-tiny$",
        ),
    ],
)
def test_a_data_set_of_another_shape_is_refused_with_those_that_fit(
    asked: str, own: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        obtain(asked, DataSources(tmp_path), own)
    assert not list(tmp_path.iterdir())


def test_the_grey_standin_is_seeded_and_balanced_and_brightness_says_nothing() -> None:
    first, second = generate(STANDIN_GREY_TINY), generate(STANDIN_GREY_TINY)
    for name in ("train", "test"):
        assert np.array_equal(first[name].images, second[name].images)
    train, test = first["train"], first["test"]
    assert train.images.shape == (1_000, 1, 28, 28)
    assert np.bincount(train.labels).tolist() == [100] * 10
    assert not np.array_equal(train.images[:500], test.images)
    for grey in (lambda images: images.mean((2, 3)), lambda images: images.reshape(len(images), -1)):
        pixels = grey(train.images.astype(np.float64))
        centres = np.stack([pixels[train.labels == label].mean(0) for label in range(10)])
        nearest = np.square(grey(test.images.astype(np.float64))[:, None] - centres).sum(2).argmin(1)
        assert (nearest == test.labels).mean() < 0.25  # chance is 0.1


def test_grey_images_are_scaled_as_the_recipes_say() -> None:
    split = _splits()["train"]
    pixels = torch.from_numpy(split.images)
    assert torch.equal(Normalization(split, CPU, "unit")(pixels), pixels / 255)
    standard = Normalization(split, CPU, "standard")
    assert standard.mean.shape == (1, 1, 1)
    assert standard.mean.item() == pytest.approx(split.images.mean(), rel=1e-6)
    assert standard.scale.item() == pytest.approx(split.images.std(), rel=1e-6)
    centred = Normalization(split, CPU, "pixel-mean")(pixels)
    assert centred.mean(0).abs().max().item() < 1e-5
    assert centred.pow(2).mean().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("dy", "dx", "flip"), [(0, 8, False), (4, 4, True), (7, 1, True)])
def test_a_crop_of_a_grey_image_is_the_padded_window(dy: int, dx: int, flip: bool) -> None:
    images = torch.randn(1, 1, 28, 28)
    out = crop_and_flip(images, torch.tensor([dy]), torch.tensor([dx]), torch.tensor([flip]), padding=4)
    expected = torch.nn.functional.pad(images, (4, 4, 4, 4))[:, :, dy : dy + 28, dx : dx + 28]
    assert torch.equal(out, expected.flip(3) if flip else expected)


def test_batches_of_grey_images_have_one_channel() -> None:
    splits = _splits()
    data = InMemoryData(Arrays(MNIST, splits["train"], splits["test"], "", Path()), HE15_CIFAR, 0, 1, CPU)
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (TRAIN, 1, 28, 28)
    assert sorted(labels.tolist()) == sorted(splits["train"].labels.tolist())


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist", (0.1307, 0.3081), (0.1325, 0.3105)),
        ("fashion-mnist", (0.2860, 0.3530), (0.2868, 0.3524)),
    ],
)
def test_real_mnist_and_fashion_mnist_from_the_mirror(
    name: str, train: tuple[float, float], test: tuple[float, float], real_mirror: str, tmp_path: Path
) -> None:
    if not (Path(real_mirror) / name).exists():
        pytest.skip(f"DATA_MIRROR holds no {name}")
    arrays = obtain("auto", DataSources(tmp_path, real_mirror), name)
    assert arrays.facts.name == name
    assert arrays.train.images.shape == (60_000, 1, 28, 28)
    assert len(arrays.test) == 10_000
    assert set(arrays.train.labels.tolist()) == set(range(10))
    for split, expected in ((arrays.train, train), (arrays.test, test)):
        assert (split.images.mean() / 255, split.images.std() / 255) == pytest.approx(expected, abs=5e-5)
