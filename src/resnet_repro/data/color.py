"""Colours shifted along their principal components over ImageNet (Krizhevsky 2012, section 4.1; He15 section 3.4)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# Of the RGB values, in [0, 1], over ImageNet's training images, as published with fb.resnet.torch.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (  # a row a colour, a column a component
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def color_shift(alphas: Tensor) -> Tensor:
    """What is added to the pixels (0..255) of images whose components are drawn as `alphas` (B, 3): (B, 3, 1, 1)."""
    values, vectors = _components(alphas.device, alphas.dtype)
    return (255 * (alphas * values) @ vectors.T)[..., None, None].to(torch.float32)


@cache
def _components(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors, on the device once: to copy them at each step would wait for it."""
    return torch.tensor(EIGENVALUES, device=device, dtype=dtype), torch.tensor(EIGENVECTORS, device=device, dtype=dtype)
