"""Image files as tensors: decoding of all modes, and He15's scaling and cropping."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from resnet_repro.config.arm import Recipe

CROP = 224  # side of the crop to which `Recipe.scale` refers, in pixels
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")


class BrokenPicture(Exception):
    """A file that cannot be read as an image."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read as an image ({reason})")
        self.path, self.reason = path, reason


def read_picture(path: Path) -> Tensor:
    """Read an image as (3, H, W) uint8, rotated by its EXIF orientation; of an animation the first frame.

    Grey values of more than eight bits are scaled, not clipped. Transparent pixels are composed on white.
    Raises BrokenPicture if the file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                upright = ImageOps.exif_transpose(file)
                picture = _to_rgb(upright)
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        UnidentifiedImageError,
        MemoryError,
        ZeroDivisionError,
        struct.error,  # damaged EXIF data
        TypeError,  # damaged EXIF data
        LookupError,  # damaged EXIF data
    ) as error:
        raise BrokenPicture(path, _one_line(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenPicture(path, _one_line(error)) from error
    return transforms.pil_to_tensor(picture)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in SIXTEEN_BITS or picture.mode in ("I", "F"):
        return Image.fromarray(_eight_bits(picture)).convert("RGB")
    if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        page = Image.new("RGBA", over.size, (255, 255, 255, 255))
        page.alpha_composite(over)
        return page.convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> np.ndarray:
    """Return grey values (H, W) uint8.

    Integers lose their lower eight bits if one exceeds 255. Floats are multiplied by 255 if none exceeds 1.
    """
    values = np.asarray(picture)
    if picture.mode == "F":
        values = np.nan_to_num(values.astype(np.float64))
        return np.clip(np.round(values * (255 if values.max(initial=0) <= 1 else 1)), 0, 255).astype(np.uint8)
    values = values.astype(np.int64)
    return np.clip(values >> 8 if values.max(initial=0) > 255 else values, 0, 255).astype(np.uint8)


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
