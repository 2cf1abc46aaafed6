"""Curvature and shape of the loss, on cases whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from trained_runs import diagnostic_context

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.diagnostics import loss_surface
from resnet_repro.diagnostics.loss_surface import (
    Curvature,
    Landscape,
    filter_normalized,
    hessian_product,
    largest_eigenvalue,
    loss_plane,
)
from resnet_repro.models import build
from resnet_repro.tables import read_rows


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_largest_eigenvalue_of_a_quadratic_loss() -> None:
    """0.5 xᵀ A x has the Hessian A. The largest eigenvalue is meant, not the largest magnitude."""
    basis, _ = torch.linalg.qr(seeded(30, 30))
    matrix = basis @ torch.diag(torch.cat([torch.tensor([7.0, -50.0]), torch.linspace(-1, 3, 28)])) @ basis.T
    x = nn.Parameter(seeded(30))
    assert largest_eigenvalue(lambda: iter([0.5 * x @ matrix @ x]), [x]) == pytest.approx(7.0, rel=0.01)


def test_independent_units_have_the_largest_of_their_curvatures() -> None:
    """A sum of losses of single units has a diagonal Hessian; batches are averaged."""
    units = [nn.Parameter(seeded(4)) for _ in range(3)]
    curvatures = (1.0, 9.0, 4.0)

    def losses() -> Iterator[torch.Tensor]:
        for factor in (0.5, 1.5):
            of_units = [0.5 * factor * c * unit.square().sum() for c, unit in zip(curvatures, units, strict=True)]
            yield torch.stack(of_units).sum()

    assert largest_eigenvalue(losses, units) == pytest.approx(9.0, rel=0.01)
    product = hessian_product(losses, units, torch.ones(12))
    assert torch.allclose(product, torch.tensor([1.0] * 4 + [9.0] * 4 + [4.0] * 4))


def test_curvature_of_a_linear_net_is_that_of_its_whole_hessian() -> None:
    net = nn.Linear(6, 3)
    images, labels = seeded(20, 6), torch.arange(20) % 3
    flat = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])

    def loss(values: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(images @ values[:18].view(3, 6).T + values[18:], labels)

    whole = torch.linalg.eigvalsh(torch.func.hessian(loss)(flat))[-1]
    found = largest_eigenvalue(lambda: iter([F.cross_entropy(net(images), labels)]), list(net.parameters()))
    assert found == pytest.approx(float(whole), rel=0.01)


def test_dead_and_overflown_nets() -> None:
    x = nn.Parameter(torch.ones(3))
    assert largest_eigenvalue(lambda: iter([(0 * x).square().sum()]), [x]) == 0.0
    assert math.isnan(largest_eigenvalue(lambda: iter([(x * math.inf).square().sum()]), [x]))


def test_directions_have_the_norms_of_the_filters() -> None:
    weight, generator = seeded(5, 3, 3, 3) * torch.arange(5.0).view(5, 1, 1, 1), torch.Generator().manual_seed(1)
    direction = filter_normalized(weight, generator)
    assert torch.allclose(direction.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1), rtol=1e-5)
    assert not filter_normalized(torch.ones(5), generator).any()
    assert not torch.equal(direction, filter_normalized(weight, generator))


def test_plane_of_a_quadratic_loss_is_a_paraboloid() -> None:
    x = nn.Parameter(seeded(4))
    before = x.detach().clone()
    first, second = torch.eye(4)[0], 2 * torch.eye(4)[1]
    plane = loss_plane(lambda: float((x - before).square().sum()), [x], [[first], [second]], (-1.0, 0.0, 0.5))
    assert len(plane) == 9
    assert all(value == pytest.approx(a**2 + 4 * b**2, abs=1e-6) for (a, b), value in plane.items())
    assert torch.equal(x, before)


def test_measurements_keep_the_net_and_are_repeatable(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_surface, "CURVATURE_IMAGES", 32)
    monkeypatch.setattr(loss_surface, "PLANE_IMAGES", 32)
    monkeypatch.setattr(loss_surface, "BATCH", 16)
    arm = cifar_arm("resnet", 8, HE15_CIFAR, watch=("curvature", "landscape"))
    context = diagnostic_context(tmp_path, tiny_data, arm)
    net = build(arm.model, 10, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    curvature, landscape = Curvature(context), Landscape(context)
    curvature.tables[0].rewind(-1)
    curvature.along(net, 0)
    values = curvature.finish(net) | landscape.finish(net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert values["curvature"] == values["first_curvature"] > 0
    assert landscape.finish(net) == {"landscape_rise": values["landscape_rise"]}
    rows = read_rows(tmp_path / "landscape.csv")
    assert len(rows) == 121
    centre = [float(row["loss"]) for row in rows if float(row["along"]) == float(row["across"]) == 0]
    assert centre[0] == pytest.approx(2.3, abs=1.5)
