"""Class folders: listing, digest, names, errors in the layout."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from made_folders import make_folders, save

from resnet_repro.data.folders import earlier_name, folders_name, names_in_budgets, scan
from resnet_repro.errors import UserError


def test_images_are_listed_by_split_and_class(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "Small Data")
    save(root / "train" / "ant" / "deeper" / "more.JPEG")
    (root / "train" / "ant" / "notes.txt").write_text("not an image")
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "bee" / "._0.png").write_text("metadata of macOS")
    folders = scan(root)
    assert (folders.facts.name, folders.facts.title) == ("folders-small-data", "Small Data (class folders)")
    assert folders.facts.class_names == ("ant", "bee")
    assert (folders.facts.train_images, folders.facts.test_images) == (9, 6)
    assert set(folders.files) == {"train", "test"}
    assert folders.class_counts("train") == {"ant": 5, "bee": 4}
    by_class = {file.path.split(os.sep)[1]: file.label for file in folders.files["train"]}
    assert by_class == {"ant": 0, "bee": 1}


def test_val_is_the_validation_split_if_test_exists(tmp_path: Path) -> None:
    root = make_folders(make_folders(tmp_path, test=2), test=5, val="test")
    folders = scan(root)
    assert {split: len(files) for split, files in folders.files.items()} == {"train": 8, "test": 10, "validation": 4}


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_the_validation_folder_has_three_names(tmp_path: Path, name: str) -> None:
    assert len(scan(make_folders(tmp_path / "two", test=2, val=name)).files["test"]) == 4
    root = make_folders(make_folders(tmp_path / "three", test=2, val=name), test=5, val="test")
    assert {split: len(files) for split, files in scan(root).files.items()} == {"train": 8, "test": 10, "validation": 4}


def test_two_names_of_one_split_are_rejected(tmp_path: Path) -> None:
    root = make_folders(make_folders(tmp_path, val="valid"), val="val")
    with pytest.raises(UserError, match=r"holds val and valid, which are names of the same split"):
        scan(root)


def test_folders_of_no_split_are_named(tmp_path: Path) -> None:
    root = make_folders(make_folders(tmp_path), val="dev")
    for hidden in (".cache", "@eaDir", "__MACOSX"):
        (root / hidden).mkdir()
    (line,) = scan(root).remarks()
    assert "dev in " in line and "is not used" in line and "train, val, valid, validation, test" in line
    (root / "train").rename(root / "Train")
    with pytest.raises(UserError, match=r"no folder train: .*it holds Train, dev"):
        scan(root)


def test_files_left_out_are_counted_by_suffix(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    assert scan(root).remarks() == [] and scan(root).left_out == {}
    for name in ("a.HEIC", "b.heic", "c.avif", "noextension", "deeper/d.txt"):
        file = root / "train" / "ant" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    save(root / "val" / "loose.png")
    folders = scan(root)
    assert folders.left_out == {
        ".heic": 2,
        ".avif": 1,
        ".png outside of class folders": 1,
        ".txt": 1,
        "without suffix": 1,
    }
    (line,) = folders.remarks()
    assert "2 .heic, 1 .avif, 1 .png outside of class folders, 1 .txt, 1 without suffix" in line


def test_many_kinds_of_files_left_out_are_counted_together(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    for index in range(30):
        (root / "train" / "ant" / f"scan.{index:03}").write_bytes(b"x")
    left_out = scan(root).left_out
    assert sum(left_out.values()) == 30 and len(left_out) <= 11 and left_out["other"] == 20


def test_class_without_images_is_rejected_with_what_it_holds(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    for split in ("train", "val"):
        (root / split / "wasp").mkdir()
        (root / split / "wasp" / "0.HEIC").write_bytes(b"x")
    with pytest.raises(UserError, match=r"wasp holds no images \(.*\), but 1 \.heic:"):
        scan(root)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPEG", ".PNG", ".pnm", ".apng", ".mpo", ".TIF"])
def test_all_suffixes_of_the_documented_formats_are_images(tmp_path: Path, suffix: str) -> None:
    root = make_folders(tmp_path)
    (root / "train" / "ant" / f"new{suffix}").write_bytes(b"x")
    folders = scan(root)
    assert folders.class_counts("train") == {"ant": 5, "bee": 4} and not folders.left_out


def test_hidden_files_and_thumbnails_are_no_images(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    digest = scan(root).digest
    for folder in ("train", "train/ant", "val/bee"):
        for name in (
            "._0.png",
            ".x.jpg",
            "@eaDir/0.png/SYNOFILE_THUMB_M.jpg",
            "__MACOSX/ant/._0.png",
            ".t/0.png",
            "RECYCLER/0.png",
        ):
            save(root / folder / name, format="PNG")
        (root / folder / "Thumbs.db").write_bytes(b"x")
    folders = scan(root)
    assert folders.digest == digest and not folders.left_out and folders.facts.class_names == ("ant", "bee")


def test_class_names_may_differ_in_the_composition_of_letters(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é-café") for form in ("NFC", "NFD"))
    root = make_folders(tmp_path, classes=("bee", composed))
    (root / "val" / composed).rename(root / "val" / decomposed)
    if len(list((root / "val").iterdir())) != 2 or not (root / "val" / decomposed).is_dir():
        pytest.skip("this file system composes names")
    folders = scan(root)
    assert folders.facts.class_names == ("bee", composed)
    for split, count in (("train", 4), ("test", 3)):
        assert folders.class_counts(split) == {"bee": count, composed: count}
        assert all((root / file.path).is_file() for file in folders.files[split])
    save(root / "train" / decomposed / "0.png")
    if (root / "train" / composed / "0.png").samefile(root / "train" / decomposed / "0.png"):
        pytest.skip("this file system takes both names as one")
    with pytest.raises(UserError, match=r"train holds two classes with the name .*composition"):
        scan(root)


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
    first, second = (make_folders(tmp_path / name) for name in ("first", "second"))
    assert scan(first).digest == scan(second).digest
    file = second / "train" / "ant" / "0.png"
    file.write_bytes(file.read_bytes() + b" ")
    assert scan(first).digest != scan(second).digest
    renamed = make_folders(tmp_path / "renamed")
    (renamed / "val" / "bee" / "0.png").rename(renamed / "val" / "bee" / "9.png")
    assert scan(first).digest != scan(renamed).digest


def test_imagenet_is_recognized_by_its_class_names(tmp_path: Path) -> None:
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
        (without("train"), r"no folder train: .*train/<class>"),
        (without("val"), r"no folder val or test: .*val/<class>"),
        (loose_images, r"train holds images and no class folders"),
        (one_class, r"train holds one class, ant:"),
        (empty_class, r"train/wasp holds no images"),
        (other_classes, r"val lacks the classes bee of .*train:"),
    ],
    ids=["no train", "no val", "no classes", "one class", "empty class", "other classes"],
)
def test_invalid_layouts_are_rejected(tmp_path: Path, spoil, message: str) -> None:
    spoil(make_folders(tmp_path))
    with pytest.raises(UserError, match=message):
        scan(tmp_path)


def test_broken_link_is_an_error_that_names_it(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    (root / "train" / "ant" / "9.png").symlink_to(root / "gone.png")
    with pytest.raises(UserError, match=r"train/ant/9\.png cannot be read \(No such file or directory\)"):
        scan(root)


@pytest.mark.parametrize("name", ["train/wasp", "val"])
def test_folder_that_links_to_nothing_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    """It may be a class on a disk that is not mounted."""
    root = make_folders(tmp_path, val="val" if name != "val" else "test")
    (root / name).symlink_to(root / "gone")
    with pytest.raises(UserError, match=rf"{name} cannot be read \(No such file or directory\)"):
        scan(root)


@pytest.mark.parametrize(("name", "target"), [("test", "train"), ("valid", "test")])
def test_one_folder_as_two_splits_is_an_error(tmp_path: Path, name: str, target: str) -> None:
    root = make_folders(tmp_path, val="val" if name == "test" else "test")
    (root / name).symlink_to(target)
    with pytest.raises(UserError, match=rf"({name} and .*{target}|{target} and .*{name}) are the same folder"):
        scan(root)


def test_pipe_with_the_name_of_an_image_is_an_error(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    root = make_folders(tmp_path)
    os.mkfifo(root / "train" / "ant" / "9.png")
    with pytest.raises(UserError, match=r"9\.png is not a regular file"):
        scan(root)


def test_link_to_a_parent_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Following two such links would not terminate."""
    root = make_folders(tmp_path)
    for name in ("ant", "bee"):
        (root / "train" / name / "up").symlink_to(root / "train")
    with pytest.raises(UserError, match=r"train/ant/up is a link to .*train,"):
        scan(root)


def test_links_to_images_and_folders_are_followed(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "root")
    target = make_folders(tmp_path / "target", train=2)
    (root / "train" / "ant" / "more").symlink_to(target / "train" / "ant")
    (root / "train" / "ant" / "again").symlink_to(target / "train" / "ant")
    (root / "train" / "bee" / "9.png").symlink_to(target / "train" / "bee" / "0.png")
    assert scan(root).class_counts("train") == {"ant": 8, "bee": 5}


def test_file_names_need_not_be_utf8(tmp_path: Path) -> None:
    root = make_folders(tmp_path)
    name = os.fsdecode(b"caf\xe9.png")  # Latin-1
    try:
        (root / "train" / "ant" / "0.png").rename(root / "train" / "ant" / name)
    except OSError:
        pytest.skip("this file system accepts only UTF-8 names")
    folders = scan(root)
    assert sum(file.path.endswith(name) for file in folders.files["train"]) == 1
    assert len(folders.digest) == 64 and folders.digest == scan(root).digest
    assert folders.digest != scan(make_folders(tmp_path / "other")).digest


def test_names_in_budgets_with_and_without_the_folders(tmp_path: Path) -> None:
    assert names_in_budgets(make_folders(tmp_path / "My Flowers")) == ["folders-my-flowers"]
    assert names_in_budgets(make_folders(tmp_path / "imagenet")) == ["folders-imagenet"]
    for index in range(1_000):
        (tmp_path / "ilsvrc" / "train" / f"n{index:08}").mkdir(parents=True)
    assert names_in_budgets(tmp_path / "ilsvrc") == ["imagenet"]
    assert names_in_budgets(tmp_path / "gone" / "flowers") == ["folders-flowers"]
    assert names_in_budgets(tmp_path / "gone" / "imagenet") == ["folders-imagenet", "imagenet"]


def test_names_in_budgets_are_unique_short_and_ascii(tmp_path: Path) -> None:
    names = [
        "数据",
        "鸟",
        "花1",
        "鸟1",
        "🙂",
        "!!!",
        "données",
        "donnes",
        "n" * 240,
        "n" * 239,
        "ж" * 120,
        "data",
        "a b",
    ]
    in_budgets = [folders_name(tmp_path / name) for name in names]
    assert len(set(in_budgets)) == len(names)
    for name in in_budgets:
        assert re.fullmatch(r"folders-[a-z0-9][a-z0-9._-]{0,39}", name) and name[-1] not in "-."
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert folders_name(tmp_path / composed) == folders_name(tmp_path / decomposed)


@pytest.mark.parametrize("name", ["Flowers", "My Flowers", "v1.2_b", "a" * 40])
def test_names_of_ascii_letters_are_those_of_earlier_versions(name: str, tmp_path: Path) -> None:
    assert folders_name(tmp_path / name) == f"folders-{name.lower().replace(' ', '-')}"
    assert earlier_name(tmp_path / name) is None


def test_earlier_versions_left_out_all_but_ascii(tmp_path: Path) -> None:
    assert earlier_name(tmp_path / "数据") == "folders-data"
    assert earlier_name(tmp_path / "données") == "folders-donn-es"


def test_undecodable_names_of_folders_have_printable_facts(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    root = make_folders(tmp_path / name, classes=("ant", name))
    facts = scan(root).facts
    assert (facts.title, facts.class_names) == (r"caf\xe9 (class folders)", ("ant", r"caf\xe9"))


def test_missing_root_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DATASET=.*nowhere is not a folder"):
        scan(tmp_path / "nowhere")
