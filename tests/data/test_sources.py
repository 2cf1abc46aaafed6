"""Sources of data sets: the data folder, a mirror, the official site, a generator; and the cache."""

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


def test_archive_is_read_from_data_folder_mirror_folder_or_url(small: DatasetFacts, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    pack(write_official(tmp_path, small), mirror / "cifar-10-python.tar.gz")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(mirror)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sources = (mirror, None), ("1", str(mirror)), ("2", f"http://127.0.0.1:{server.server_port}/")
    for data_dir, mirror_address in sources:
        arrays = obtain("cifar10", DataSources(tmp_path / data_dir, mirror_address))
        assert_made(arrays)
        assert isinstance(arrays.train.images, np.memmap)
    server.shutdown()


@pytest.mark.parametrize("facts", [MNIST, FASHION_MNIST], ids=lambda facts: facts.name)
@pytest.mark.parametrize("folder", [0, 1])
def test_idx_files_are_read_from_all_sources_and_both_folders(
    facts: DatasetFacts, folder: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    facts = shrink(monkeypatch, facts)
    (mirror / "MNIST").mkdir(parents=True)
    (mirror / "FashionMNIST").mkdir()
    write_official(tmp_path, facts, zipped=bool(folder)).rename(mirror / facts.folders[folder])
    for data_dir, mirror_address in ((mirror, None), ("1", str(mirror)), ("2", mirror.as_uri())):
        assert_made(obtain(facts.name, DataSources(tmp_path / data_dir, mirror_address)))


def test_official_site_is_the_last_source(
    mnist: DatasetFacts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = write_official(tmp_path / "site", mnist, zipped=True)
    monkeypatch.setitem(catalogue.CATALOGUE, "mnist", replace(mnist, url=site.as_uri()))
    assert_made(obtain("auto", DataSources(tmp_path / "data"), "mnist"))
    assert caplog.messages == [f"reading MNIST from {site.as_uri()}"]
    (site / f"{IMAGES}.gz").write_bytes(b"<html>")
    with pytest.raises(UserError, match=rf"MNIST not found .*{IMAGES}.* is not the official .*DATA_MIRROR"):
        obtain("mnist", DataSources(tmp_path / "data2"))


def test_file_missing_from_a_mirror_url_is_named(mnist: DatasetFacts, tmp_path: Path) -> None:
    (write_official(tmp_path / "mirror", mnist) / TEST_LABELS).unlink()
    url = (tmp_path / "mirror").as_uri()
    with pytest.raises(UserError, match=f"^{url}/mnist lacks the file {TEST_LABELS}"):
        obtain("mnist", DataSources(tmp_path / "data", url))


def test_digest_depends_on_labels_and_pixels_but_not_on_order() -> None:
    split = made_splits(CIFAR10)["train"]
    reversed_split = Split(split.images[::-1].copy(), split.labels[::-1].copy())
    assert canonical(split)[1] == canonical(reversed_split)[1]
    assert np.array_equal(canonical(split)[0].images, canonical(reversed_split)[0].images)
    relabelled = split.labels.copy()
    relabelled[3] ^= 1
    assert canonical(Split(split.images, relabelled))[1] != canonical(split)[1]
    repainted = split.images.copy()
    repainted[3, 0, 0, 0] ^= 1
    assert canonical(Split(repainted, split.labels))[1] != canonical(split)[1]


def test_second_load_needs_only_the_cache(small: DatasetFacts, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    write_official(mirror, small)
    first = obtain("cifar10", DataSources(tmp_path / "data", str(mirror)))
    second = obtain("cifar10", DataSources(tmp_path / "data"))
    assert first.digest == second.digest


def test_damaged_cache_is_rebuilt(small: DatasetFacts, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_official(data, small)
    arrays = obtain("cifar10", DataSources(data))
    images = arrays.folder / "train_images.npy"
    images.write_bytes(images.read_bytes()[:1_000])
    assert load(small, arrays.folder) is None
    assert obtain("cifar10", DataSources(data)).digest == arrays.digest


def test_cache_may_be_filled_concurrently(small: DatasetFacts, tmp_path: Path) -> None:
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


def test_file_without_read_permission_is_named(
    small: DatasetFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path / "mirror", small)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"\.png cannot be read \(Permission denied\)"):
        obtain("cifar10", DataSources(tmp_path / "data", str(tmp_path / "mirror")))


def test_damaged_source_is_skipped_unless_the_user_named_it(
    small: DatasetFacts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, mirror = tmp_path / "data", tmp_path / "mirror"
    data.mkdir()
    (data / "cifar10.tgz").write_bytes(b"hello")
    write_official(mirror, small)
    assert_made(obtain("cifar10", DataSources(data, str(mirror), data_dir_named=False)))
    assert any("skipped" in line and "cifar10.tgz" in line for line in caplog.messages)
    with pytest.raises(UserError, match=r"cifar10\.tgz"):
        obtain("cifar10", DataSources(tmp_path / "data2", str(data)))


@pytest.mark.parametrize(
    ("facts", "standin", "remedy"),
    [(CIFAR10, "standin", r"cifar10\.tgz or"), (MNIST, "standin-grey", rf"mnist/{IMAGES}\.gz and")],
    ids=["cifar10", "mnist"],
)
def test_auto_falls_back_to_a_standin_of_the_same_shape(
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
    with pytest.raises(UserError, match=rf"{facts.title} not found .* DATA_MIRROR .* {remedy}"):
        obtain(facts.name, DataSources(tmp_path), facts.name)


def test_missing_mirror_folder_is_named(small: DatasetFacts, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DATA_MIRROR=.*nowhere is not a folder"):
        obtain("cifar10", DataSources(tmp_path, str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    "mirror", ["http://localhost:abc/", "http://a b/", "http://[::1", f"http://{80 * 'a'}.com/", "http://127.0.0.1:1/"]
)
def test_invalid_or_unreachable_mirror_url_is_named(mirror: str, small: DatasetFacts, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=rf"^{re.escape(mirror.rstrip('/'))}/cifar10\.tgz c.*(DATA_MIRROR|network)$"
    ) as error:
        obtain("cifar10", DataSources(tmp_path, mirror))
    assert "\n" not in str(error.value)


def test_unwritable_data_folder_is_named(small: DatasetFacts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/cache cannot be written .*DATA_DIR"):
        obtain("standin-tiny", DataSources(tmp_path / "file"))


def test_full_disk_under_the_data_is_named(
    small: DatasetFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*arguments: object) -> None:
        raise OSError("3072 requested and 0 written")  # as numpy does

    monkeypatch.setattr("numpy.save", save)
    with pytest.raises(UserError, match=r"cannot be written \(3072 requested and 0 written\): free some space"):
        obtain("standin-tiny", DataSources(tmp_path))


def test_contents_with_another_digest_are_not_cached(small: DatasetFacts, tmp_path: Path) -> None:
    splits = made_splits(small)
    splits["train"] = Split(splits["train"].images ^ 1, splits["train"].labels)
    with pytest.raises(UserError, match="digest"):
        store(small, splits, tmp_path / "cache" / "cifar10", "a test")
    assert not (tmp_path / "cache" / "cifar10").exists()


def test_standins_have_the_shape_and_size_of_the_data_set() -> None:
    for facts in (CIFAR10, CIFAR100, MNIST, FASHION_MNIST):
        for name in ("standin", "standin-tiny"):
            standin = standin_for(facts, name)
            assert standin.standin and standin.shape == facts.shape
            assert standin.name.endswith("-tiny") == name.endswith("-tiny")
        assert (standin_for(facts).train_images, standin_for(facts).test_images) == (
            facts.train_images,
            facts.test_images,
        )


def test_tiny_standin_of_a_grey_experiment_is_grey(tmp_path: Path) -> None:
    for facts, name in ((FASHION_MNIST, "standin-grey-tiny"), (CIFAR10, "standin-tiny")):
        arrays = obtain("standin-tiny", DataSources(tmp_path), facts.name)
        assert arrays.facts.name == name
        assert arrays.train.images.shape == (1_000, *facts.shape)


@pytest.mark.parametrize(
    ("name", "default_name", "message"),
    [
        (
            "cifar10",
            "mnist",
            r"cifar10 .*\(3, 32, 32\): .*\(1, 28, 28\).* mnist; "
            r".* auto, mnist, fashion-mnist, standin-grey, standin-grey-tiny$",
        ),
        (
            "standin-grey",
            "cifar100",
            r"standin-grey .*\(1, 28, 28\): .*\(3, 32, 32\).* cifar100; "
            r".* auto, cifar10, cifar100, cifar100-first, cifar100-second, standin, standin-tiny$",
        ),
    ],
)
def test_data_set_of_another_shape_is_rejected_with_alternatives(
    name: str, default_name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        obtain(name, DataSources(tmp_path), default_name)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("facts", [STANDIN_TINY, STANDIN_GREY_TINY], ids=lambda facts: facts.name)
def test_standin_is_seeded_balanced_and_not_linearly_separable(facts: DatasetFacts) -> None:
    """A nearest-centre classifier of mean colours or of pixels stays near chance."""
    first, second = generate(facts), generate(facts)
    for name in ("train", "test"):
        assert np.array_equal(first[name].images, second[name].images)
    train, test = first["train"], first["test"]
    assert train.images.shape == (1_000, *facts.shape)
    assert np.bincount(train.labels).tolist() == [100] * 10
    assert not np.array_equal(train.images[:500], test.images)
    for features in (lambda images: images.mean((2, 3)), lambda images: images.reshape(len(images), -1)):
        values = features(train.images.astype(np.float64))
        centres = np.stack([values[train.labels == label].mean(0) for label in range(10)])
        nearest = np.square(features(test.images.astype(np.float64))[:, None] - centres).sum(2).argmin(1)
        assert (nearest == test.labels).mean() < 0.25  # chance is 0.1
