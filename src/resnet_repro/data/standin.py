"""Procedural stand-in data for machines without the real data: ten shapes of random position, size, angle and colours.

Colour and position are independent of the class, so a linear classifier of the pixels stays near chance. Images of one
channel have shades of grey instead of colours.
"""

from __future__ import annotations

import numpy as np

from resnet_repro.data.arrays import Split
from resnet_repro.data.catalogue import DatasetFacts

_CHUNK = 1_000


def generate(facts: DatasetFacts) -> dict[str, Split]:
    """Return the splits "train" and "test" of a stand-in. They depend on its seed alone."""
    children = np.random.SeedSequence(facts.seed).spawn(2)
    return {
        split: _draw(np.random.Generator(np.random.PCG64(child)), facts.count(split), facts)
        for split, child in zip(("train", "test"), children, strict=True)
    }


def _draw(rng: np.random.Generator, count: int, facts: DatasetFacts) -> Split:
    labels = (np.arange(count) % facts.classes).astype(np.uint8)
    images = np.concatenate([_render(rng, labels[i : i + _CHUNK], facts.shape) for i in range(0, count, _CHUNK)])
    return Split(images, labels)


def _render(rng: np.random.Generator, labels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return images (n, *shape) uint8 of the classes `labels` (n,)."""
    n, (channels, size, _) = len(labels), shape

    def per_image(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    axis = np.linspace(-1, 1, size, dtype=np.float32)
    y, x = axis[None, :, None] - per_image(-0.25, 0.25), axis[None, None, :] - per_image(-0.25, 0.25)
    angle, scale = per_image(-0.4, 0.4), per_image(0.6, 0.85)
    u = (np.cos(angle) * x + np.sin(angle) * y) / scale
    v = (np.cos(angle) * y - np.sin(angle) * x) / scale
    shapes = np.zeros((n, size, size), bool)
    for label in np.unique(labels):
        of_class = labels == label
        shapes[of_class] = _inside(int(label), u[of_class], v[of_class])

    colours = rng.uniform(0.1, 0.9, (2, n, channels, 1, 1)).astype(np.float32)
    # The two colours of an image must differ visibly.
    too_close = np.abs(colours[0] - colours[1]).max(axis=1, keepdims=True) < 0.3
    colours[1] = np.where(too_close, (colours[1] + 0.45) % 1, colours[1])
    image = np.where(shapes[:, None], colours[0], colours[1])
    image = image + 0.2 * _smooth_noise(rng, n, channels, size) + rng.normal(0, 0.05, (n, *shape)).astype(np.float32)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def _inside(label: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return a mask of the points inside the shape of a class, which fills about [-1, 1]² in the coordinates u, v."""
    r, box = np.hypot(u, v), np.maximum(abs(u), abs(v))
    return (
        r < 0.85,
        (r > 0.5) & (r < 0.95),
        box < 0.75,
        (box > 0.42) & (box < 0.82),
        (v > -0.6) & (v < 0.95 - 1.8 * abs(u)),
        (box < 0.9) & (np.minimum(abs(u), abs(v)) < 0.27),
        (abs(v) < 0.8) & (abs(u) > 0.25) & (abs(u) < 0.7),
        (r < 1.0) & (u > -0.1),
        (box < 0.8) & ((u < -0.25) | (v < -0.25)),
        (box < 0.85) & (u * v > 0),
    )[label]


def _smooth_noise(rng: np.random.Generator, n: int, channels: int, size: int) -> np.ndarray:
    """Return noise (n, channels, size, size) in [-1, 1]: a random 6×6 grid, interpolated bilinearly."""
    grid = rng.uniform(-1, 1, (n, channels, 6, 6)).astype(np.float32)
    position = np.linspace(0, 4.999, size, dtype=np.float32)
    low = position.astype(int)
    part = position - low
    rows = grid[:, :, low] * (1 - part)[:, None] + grid[:, :, low + 1] * part[:, None]
    return rows[..., low] * (1 - part) + rows[..., low + 1] * part
