"""Colour augmentation: shifts along ImageNet's principal components (Krizhevsky 2012, section 4.1; He15 section 3.4)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# Principal components of the RGB values in [0, 1] of ImageNet's training images, as published with fb.resnet.torch.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (  # one row per colour, one column per component
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def color_shift(alphas: Tensor) -> Tensor:
    """Return the shift (B, 3, 1, 1) float32, in pixel values of 0..255, for the drawn components `alphas` (B, 3)."""
    values, vectors = _components(alphas.device, alphas.dtype)
    return (255 * (alphas * values) @ vectors.T)[..., None, None].to(torch.float32)


@cache
def _components(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors on the device. Cached: a copy at each step would wait for the device."""
    return torch.tensor(EIGENVALUES, device=device, dtype=dtype), torch.tensor(EIGENVECTORS, device=device, dtype=dtype)
