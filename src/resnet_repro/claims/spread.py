"""How much of the spread of test errors over seeds is luck with the test images.

Two runs of the same training differ in their test error for two reasons: one may be better on all images of the kind, and
on a finite test set the images on which single runs err at random do not balance. K. Jordan, *On the Variance of Neural
Network Training with respect to Test Sets and Distributions* (ICLR 2024, arXiv 2304.01910; first version, 2023: *Calibrated
Chaos: Variance Between Runs of Neural Network Training is Harmless and Inevitable*), separates the variance on a test set from
the variance on the distribution of its images.

Derivation. E[s, i] is 1 if the run of seed s errs on test image i, else 0. Runs are drawn independently, and so are the n
images, independently of the runs. e_s = mean over i of E[s, i] is the test error of a run, and r_s its error over all images.
Given the images, the variance of e_s over runs is

    V = Var(e_s) = (1/n²) Σ_i Σ_j Cov(E[s, i], E[s, j]).

For i ≠ j the images are independent, so that given the run E[s, i] and E[s, j] are independent with mean r_s: over images,
the mean of Cov(E[s, i], E[s, j]) is E[r²] - E[r]² = Var(r_s), the variance that does not depend on the test images. Hence the
mean of all pairs i ≠ j is an unbiased estimate of it; with v the mean over images of Var(E[s, i]), it is

    R = (n² V - n v) / (n (n - 1)) = (n V - v) / (n - 1).

V and v are linear in covariances over runs, so that sample covariances with divisor (seeds - 1) keep R unbiased for any number
of seeds from two. The rest, V - R = (v - V) / (n - 1), is the part of the finite test set. It is never negative, R may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from resnet_repro.claims.statistics import variance_interval


@dataclass(frozen=True)
class Spread:
    """Spread of the test error over seeds, in percentage points."""

    seeds: int
    images: int
    """Test images that all runs were scored on."""
    error: float
    """Mean test error in percent."""
    observed: float
    """Standard deviation of the test error."""
    observed_interval: tuple[float, float]
    """Its 95 % interval, from the χ² distribution: exact for normal errors."""
    of_images: float
    """Standard deviation that the finite number of test images adds, the square root of V - R."""
    beyond: float
    """Standard deviation of the error over all images of the kind, the square root of R; 0 if R is negative."""
    beyond_interval: tuple[float, float]
    """The interval of `observed`, less the part of the images, which thousands of images determine closely."""


def spread(correct: Sequence[np.ndarray]) -> Spread:
    """Return the spread of the test error over seeds and its parts.

    correct: for each seed, whether each test image is classified correctly, (N,) bool; the same images in the same order.
    Raises ValueError for fewer than two seeds or images, or different numbers of images.
    """
    variance, of_images = variance_parts(correct)
    errors = [100.0 * float(1 - images.mean()) for images in correct]
    low, high = variance_interval(errors)
    return Spread(
        seeds=len(correct),
        images=len(correct[0]),
        error=fmean(errors),
        observed=math.sqrt(variance),
        observed_interval=(math.sqrt(low), math.sqrt(high)),
        of_images=_root(of_images),
        beyond=_root(variance - of_images),
        beyond_interval=(_root(low - of_images), _root(high - of_images)),
    )


def variance_parts(correct: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return V and V - R of the module's derivation, in squared percentage points: unbiased, so that R may be negative.

    correct and errors: as of `spread`.
    """
    if len(correct) < 2 or len({images.shape for images in correct}) > 1 or correct[0].ndim != 1 or len(correct[0]) < 2:
        shapes = ", ".join(str(images.shape) for images in correct)
        raise ValueError(f"invalid correctness of shapes {shapes}: expected two or more runs on the same (N,) images")
    wrong = 100.0 * ~np.stack(correct).astype(bool)  # (seeds, N)
    variance = float(wrong.mean(1).var(ddof=1))
    of_single_images = float(wrong.var(0, ddof=1).mean())
    return variance, (of_single_images - variance) / (wrong.shape[1] - 1)


def _root(value: float) -> float:
    return math.sqrt(max(0.0, value))
