"""Image files: decoding and cropping."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_folders import HALF_RED_ON_WHITE, RED, save
from PIL import EpsImagePlugin, Image, PngImagePlugin
from torch import Tensor

from resnet_repro.config.recipes import BLOG_E_TRANSFER, HE15_IMAGENET
from resnet_repro.data.pictures import BrokenPicture, evaluation_view, read_picture, ten_views, training_view


def middle(image: Tensor) -> tuple[int, ...]:
    """The colour of the pixel in the middle."""
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
        ("tif", "CMYK", (0, 255, 255, 55), RED),
        ("jpg", "CMYK", (0, 255, 255, 55), RED),
        ("jpg", "L", 90, (90, 90, 90)),
        ("gif", "P", 0, (0, 0, 0)),
        ("webp", "RGB", RED, RED),
        ("bmp", "RGB", RED, RED),
        ("ppm", "RGB", RED, RED),
    ],
)
def test_images_of_all_modes_are_read_as_rgb(
    tmp_path: Path, suffix: str, mode: str, color: object, expected: tuple
) -> None:
    image = read_picture(save(tmp_path / f"image.{suffix}", (5, 4), mode, color))
    assert image.shape == (3, 4, 5)
    assert middle(image) == pytest.approx(expected, abs=6 if suffix in ("jpg", "webp") else 1)


def test_transparent_palette_colour_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 3)
    image.putpalette([0, 0, 0] * 3 + list(RED) + [0, 0, 0] * 252)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=3)
    assert middle(read_picture(tmp_path / "opaque.png")) == RED
    assert middle(read_picture(tmp_path / "clear.png")) == (255, 255, 255)


def test_exif_rotation_is_applied_and_animations_give_their_first_frame(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    save(tmp_path / "turned.jpg", (10, 4), exif=exif)
    assert read_picture(tmp_path / "turned.jpg").shape == (3, 10, 4)
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, (0, 0, 200))]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert middle(read_picture(tmp_path / "film.gif")) == RED


def test_unreadable_files_are_errors_that_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("brightest", [255, 511, 4_095, 65_535])
def test_grey_values_of_16_bits_keep_their_high_byte(tmp_path: Path, suffix: str, brightest: int) -> None:
    """The scale is the same for all images of a data set, also for one that holds only dark values."""
    values = np.linspace(0, brightest, 64).astype(np.uint16)[None]
    Image.fromarray(values).save(tmp_path / f"image.{suffix}")
    assert read_picture(tmp_path / f"image.{suffix}")[1, 0].tolist() == (values[0] // 256).tolist()


@pytest.mark.parametrize("white", [255, 1_000, 4_095, 65_535])
def test_grey_values_of_pgm_files_refer_to_their_stated_maximum(tmp_path: Path, white: int) -> None:
    values = np.array([0, white // 2, white], ">u2" if white > 255 else "u1")
    (tmp_path / "image.pgm").write_bytes(b"P5 3 1 %d\n" % white + values.tobytes())
    assert read_picture(tmp_path / "image.pgm")[0, 0].tolist() == pytest.approx([0, 127.5, 255], abs=1)


def write_tiff(path: Path, data: bytes, width: int, bits: int, photometric: int = 1, kind: int = 1) -> Path:
    """Write a TIFF file of one row of grey values. kind: 1 unsigned, 2 signed, 3 float."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: len(data), 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))
    return path


def test_scale_of_tiff_files_is_that_of_their_tags(tmp_path: Path) -> None:
    """12 bits per value; and 16 bits with 0 as white."""
    bits = "".join(f"{value:012b}" for value in (0, 2_000, 4_095, 0))
    file = write_tiff(tmp_path / "12.tif", int(bits, 2).to_bytes(6, "big"), 4, 12)
    assert read_picture(file)[0, 0].tolist() == [0, 2_000 >> 4, 255, 0]
    file = write_tiff(tmp_path / "inverted.tif", np.array([0, 30_000, 65_535], "<u2").tobytes(), 3, 16, photometric=0)
    assert read_picture(file)[0, 0].tolist() == [255, 255 - (30_000 >> 8), 0]


def test_premultiplied_grey_is_composed_on_white(tmp_path: Path) -> None:
    file = save(tmp_path / "image.tif", mode="LA", color=(50, 128))
    plain, premultiplied = (struct.pack("<HHII", 338, 3, 1, kind) for kind in (2, 1))
    assert file.read_bytes().count(plain) == 1
    file.write_bytes(file.read_bytes().replace(plain, premultiplied))
    assert middle(read_picture(file)) == pytest.approx((50 + 127,) * 3, abs=1)


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_turned_tiff_files_are_upright(tmp_path: Path, mode: str) -> None:
    """Pillow maps these modes into memory, with width and height exchanged."""
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    grey = Image.fromarray(values)
    image = Image.fromarray(values * np.uint16(257)) if mode == "I;16" else grey.convert(mode)
    for orientation, upright in ((6, np.rot90(values, -1)), (8, np.rot90(values))):
        image.save(tmp_path / "image.tif", tiffinfo={0x0112: orientation})
        assert read_picture(tmp_path / "image.tif")[0].tolist() == upright.tolist()


@pytest.mark.parametrize(("bits", "values", "transparent"), [(2, [0, 1, 2, 3], 1), (4, [0, 1, 9, 15], 9)])
def test_transparent_grey_of_few_bits_becomes_white(
    tmp_path: Path, bits: int, values: list[int], transparent: int
) -> None:
    row = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(bits * 4 // 8, "big")
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", transparent)),
        (b"IDAT", zlib.compress(b"\0" + row)),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    expected = [255 if value == transparent else value * 255 // (2**bits - 1) for value in values]
    assert read_picture(tmp_path / "image.png")[0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        (np.linspace(0, 1, 4, dtype="<f8"), 3, "1 × float64 per pixel"),
        (np.linspace(0, 1, 4, dtype="<f2"), 3, "1 × float16 per pixel"),
        (np.arange(4, dtype="<u8"), 1, "1 × uint64 per pixel"),
    ],
)
def test_types_that_pillow_does_not_know_are_named(tmp_path: Path, values: np.ndarray, kind: int, told: str) -> None:
    file = write_tiff(tmp_path / "image.tif", values.tobytes(), len(values), 8 * values.itemsize, kind=kind)
    with pytest.raises(
        BrokenPicture, match=rf"image\.tif cannot be read as an image \(TIFF of {told}.*: expected unsigned"
    ):
        read_picture(file)


@pytest.mark.parametrize(
    ("values", "kind", "extent"),
    [
        (np.linspace(0, 65_535, 64, dtype="<f4"), 3, "float32 from 0 to 65535"),
        (np.linspace(0, 1.02, 64, dtype="<f4"), 3, r"float32 from 0 to 1\.02"),
        (np.linspace(0, 1, 64, dtype="<f4"), 3, "float32 from 0 to 1,"),
        (np.array([0, 0.5, np.inf, np.nan], "<f4"), 3, r"float32 from 0 to 0\.5, some of them not finite"),
        (np.array([np.nan], "<f4"), 3, "float32 none of them finite"),
        (np.array([-5, 70_000], "<i4"), 2, "int32 from -5 to 70000"),
        (np.array([0, 2**32 - 1], "<u4"), 1, "uint32 from 0 to 4294967295"),
        (np.array([-300, 3_000], "<i2"), 2, "int16 from -300 to 3000"),
        (np.array([-30, 100], "i1"), 2, "int8 from -30 to 100"),
    ],
)
def test_values_of_a_type_without_a_range_are_an_error_that_names_file_and_range(
    tmp_path: Path, values: np.ndarray, kind: int, extent: str
) -> None:
    file = write_tiff(tmp_path / "image.tif", values.tobytes(), len(values), 8 * values.itemsize, kind=kind)
    with pytest.raises(BrokenPicture, match=rf"image\.tif cannot be read .*{extent}.*expected unsigned integers"):
        read_picture(file)


def test_transparent_grey_of_16_bits_becomes_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1_000, 65_535]], np.uint16)).save(tmp_path / "image.png", transparency=1_000)
    assert read_picture(tmp_path / "image.png")[0, 0].tolist() == [0, 255, 255]


def test_only_the_documented_formats_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow runs Ghostscript on EPS, by content and not by suffix."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (tmp_path / "image.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(BrokenPicture, match=r"image\.png cannot be read as an image"):
        read_picture(tmp_path / "image.png")


@pytest.mark.slow
def test_large_images_are_read(tmp_path: Path) -> None:
    """99 megapixels, and as many as make Pillow suspect an attack by default."""
    for width, height in ((11_000, 9_000), (20_000, 9_000)):
        Image.new("1", (width, height)).save(tmp_path / "image.png")
        assert read_picture(tmp_path / "image.png").shape == (3, height, width)


def test_more_pixels_than_any_memory_holds_are_an_error(tmp_path: Path) -> None:
    content = save(tmp_path / "image.png").read_bytes()
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    (tmp_path / "image.png").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(BrokenPicture, match=r"3600000000 pixels\) exceeds limit of 1073741824"):
        read_picture(tmp_path / "image.png")


def test_large_metadata_are_no_reason_to_refuse_an_image(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    assert middle(read_picture(save(tmp_path / "image.png", pnginfo=text))) == RED


def test_damaged_exif_data_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x0100] = 6, 640
    file = save(tmp_path / "image.jpg", exif=exif)
    whole = file.read_bytes()
    width, text = b"\x01\x00\x00\x04", b"\x01\x00\x00\x02"  # tag and type: the number is then read as text
    assert whole.count(width) == 1
    file.write_bytes(whole.replace(width, text))
    with pytest.raises(BrokenPicture, match=r"image\.jpg cannot be read as an image"):
        read_picture(file)


def ramp(height: int, width: int) -> Tensor:
    """A picture with the row index in the first channel and the column index in the second."""
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


def test_evaluation_view_is_the_centre_crop_at_256_pixels() -> None:
    view = evaluation_view(ramp(200, 240), 175, HE15_IMAGENET).float()  # side 200 · 224 / 256 = 175
    assert torch.equal(view[0, :, 0], torch.arange(12, 187).float()) or torch.equal(
        view[0, :, 0], torch.arange(13, 188).float()
    )
    assert view[1, 0, 0] in (32, 33)
    whole = evaluation_view(ramp(100, 140), 100, BLOG_E_TRANSFER).float()
    assert torch.equal(whole[0, :, 0], torch.arange(100).float()) and whole[1, 0, 0] == 20


def test_ten_views_are_corners_centre_and_their_mirror_images() -> None:
    views = ten_views(ramp(200, 240), 175, HE15_IMAGENET).float()
    corners = [(int(view[0, 0, 0]), int(view[1, 0, 0])) for view in views[:5]]
    assert corners[:4] == [(0, 0), (0, 65), (25, 0), (25, 65)]
    assert torch.equal(views[4], evaluation_view(ramp(200, 240), 175, HE15_IMAGENET).float())
    assert torch.equal(views[5:], views[:5].flip(-1))


def test_scale_position_and_mirroring_have_he15s_distributions() -> None:
    """The shorter side is 256 to 480 for a crop of 224: the crop is between 7/8 and 7/15 of the picture's shorter side."""
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
