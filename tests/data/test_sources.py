"""Where data sets come from: the data folder, a mirror, the official site, a generator; and the cache behind them."""

from __future__ import annotations

import errno
import re
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from made_sources import assert_made, made_splits, pack, shrink, write_class_folders, write_official

from resnet_repro.data import catalogue
from resnet_repro.data.arrays import Split, canonical, load, store
from resnet_repro.data.catalogue import (
    CIFAR10,
    CIFAR100,
    FASHION_MNIST,
    MNIST,
    STANDIN_GREY_TINY,
    STANDIN_TINY,
    DatasetFacts,
    standin_for,
)
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.standin import generate
from resnet_repro.errors import UserError

IMAGES, TEST_LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> DatasetFacts:
    return shrink(monkeypatch, CIFAR10)


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> DatasetFacts:
    return shrink(monkeypatch, MNIST)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_archive_comes_from_any_place(small: DatasetFacts, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    pack(write_official(tmp_path, small), mirror / "cifar-10-python.tar.gz")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(mirror)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    places = (mirror, None), ("1", str(mirror)), ("2", f"http://127.0.0.1:{server.server_port}/")
    for data, named in places:
        arrays = obtain("cifar10", DataSources(tmp_path / data, named))
        assert_made(arrays)
        assert isinstance(arrays.train.images, np.memmap)
    server.shutdown()


@pytest.mark.parametrize("facts", [MNIST, FASHION_MNIST], ids=lambda facts: facts.name)
@pytest.mark.parametrize("folder", [0, 1])
def test_idx_files_come_from_any_place_and_both_their_folders(
    facts: DatasetFacts, folder: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    facts = shrink(monkeypatch, facts)
    (mirror / "MNIST").mkdir(parents=True)
    (mirror / "FashionMNIST").mkdir()
    write_official(tmp_path, facts, zipped=bool(folder)).rename(mirror / facts.folders[folder])
    for data, named in ((mirror, None), ("1", str(mirror)), ("2", mirror.as_uri())):
        assert_made(obtain(facts.name, DataSources(tmp_path / data, named)))


def test_the_official_site_is_the_last_resort(
    mnist: DatasetFacts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = write_official(tmp_path / "site", mnist, zipped=True)
    monkeypatch.setitem(catalogue.CATALOGUE, "mnist", replace(mnist, url=site.as_uri()))
    assert_made(obtain("auto", DataSources(tmp_path / "data"), "mnist"))
    assert caplog.messages == [f"reading MNIST from {site.as_uri()}"]
    (site / f"{IMAGES}.gz").write_bytes(b"<html>")
    with pytest.raises(UserError, match=rf"MNIST is not to be had .*{IMAGES}.* is not the official .*set DATA_MIRROR"):
        obtain("mnist", DataSources(tmp_path / "data2"))


def test_a_file_that_a_mirror_url_lacks_is_named(mnist: DatasetFacts, tmp_path: Path) -> None:
    (write_official(tmp_path / "mirror", mnist) / TEST_LABELS).unlink()
    url = (tmp_path / "mirror").as_uri()
    with pytest.raises(UserError, match=f"^{url}/mnist holds no {TEST_LABELS}: add this file"):
        obtain("mnist", DataSources(tmp_path / "data", url))


def test_the_digest_knows_labels_and_pixels_but_no_order() -> None:
    split = made_splits(CIFAR10)["train"]
    turned = Split(split.images[::-1].copy(), split.labels[::-1].copy())
    assert canonical(split)[1] == canonical(turned)[1]
    assert np.array_equal(canonical(split)[0].images, canonical(turned)[0].images)
    relabelled = split.labels.copy()
    relabelled[3] ^= 1
    assert canonical(Split(split.images, relabelled))[1] != canonical(split)[1]
    repainted = split.images.copy()
    repainted[3, 0, 0, 0] ^= 1
    assert canonical(Split(repainted, split.labels))[1] != canonical(split)[1]


def test_a_second_load_needs_the_cache_alone(small: DatasetFacts, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    write_official(mirror, small)
    first = obtain("cifar10", DataSources(tmp_path / "data", str(mirror)))
    second = obtain("cifar10", DataSources(tmp_path / "data"))
    assert first.digest == second.digest


def test_a_damaged_cache_is_made_anew(small: DatasetFacts, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_official(data, small)
    arrays = obtain("cifar10", DataSources(data))
    images = arrays.folder / "train_images.npy"
    images.write_bytes(images.read_bytes()[:1_000])
    assert load(small, arrays.folder) is None
    assert obtain("cifar10", DataSources(data)).digest == arrays.digest


def test_two_processes_may_fill_the_cache_at_once(small: DatasetFacts, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_official(data, small)
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


def test_a_file_that_may_not_be_read_is_named(
    small: DatasetFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path / "mirror", small)

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
    write_official(mirror, small)
    assert_made(obtain("cifar10", DataSources(data, str(mirror), data_dir_named=False)))
    assert any("passed over" in line and "cifar10.tgz" in line for line in caplog.messages)
    with pytest.raises(UserError, match=r"cifar10\.tgz"):
        obtain("cifar10", DataSources(tmp_path / "data2", str(data)))


@pytest.mark.parametrize(
    ("facts", "standin", "remedy"),
    [(CIFAR10, "standin", r"cifar10\.tgz or"), (MNIST, "standin-grey", rf"mnist/{IMAGES}\.gz and beside it")],
    ids=["cifar10", "mnist"],
)
def test_auto_takes_the_standin_of_the_same_shape_and_says_so_and_a_name_does_not(
    facts: DatasetFacts,
    standin: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shrink(monkeypatch, facts)
    arrays = obtain("auto", DataSources(tmp_path), facts.name)
    assert (arrays.facts.name, arrays.train.images.shape) == (standin, (20, *facts.shape))
    assert any(f"STAND-IN DATA: {facts.title}" in line for line in caplog.messages)
    with pytest.raises(UserError, match=rf"{facts.title} is not to be had .* set DATA_MIRROR to .* holds {remedy}"):
        obtain(facts.name, DataSources(tmp_path), facts.name)


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
    splits = made_splits(small)
    splits["train"] = Split(splits["train"].images ^ 1, splits["train"].labels)
    with pytest.raises(UserError, match="digest"):
        store(small, splits, tmp_path / "cache" / "cifar10", "a test")
    assert not (tmp_path / "cache" / "cifar10").exists()


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


@pytest.mark.slow
@pytest.mark.parametrize("facts", [STANDIN_TINY, STANDIN_GREY_TINY], ids=lambda facts: facts.name)
def test_a_standin_is_seeded_and_balanced_and_its_colours_and_pixels_say_nothing(facts: DatasetFacts) -> None:
    first, second = generate(facts), generate(facts)
    for name in ("train", "test"):
        assert np.array_equal(first[name].images, second[name].images)
    train, test = first["train"], first["test"]
    assert train.images.shape == (1_000, *facts.shape)
    assert np.bincount(train.labels).tolist() == [100] * 10
    assert not np.array_equal(train.images[:500], test.images)
    for seen in (lambda images: images.mean((2, 3)), lambda images: images.reshape(len(images), -1)):
        values = seen(train.images.astype(np.float64))
        centres = np.stack([values[train.labels == label].mean(0) for label in range(10)])
        nearest = np.square(seen(test.images.astype(np.float64))[:, None] - centres).sum(2).argmin(1)
        assert (nearest == test.labels).mean() < 0.25  # chance is 0.1
