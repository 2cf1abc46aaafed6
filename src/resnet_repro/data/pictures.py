"""Image files as tensors: decoding of all modes, and He15's scaling and cropping."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from resnet_repro.config.arm import Recipe
from resnet_repro.data.image_files import FORMATS

CROP = 224  # side of the crop to which `Recipe.scale` refers, in pixels
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO = 0  # value of PHOTOMETRIC
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # values of SAMPLE_FORMAT
TYPES = {UNSIGNED: "uint", SIGNED: "int", FLOAT: "float"}
READ_TYPES = "expected unsigned integers of 8 or 16 bits"


class BrokenPicture(Exception):
    """A file that cannot be read as an image."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read as an image ({reason})")
        self.path, self.reason = path, reason


def read_picture(path: Path) -> Tensor:
    """Read an image as (3, H, W) uint8, rotated by its EXIF orientation; of an animation the first frame.

    Grey values of 16 bits keep their high byte, whatever the image holds. Transparent pixels are composed on white.
    Raises BrokenPicture if the file cannot be read, is in no format of `FORMATS`, or has grey values of a type whose
    range is not known (float, signed, 32 bits).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # only the error counts, see MOST_PIXELS
            # A file object, since Pillow maps a path into memory, which garbles TIFF files with an EXIF orientation over 4.
            with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as file:
                _scale_transparency(file)
                upright = ImageOps.exif_transpose(file)
                _check_range(upright, file)
                picture = _to_rgb(_eight_bits(upright, file) if file.mode[0] == "I" else upright)
    except UnidentifiedImageError as error:
        raise BrokenPicture(path, _unidentified(path)) from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        ZeroDivisionError,
        struct.error,  # damaged EXIF data
        TypeError,  # damaged EXIF data
        LookupError,  # damaged EXIF data
        Image.DecompressionBombError,
    ) as error:
        raise BrokenPicture(path, _one_line(error)) from error
    return transforms.pil_to_tensor(picture)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _unidentified(path: Path) -> str:
    """Say why Pillow does not know a file: of TIFF files the type of their values."""
    reason = f"it is not a complete image in one of the formats {', '.join(FORMATS)}"
    try:
        with path.open("rb") as file:
            tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
            bits, kinds = tags[BITS_PER_SAMPLE], tags.get(SAMPLE_FORMAT, (UNSIGNED,))
            order = ", big-endian" if tags.prefix == b"MM" else ""
            inverted = " with 0 as white" if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else ""
            return f"TIFF of {len(bits)} × {TYPES[kinds[0]]}{bits[0]} per pixel{inverted}{order} is not supported: {READ_TYPES}"
    except (OSError, SyntaxError, LookupError, ValueError, TypeError, struct.error):
        return reason


def _scale_transparency(file: Image.Image) -> None:
    """Bring the transparent grey of a PNG file that is not yet decoded to the scale of the decoded values.

    Raises ValueError for a transparent colour of 16 bits, since decoded colours have 8.
    """
    transparent = file.info.get("transparency")
    tiles = getattr(file, "tile", [])
    packing = tiles[0].args if file.format == "PNG" and tiles else None
    if isinstance(transparent, int) and packing in ("L;2", "L;4"):
        file.info["transparency"] = transparent * (85 if packing == "L;2" else 17)
    if isinstance(transparent, tuple) and packing == "RGB;16B":
        raise ValueError("it has a transparent colour of 16 bits: expected 8 bits, or an alpha channel")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        page = Image.new("RGBA", over.size, (255, 255, 255, 255))
        page.alpha_composite(over)
        return page.convert("RGB")
    return picture.convert("RGB")


def _check_range(picture: Image.Image, file: Image.Image) -> None:
    """Raise ValueError, with type and range, if the values of a picture are of a type that does not say which is white.

    file: the opened file of the picture, which has its format and tags.
    """
    tags = getattr(file, "tag_v2", {})  # of TIFF
    kinds = tags.get(SAMPLE_FORMAT, (UNSIGNED,))
    has_range = file.mode != "F" and (file.mode != "I" or file.format == "PPM")  # Pillow scales every PGM to 16 bits
    if has_range and set(kinds).isdisjoint((SIGNED, FLOAT)):
        return
    values, bits = np.asarray(picture), tags.get(BITS_PER_SAMPLE, (32,))[0]
    kind = FLOAT if file.mode == "F" else kinds[0]
    if values.dtype.kind in "iu" and bits in (8, 32):
        values = values.view(f"{'i' if kind == SIGNED else 'u'}{bits // 8}")  # Pillow has one type for both
    finite = values[np.isfinite(values)]
    extent = (
        f"from {finite.min():.6g} to {finite.max():.6g}" if kind == FLOAT and finite.size else "none of them finite"
    )
    if kind != FLOAT:
        extent = f"from {finite.min()} to {finite.max()}"
    more = "" if finite.size in (0, values.size) else ", some of them not finite"
    raise ValueError(
        f"its values are {TYPES[kind]}{bits} {extent}{more}, and this type does not say which value is white: {READ_TYPES}"
    )


def _eight_bits(picture: Image.Image, file: Image.Image) -> Image.Image:
    """Return a picture of more than eight bits per grey value as one of eight, on a scale given by their type alone.

    file: as for `_check_range`.
    """
    tags = getattr(file, "tag_v2", {})
    values, bits = np.asarray(picture), 16
    if file.format == "TIFF":
        bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    grey = (values.astype(np.int64) >> (bits - 8)).clip(0, 255).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow inverts up to eight bits only
        grey = 255 - grey
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def training_view(picture: Tensor, resolution: int, recipe: Recipe, rng: np.random.Generator) -> Tensor:
    """Return a random view (3, R, R) uint8 of a picture (3, H, W); R is the resolution.

    The shorter side is scaled to a length drawn from `recipe.scale`, and a random crop is taken (He15 section 3.4). If
    scale is None, the centre crop is taken. With `recipe.flip`, the crop is mirrored with probability 0.5. It is cut out
    before it is scaled, which gives the same view for less work. Random numbers are drawn in the order length, top, left,
    mirror.
    """
    height, width = picture.shape[-2:]
    if recipe.scale is None:
        view = evaluation_view(picture, resolution, recipe)
    else:
        low, high = recipe.scale
        side = _side(picture, rng.integers(low, high + 1) / CROP)
        top, left = rng.uniform(0, height - side), rng.uniform(0, width - side)
        view = _cut(picture, top, left, side, resolution)
    return transforms.horizontal_flip(view) if recipe.flip and rng.random() < 0.5 else view


def evaluation_view(picture: Tensor, resolution: int, recipe: Recipe) -> Tensor:
    """Return the centre crop (3, R, R) uint8 of a picture (3, H, W).

    The shorter side is scaled to `recipe.scale[0]`, or to the side of the crop if scale is None.
    """
    height, width = picture.shape[-2:]
    side = _side(picture, _evaluation_scale(recipe))
    return _cut(picture, (height - side) / 2, (width - side) / 2, side, resolution)


def ten_views(picture: Tensor, resolution: int, recipe: Recipe) -> Tensor:
    """Return the four corner crops, the centre crop and their mirror images (10, 3, R, R) uint8 (Krizhevsky 2012)."""
    height, width = picture.shape[-2:]
    side = _side(picture, _evaluation_scale(recipe))
    bottom, right = height - side, width - side
    positions = [(0.0, 0.0), (0.0, right), (bottom, 0.0), (bottom, right), (bottom / 2, right / 2)]
    views = torch.stack([_cut(picture, top, left, side, resolution) for top, left in positions])
    return torch.cat([views, transforms.horizontal_flip(views)])


def _evaluation_scale(recipe: Recipe) -> float:
    return recipe.scale[0] / CROP if recipe.scale else 1.0


def _side(picture: Tensor, scale: float) -> float:
    """Return the side of the crop in pixels of the picture, whose shorter side is `scale` times the crop's."""
    return min(picture.shape[-2:]) / scale


def _cut(picture: Tensor, top: float, left: float, side: float, resolution: int) -> Tensor:
    """Cut out a square of `side` pixels at (top, left), rounded to whole pixels and at least one, and resize it."""
    height, width = picture.shape[-2:]
    size = max(1, min(round(side), height, width))
    top, left = min(round(top), height - size), min(round(left), width - size)
    return transforms.resized_crop(picture, top, left, size, size, [resolution, resolution], antialias=True)
