"""Data sets that are some classes of another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_repro.data import catalogue
from resnet_repro.data.arrays import Split, only_classes, store
from resnet_repro.data.catalogue import CIFAR100, CIFAR100_FIRST, CIFAR100_SECOND, DatasetFacts
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.errors import UserError

WHOLE = DatasetFacts("whole", "a whole", ("ape", "bee", "cat", "dog"), (3, 2, 2), 8, 4, {}, archives=("whole.tgz",))
PART = DatasetFacts("part", "a part", ("cat", "dog"), (3, 2, 2), 4, 2, {}, part_of="whole")


def numbered(labels: list[int]) -> Split:
    """Images that hold their number."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    return Split(images, np.array(labels, np.uint8))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for facts in (WHOLE, PART):
        monkeypatch.setitem(catalogue.CATALOGUE, facts.name, facts)


def test_classes_are_numbered_by_their_places_in_the_part() -> None:
    part = only_classes(numbered([3, 0, 2, 1, 2]), WHOLE.class_names, PART.class_names)
    assert part.labels.tolist() == [1, 0, 0]
    assert part.images[:, 0, 0, 0].tolist() == [0, 2, 4]


@pytest.mark.usefixtures("known")
def test_a_part_is_taken_from_the_whole_and_cached(tmp_path: Path) -> None:
    splits = {"train": numbered([0, 1, 2, 3, 3, 2, 1, 0]), "test": numbered([2, 0, 3, 1])}
    store(WHOLE, splits, tmp_path / "cache" / "whole", "a test")
    sources = DataSources(tmp_path)
    part = obtain("part", sources)
    of_image = dict(zip(part.train.images[:, 0, 0, 0].tolist(), part.train.labels.tolist(), strict=True))
    assert of_image == {2: 0, 3: 1, 4: 1, 5: 0}
    assert sorted(part.test.labels) == [0, 1] and part.facts.classes == 2
    (tmp_path / "cache" / "whole" / "contents.json").unlink()
    assert obtain("part", sources).digest == part.digest, "the cache holds the part itself"


@pytest.mark.usefixtures("known")
def test_a_whole_with_other_images_is_no_source_of_a_known_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": numbered([0, 1, 2, 3, 3, 2, 1, 0]), "test": numbered([2, 0, 3, 1])}
    store(WHOLE, splits, tmp_path / "cache" / "whole", "a test")
    known = replace(PART, digests={"train": "0" * 64, "test": "0" * 64})
    monkeypatch.setitem(catalogue.CATALOGUE, "part", known)
    with pytest.raises(UserError, match="does not hold a part"):
        obtain("part", DataSources(tmp_path))


def test_halves_of_cifar_100_have_different_classes() -> None:
    assert (*CIFAR100_FIRST.class_names, *CIFAR100_SECOND.class_names) == CIFAR100.class_names
    assert CIFAR100_FIRST.classes == 50


@pytest.mark.slow
def test_halves_of_cifar_100_are_its_images(real_mirror: str, tmp_path: Path) -> None:
    sources = DataSources(tmp_path, real_mirror)
    whole, *halves = (obtain(facts.name, sources) for facts in (CIFAR100, CIFAR100_FIRST, CIFAR100_SECOND))
    for split in ("train", "test"):
        parts = [getattr(half, split) for half in halves]
        assert {len(part) for part in parts} == {len(getattr(whole, split)) // 2}
        sums = [int(np.asarray(part.images, np.int64).sum()) for part in (*parts, getattr(whole, split))]
        assert sums[0] + sums[1] == sums[2]
