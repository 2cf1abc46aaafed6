"""Class folders: which images there are, how their files are read, what is cut out of them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from resnet_repro.config.recipes import BLOG_E_TRANSFER, HE15_IMAGENET
from resnet_repro.data.folders import names_in_budgets, scan
from resnet_repro.data.pictures import BrokenPicture, evaluation_view, read_picture, ten_views, training_view
from resnet_repro.errors import UserError

RED, HALF_RED_ON_WHITE = (200, 0, 0), (227, 128, 128)


def save(path: Path, size: tuple[int, int] = (8, 6), mode: str = "RGB", color: object = RED, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)  # type: ignore[arg-type]
    return path


def make_folders(
    root: Path, train: int = 4, test: int = 3, classes: tuple[str, ...] = ("ant", "bee"), val: str = "val"
) -> Path:
    """Class folders with so many images a class, each of a colour of its own."""
    for split, count in (("train", train), (val, test)):
        for label, name in enumerate(classes):
            for index in range(count):
                save(root / split / name / f"{index}.png", color=(40 * label, 10 * index, len(split)))
    return root


# -- which images there are --------------------------------------------------------------------------------------------


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


def link_to_nothing(root: Path) -> None:
    (root / "train" / "ant" / "9.png").symlink_to(root / "gone.png")


def link_to_itself(root: Path) -> None:
    (root / "train" / "ant" / "again").symlink_to(root / "train" / "ant" / "again")


def class_that_links_to_itself(root: Path) -> None:
    (root / "train" / "wasp").symlink_to(root / "train" / "wasp")


def link_to_the_folder_above(root: Path) -> None:
    for name in ("ant", "bee"):
        (root / "train" / name / "up").symlink_to(root / "train")


def links_to_one_another(root: Path) -> None:
    (root / "train" / "ant" / "bees").symlink_to(root / "train" / "bee")
    (root / "train" / "bee" / "ants").symlink_to(root / "train" / "ant")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (link_to_nothing, r"train/ant/9\.png cannot be read \(No such file or directory\): repair or remove it"),
        (link_to_itself, r"train/ant/again cannot be read \(Too many levels of symbolic links\): repair or remove it"),
        (class_that_links_to_itself, r"train/wasp cannot be read \(Too many levels of symbolic links\)"),
        (link_to_the_folder_above, r"train/ant/up leads through a link back to a folder that it lies in, .*/train/:"),
        (links_to_one_another, r"train/ant/bees/ants leads through a link back to .*/train/ant/: remove the link"),
    ],
)
def test_links_that_lead_nowhere_are_named(tmp_path: Path, spoil, message: str) -> None:
    spoil(make_folders(tmp_path))
    with pytest.raises(UserError, match=message):
        scan(tmp_path)


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


# -- how files are read ------------------------------------------------------------------------------------------------


def middle(image: Tensor) -> tuple[int, ...]:
    assert image.dtype == torch.uint8 and image.shape[0] == 3
    return tuple(image[:, image.shape[1] // 2, image.shape[2] // 2].tolist())


@pytest.mark.parametrize(
    ("suffix", "mode", "color", "expected"),
    [
        ("png", "RGB", RED, RED),
        ("png", "1", 1, (255, 255, 255)),
        ("png", "L", 90, (90, 90, 90)),
        ("png", "LA", (90, 0), (255, 255, 255)),
        ("png", "RGBA", (200, 0, 0, 128), HALF_RED_ON_WHITE),
        ("png", "I;16", 90 * 256 + 17, (90, 90, 90)),
        ("tif", "I;16", 60_000, (234, 234, 234)),
        ("tif", "F", 0.5, (128, 128, 128)),
        ("tif", "CMYK", (0, 255, 255, 55), RED),
        ("jpg", "CMYK", (0, 255, 255, 55), RED),
        ("jpg", "L", 90, (90, 90, 90)),
        ("gif", "P", 0, (0, 0, 0)),
        ("webp", "RGB", RED, RED),
        ("bmp", "RGB", RED, RED),
        ("ppm", "RGB", RED, RED),
    ],
)
def test_images_of_any_mode_are_read(tmp_path: Path, suffix: str, mode: str, color: object, expected: tuple) -> None:
    image = read_picture(save(tmp_path / f"image.{suffix}", (5, 4), mode, color))
    assert image.shape == (3, 4, 5)
    assert middle(image) == pytest.approx(expected, abs=6 if suffix in ("jpg", "webp") else 1)


def test_a_palette_with_a_transparent_colour_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 3)
    image.putpalette([0, 0, 0] * 3 + list(RED) + [0, 0, 0] * 252)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=3)
    assert middle(read_picture(tmp_path / "opaque.png")) == RED
    assert middle(read_picture(tmp_path / "clear.png")) == (255, 255, 255)


def test_images_stand_upright_and_animations_still(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    save(tmp_path / "turned.jpg", (10, 4), exif=exif)
    assert read_picture(tmp_path / "turned.jpg").shape == (3, 10, 4)
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, (0, 0, 200))]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert middle(read_picture(tmp_path / "film.gif")) == RED


def test_files_that_are_no_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = save(tmp_path / "whole.png", (64, 64)).read_bytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / "whole.jpg")
    for name, content in (
        ("empty.png", b""),
        ("text.jpg", b"not an image"),
        ("short.png", whole[: len(whole) // 2]),
        ("short.jpg", (tmp_path / "whole.jpg").read_bytes()[:1500]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BrokenPicture, match=f"{name} cannot be read as an image"):
            read_picture(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    with pytest.raises(BrokenPicture, match="decompression bomb"):
        read_picture(tmp_path / "whole.jpg")


def test_a_file_with_damaged_exif_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x0100] = 6, 640
    file = save(tmp_path / "image.jpg", exif=exif)
    whole = file.read_bytes()
    width, text = b"\x01\x00\x00\x04", b"\x01\x00\x00\x02"  # tag and type: a number, which now counts as text
    assert whole.count(width) == 1
    file.write_bytes(whole.replace(width, text))
    with pytest.raises(BrokenPicture, match=r"image\.jpg cannot be read as an image"):
        read_picture(file)


# -- what is cut out of them -------------------------------------------------------------------------------------------


def ramp(height: int, width: int) -> Tensor:
    """A picture whose first channel is the row and whose second is the column."""
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width).expand(height, width)
    return torch.stack([rows, columns, torch.zeros(height, width, dtype=torch.int64)]).to(torch.uint8)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 1000), (400, 2), (300, 200)])
def test_pictures_of_any_size_give_views(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture = ramp(*size)
    for recipe in (HE15_IMAGENET, BLOG_E_TRANSFER):
        assert training_view(picture, 32, recipe, rng).shape == (3, 32, 32)
        assert evaluation_view(picture, 32, recipe).shape == (3, 32, 32)
        assert ten_views(picture, 32, recipe).shape == (10, 3, 32, 32)


def test_scored_is_the_middle_at_256_pixels() -> None:
    view = evaluation_view(ramp(200, 240), 175, HE15_IMAGENET).float()  # side 200 · 224 / 256 = 175
    assert torch.equal(view[0, :, 0], torch.arange(12, 187).float()) or torch.equal(
        view[0, :, 0], torch.arange(13, 188).float()
    )
    assert view[1, 0, 0] in (32, 33)
    whole = evaluation_view(ramp(100, 140), 100, BLOG_E_TRANSFER).float()
    assert torch.equal(whole[0, :, 0], torch.arange(100).float()) and whole[1, 0, 0] == 20


def test_ten_views_are_corners_middle_and_their_mirror_images() -> None:
    views = ten_views(ramp(200, 240), 175, HE15_IMAGENET).float()
    corners = [(int(view[0, 0, 0]), int(view[1, 0, 0])) for view in views[:5]]
    assert corners[:4] == [(0, 0), (0, 65), (25, 0), (25, 65)]
    assert torch.equal(views[4], evaluation_view(ramp(200, 240), 175, HE15_IMAGENET).float())
    assert torch.equal(views[5:], views[:5].flip(-1))


def test_scale_place_and_mirror_are_drawn_as_he15_draws_them() -> None:
    """The shorter side from 256 to 480 for a crop of 224: between 7/8 and 7/15 of the picture's own shorter side."""
    rng = np.random.default_rng(1)
    picture = ramp(240, 240)
    recipe = replace(HE15_IMAGENET, flip=True)
    tops, sides, mirrored = [], [], 0
    for _ in range(600):
        view = training_view(picture, 24, recipe, rng).float()
        rows, columns = view[0, :, 0], view[1, 0]
        mirrored += bool(columns[0] > columns[-1])
        step = float(rows[-1] - rows[0]) / 23
        side = 24 * step
        sides.append(side)
        tops.append((float(rows[0]) - step / 2) / (240 - side))
    assert 0.42 < mirrored / 600 < 0.58
    scales = np.array([240 * 224 / side for side in sides])
    assert scales.min() == pytest.approx(256, rel=0.03) and scales.max() == pytest.approx(480, rel=0.03)
    assert np.quantile(scales, [0.25, 0.5, 0.75]) == pytest.approx([312, 368, 424], rel=0.05)
    assert np.quantile(tops, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.07)
