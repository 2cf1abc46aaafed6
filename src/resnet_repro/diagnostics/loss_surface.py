"""The surface of the training loss: its largest curvature, and its shape on a plane through the finished network.

Both use fixed training images, without augmentation, in training mode, so that batch normalization normalizes by the batch:
this is the loss that training descends. Running statistics are not updated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.diagnostics.diagnostic import Diagnostic, DiagnosticContext
from resnet_repro.models.inspect import in_mode
from resnet_repro.models.recompute import frozen_statistics
from resnet_repro.tables import Table, read_rows

CURVATURE_IMAGES = 256
PLANE_IMAGES = 256
BATCH = 128
TOLERANCE = 0.01  # relative error of an eigenvalue
LANCZOS_VECTORS = 10  # products with the Hessian before a restart
OFFSETS = tuple(place / 5 for place in range(-5, 6))

BatchLosses = Callable[[], Iterator[Tensor]]
"""Yields the mean loss of each of some batches of equal size, with its graph."""


class Curvature(Diagnostic):
    """Largest eigenvalue of the Hessian of the training loss, on 256 images.

    curvature: at the end (for an untrained arm: at initialization). first_curvature: before the first step. Gradient descent
    at rate η diverges on a quadratic loss whose curvature is above 2/η. The table curvature.csv has each measurement. Left
    out if it is not finite.
    """

    early = (1, 10, 100, 1_000)
    only_early = True  # each costs as much as some hundred steps

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "curvature.csv", ("curvature",))]

    def along(self, net: nn.Module, step: int) -> None:
        self.tables[0].append([{"iteration": step, "curvature": self._curvature(net)}])

    def finish(self, net: nn.Module) -> dict[str, float]:
        values = {"curvature": self._curvature(net)}
        for row in read_rows(self.tables[0].path):
            if int(row["iteration"]) == 0:
                values["first_curvature"] = float(row["curvature"])
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def _curvature(self, net: nn.Module) -> float:
        def losses() -> Iterator[Tensor]:
            for images, labels in self.context.data.batches("train", CURVATURE_IMAGES, size=BATCH):
                yield F.cross_entropy(net(images), labels)

        with in_mode(net, training=True), frozen_statistics(net):
            return largest_eigenvalue(losses, [p for p in net.parameters() if p.requires_grad])


def largest_eigenvalue(losses: BatchLosses, parameters: Sequence[Tensor]) -> float:
    """Return the largest eigenvalue of the Hessian of the mean of `losses` with respect to the parameters.

    By the Lanczos method (ARPACK) on products of the Hessian with vectors (B. Pearlmutter, 1994), to a relative error of
    1 %, from a fixed first vector. NaN if a product is not finite. Needs at least two numbers among the parameters.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = sum(parameter.numel() for parameter in parameters)

    def product(vector: np.ndarray) -> np.ndarray:
        return hessian_product(losses, parameters, torch.from_numpy(vector.astype(np.float32).ravel())).cpu().numpy()

    start = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    of_start = product(start)
    if not np.isfinite(of_start).all():
        return math.nan
    if not of_start.any():
        return 0.0
    hessian: Any = LinearOperator((size, size), matvec=product, dtype=np.float32)  # pyright: ignore[reportCallIssue]
    options: dict[str, Any] = {"which": "LA", "v0": start, "ncv": min(size, LANCZOS_VECTORS), "tol": TOLERANCE}
    return float(np.asarray(eigsh(hessian, k=1, return_eigenvectors=False, **options))[0])


def hessian_product(losses: BatchLosses, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Return the product of the Hessian of the mean of `losses` with a vector, (size,), in the order of the parameters."""
    pieces = torch.split(vector.to(parameters[0].device), [parameter.numel() for parameter in parameters])
    directions = [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]
    total, count = torch.zeros_like(vector, device=parameters[0].device), 0
    for loss in losses():
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        along = torch.stack([(gradient * d).sum() for gradient, d in zip(gradients, directions, strict=True)]).sum()
        products = torch.autograd.grad(along, parameters, materialize_grads=True)
        total += torch.cat([product.flatten() for product in products])
        count += 1
    return total / count


class Landscape(Diagnostic):
    """Training loss around the finished network, on a plane of two random filter-normalized directions, on 256 images.

    H. Li et al., *Visualizing the Loss Landscape of Neural Nets*, 2018, section 4. landscape_rise: how much higher the loss
    is, on average, at the four points at distance 1 along the two directions. The table landscape.csv has the loss at
    11 × 11 points, from -1 to 1 along each direction.
    """

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "landscape.csv", ("along", "across", "loss"))]

    @torch.no_grad()
    def finish(self, net: nn.Module) -> dict[str, float]:
        parameters = list(net.parameters())
        generator = torch.Generator().manual_seed(self.context.settings.seed)
        directions = [[filter_normalized(p, generator) for p in parameters] for _ in range(2)]

        def loss() -> float:
            batches = self.context.data.batches("train", PLANE_IMAGES, size=BATCH)
            with self.context.autocast():
                return float(torch.stack([F.cross_entropy(net(x).float(), y) for x, y in batches]).mean())

        with in_mode(net, training=True), frozen_statistics(net):
            plane = loss_plane(loss, parameters, directions, OFFSETS)
        step = self.context.settings.stop_at
        self.tables[0].rewind(-1)  # an earlier attempt may have written it before it was killed
        self.tables[0].append(
            {"iteration": step, "along": a, "across": b, "loss": value} for (a, b), value in plane.items()
        )
        rise = float(np.mean([plane[point] for point in ((1, 0), (-1, 0), (0, 1), (0, -1))])) - plane[0, 0]
        return {"landscape_rise": rise} if math.isfinite(rise) else {}


def filter_normalized(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random direction for a parameter, each filter of the norm of the parameter's filter (Li 2018, section 4).

    A filter is a slice along the first axis. Zero for parameters of one axis: biases and batch normalization.
    """
    if parameter.ndim < 2:
        return torch.zeros_like(parameter)
    direction = torch.randn(parameter.shape, generator=generator).to(parameter.device)
    rows, filters = direction.flatten(1), parameter.detach().flatten(1)
    return (rows * (filters.norm(dim=1) / rows.norm(dim=1)).unsqueeze(1)).view_as(parameter)


def loss_plane(
    loss: Callable[[], float],
    parameters: Sequence[Tensor],
    directions: Sequence[Sequence[Tensor]],
    offsets: Sequence[float],
) -> dict[tuple[float, float], float]:
    """Return {(a, b): loss at parameters + a first direction + b second direction} for all pairs of offsets.

    The parameters have their first values afterwards, bit for bit.
    """
    first, second = directions
    plane = {}
    for a in offsets:
        for b in offsets:
            with _moved(parameters, [a * d + b * e for d, e in zip(first, second, strict=True)]):
                plane[a, b] = loss()
    return plane


@contextmanager
def _moved(parameters: Sequence[Tensor], by: Sequence[Tensor]) -> Iterator[None]:
    with torch.no_grad():
        before = [parameter.clone() for parameter in parameters]
        for parameter, shift in zip(parameters, by, strict=True):
            parameter += shift
        try:
            yield
        finally:
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
