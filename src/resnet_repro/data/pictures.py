"""Image files as tensors: read whatever their mode, scaled and cut out as He15 does."""

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

CROP = 224  # pixels of the crop that a recipe's scale speaks of
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")


class BrokenPicture(Exception):
    """A file that cannot be read as an image."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read as an image ({reason})")
        self.path, self.reason = path, reason


def read_picture(path: Path) -> Tensor:
    """The image (3, H, W) uint8, upright by its EXIF orientation; the first frame of an animation.

    Grey values of more than eight bits are scaled, not cut off; what is transparent lies on white. Raises BrokenPicture.
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
        struct.error,  # this and the next two of damaged EXIF data
        TypeError,
        LookupError,
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
    """Grey values (H, W) uint8: of 16 bits the upper eight, of floats those from 0 to 1, or else from 0 to 255."""
    values = np.asarray(picture)
    if picture.mode == "F":
        values = np.nan_to_num(values.astype(np.float64))
        return np.clip(np.round(values * (255 if values.max(initial=0) <= 1 else 1)), 0, 255).astype(np.uint8)
    values = values.astype(np.int64)
    return np.clip(values >> 8 if values.max(initial=0) > 255 else values, 0, 255).astype(np.uint8)


def training_view(picture: Tensor, resolution: int, recipe: Recipe, rng: np.random.Generator) -> Tensor:
    """A random view (3, R, R) uint8 of a picture (3, H, W), R the resolution.

    The shorter side is scaled to a length drawn from the recipe's scale, a crop taken anywhere, and mirrored half the
    time (He15 section 3.4). The crop is cut out first and scaled then: the same view, without the whole picture at the
    larger scale. Drawn in this order: length, top, left, mirror.
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
    """The view (3, R, R) uint8 from the middle of a picture (3, H, W) scaled to the recipe's smaller length."""
    height, width = picture.shape[-2:]
    side = _side(picture, _evaluation_scale(recipe))
    return _cut(picture, (height - side) / 2, (width - side) / 2, side, resolution)


def ten_views(picture: Tensor, resolution: int, recipe: Recipe) -> Tensor:
    """The views (10, 3, R, R) uint8 at the four corners and in the middle, and their mirror images (Krizhevsky 2012)."""
    height, width = picture.shape[-2:]
    side = _side(picture, _evaluation_scale(recipe))
    bottom, right = height - side, width - side
    places = [(0.0, 0.0), (0.0, right), (bottom, 0.0), (bottom, right), (bottom / 2, right / 2)]
    views = torch.stack([_cut(picture, top, left, side, resolution) for top, left in places])
    return torch.cat([views, transforms.horizontal_flip(views)])


def _evaluation_scale(recipe: Recipe) -> float:
    return recipe.scale[0] / CROP if recipe.scale else 1.0


def _side(picture: Tensor, scale: float) -> float:
    """The side of the crop in the picture's own pixels, where its shorter side is `scale` times the crop's."""
    return min(picture.shape[-2:]) / scale


def _cut(picture: Tensor, top: float, left: float, side: float, resolution: int) -> Tensor:
    """The square of `side` pixels at (top, left), scaled to the resolution; whole pixels, one at least."""
    height, width = picture.shape[-2:]
    size = max(1, min(round(side), height, width))
    top, left = min(round(top), height - size), min(round(left), width - size)
    return transforms.resized_crop(picture, top, left, size, size, [resolution, resolution], antialias=True)
