"""Class folders: which images there are, how their files are read, what is cut out of them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from made_folders import make_folders, save

from resnet_repro.data.folders import names_in_budgets, scan
from resnet_repro.errors import UserError


def test_images_are_found_by_split_and_class(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "Small Data")
    save(root / "train" / "ant" / "deeper" / "more.JPEG")
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "bee" / "._0.png").write_text("what an archive of macOS leaves")
    folders = scan(root)
    assert (folders.facts.name, folders.facts.title) == ("folders-small-data", "Small Data (class folders)")
    assert folders.facts.class_names == ("ant", "bee")
    assert (folders.facts.train_images, folders.facts.test_images) == (9, 6)
    assert set(folders.files) == {"train", "test"}
    assert folders.class_counts("train") == {"ant": 5, "bee": 4}
    by_class = {file.path.split(os.sep)[1]: file.label for file in folders.files["train"]}
    assert by_class == {"ant": 0, "bee": 1}


def test_with_val_and_test_the_first_is_held_out(tmp_path: Path) -> None:
    root = make_folders(make_folders(tmp_path, test=2), test=5, val="test")
    folders = scan(root)
    assert {split: len(files) for split, files in folders.files.items()} == {"train": 8, "test": 10, "validation": 4}


def test_the_first_images_are_a_sample_of_all_classes(tmp_path: Path) -> None:
    root = tmp_path
    for name in ("a", "b", "c", "d"):
        for split in ("train", "val"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(200):
                (folder / f"{index}.png").write_bytes(b"x")
    counts = Counter(file.label for file in scan(root).files["train"][:200])
    assert all(30 < counts[label] < 70 for label in range(4))


def test_the_digest_is_that_of_the_listing(tmp_path: Path) -> None:
    one, two = (make_folders(tmp_path / place) for place in ("here", "there"))
    assert scan(one).digest == scan(two).digest
    file = two / "train" / "ant" / "0.png"
    file.write_bytes(file.read_bytes() + b" ")
    assert scan(one).digest != scan(two).digest
    renamed = make_folders(tmp_path / "renamed")
    (renamed / "val" / "bee" / "0.png").rename(renamed / "val" / "bee" / "9.png")
    assert scan(one).digest != scan(renamed).digest


def test_imagenet_is_known_by_its_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for index in range(1_000):
            folder = tmp_path / split / f"n{index:08}"
            folder.mkdir(parents=True)
            (folder / "0.JPEG").write_bytes(b"x")
    facts = scan(tmp_path).facts
    assert (facts.name, facts.title, facts.classes) == ("imagenet", "ImageNet-1k", 1_000)


def empty_class(root: Path) -> None:
    (root / "train" / "wasp").mkdir()
    save(root / "val" / "wasp" / "0.png")


def one_class(root: Path) -> None:
    for split in ("train", "val"):
        for file in (root / split / "bee").iterdir():
            file.unlink()
        (root / split / "bee").rmdir()


def without(folder: str):
    return lambda root: (root / folder).rename(root / "elsewhere")


def loose_images(root: Path) -> None:
    (root / "train").rename(root / "old")
    save(root / "train" / "0.png")


def other_classes(root: Path) -> None:
    (root / "val" / "bee").rename(root / "val" / "wasp")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("train"), r"holds no folder train: lay the images out as train/<class>"),
        (without("val"), r"holds no folder val or test to score on"),
        (loose_images, r"train holds images and no class folders"),
        (one_class, r"train holds one class, ant: there is nothing to tell apart"),
        (empty_class, r"train/wasp holds no images .*: fill the class or remove its folder"),
        (other_classes, r"val lacks the classes bee that .*train has: give both the same classes"),
    ],
    ids=["no train", "no val", "no classes", "one class", "empty class", "other classes"],
)
def test_folders_that_are_not_as_they_must_be_are_told_in_a_sentence(tmp_path: Path, spoil, message: str) -> None:
    spoil(make_folders(tmp_path))
    with pytest.raises(UserError, match=message):
        scan(tmp_path)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    (root / "train" / "ant" / "9.png").symlink_to(root / "gone.png")
    with pytest.raises(UserError, match=r"train/ant/9\.png cannot be read \(No such file or directory\): repair or"):
        scan(root)


def test_a_link_to_a_folder_above_is_named(tmp_path: Path) -> None:
    """Two of them would make a walk without end."""
    root = make_folders(tmp_path)
    for name in ("ant", "bee"):
        (root / "train" / name / "up").symlink_to(root / "train")
    with pytest.raises(
        UserError, match=r"train/ant/up leads through a link back to a folder that it lies in, .*train:"
    ):
        scan(root)


def test_links_to_images_and_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "here")
    there = make_folders(tmp_path / "there", train=2)
    (root / "train" / "ant" / "more").symlink_to(there / "train" / "ant")
    (root / "train" / "ant" / "again").symlink_to(there / "train" / "ant")
    (root / "train" / "bee" / "9.png").symlink_to(there / "train" / "bee" / "0.png")
    assert scan(root).class_counts("train") == {"ant": 8, "bee": 5}


def test_names_that_are_no_utf8_are_names(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    name = os.fsdecode(b"caf\xe9.png")  # as Latin-1 writes it
    try:
        (root / "train" / "ant" / "0.png").rename(root / "train" / "ant" / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    folders = scan(root)
    assert sum(file.path.endswith(name) for file in folders.files["train"]) == 1
    assert len(folders.digest) == 64 and folders.digest == scan(root).digest
    assert folders.digest != scan(make_folders(tmp_path / "other")).digest


def test_budgets_know_imagenet_by_its_classes_where_it_is_here(tmp_path: Path) -> None:
    assert names_in_budgets(make_folders(tmp_path / "My Flowers")) == ["folders-my-flowers"]
    assert names_in_budgets(make_folders(tmp_path / "imagenet")) == ["folders-imagenet"]
    for index in range(1_000):
        (tmp_path / "ilsvrc" / "train" / f"n{index:08}").mkdir(parents=True)
    assert names_in_budgets(tmp_path / "ilsvrc") == ["imagenet"]
    assert names_in_budgets(tmp_path / "gone" / "flowers") == ["folders-flowers"]
    assert names_in_budgets(tmp_path / "gone" / "imagenet") == ["folders-imagenet", "imagenet"]


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is no folder"):
        scan(tmp_path / "nowhere")
