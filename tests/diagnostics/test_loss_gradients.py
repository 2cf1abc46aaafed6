"""Gradients by layer and by image, on cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trained_runs import diagnostic_context

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.diagnostics.loss_gradients import (
    Agreement,
    Growth,
    image_gradients,
    mean_cosine,
    stage_slopes,
    weight_gradient_norms,
)
from resnet_repro.models import build
from resnet_repro.tables import read_rows
from resnet_repro.theory import MEAN_FIELD_GROWTH


def test_slopes_are_per_layer_towards_the_input_and_by_stage() -> None:
    norms = [("conv1", 7.0), *[(f"layer1.{i}.conv1", 1.21**-i) for i in range(6)], ("layer2.0.conv1", 3.0)]
    norms += [(f"layer3.{i}.conv1", 10.0**i) for i in range(3)]
    slopes = stage_slopes(norms)
    assert slopes == {1: pytest.approx(torch.tensor(1.21).log10().item()), 3: pytest.approx(-1.0)}
    dead = stage_slopes([("layer1.0.conv1", float("nan")), ("layer1.0.conv2", 0.0), ("layer1.1.conv1", 1.0)])
    assert dead[1] == pytest.approx(-19.0)  # levels -38, -38, 0


@pytest.mark.parametrize(
    ("vectors", "cosine"),
    [
        ([[1.0, 2.0], [2.0, 4.0], [0.5, 1.0]], 1.0),
        ([[1.0, 0.0], [0.0, 3.0]], 0.0),
        ([[1.0, 0.0], [-5.0, 0.0]], -1.0),
        ([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]], (2**0.5 / 2 + 2**0.5 / 2 + 0.0) / 3),
        ([[1.0, 0.0], [0.0, 0.0]], 0.0),
    ],
)
def test_mean_cosine_over_all_pairs(vectors: list[list[float]], cosine: float) -> None:
    assert mean_cosine(torch.tensor(vectors)) == pytest.approx(cosine, abs=1e-6)


def test_images_agree_or_not_whatever_their_labels_are(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of one image have the same gradient, and a net that looks at each image elsewhere has orthogonal ones."""
    labels = torch.arange(10)
    copies = torch.ones(10, 1, 3, 3)
    apart = torch.zeros(10, 1, 3, 3).flatten(1)
    apart[torch.arange(9), torch.arange(9)] = 1.0
    apart[9] = 0.0
    net = nn.Sequential()
    net.add_module("layer1", nn.Sequential(nn.Conv2d(1, 10, 3, bias=False)))
    net.add_module("end", nn.Flatten())
    context = diagnostic_context(tmp_path, tiny_data, cifar_arm("plain", 8, HE15_CIFAR))
    monkeypatch.setattr(
        "resnet_repro.diagnostics.loss_gradients.main_path_convolutions", lambda net: [("layer1.0", None)]
    )
    for images, expected in ((copies, 1.0), (apart.reshape(10, 1, 3, 3), 0.0)):
        monkeypatch.setattr(type(context.data), "batches", lambda *a, images=images, **k: [(images, labels)])
        values = Agreement(context).finish(net)
        assert values == {
            "agreement_1": pytest.approx(expected, abs=1e-6),
            "agreement": pytest.approx(expected, abs=1e-6),
        }
        gradients = image_gradients(net, images, labels, ["layer1.0.weight"])["layer1.0.weight"]
        assert mean_cosine(gradients) < 1e-6, "with labels of their own, even copies seem to have nothing in common"


def test_mean_cosine_needs_two_vectors() -> None:
    with pytest.raises(ValueError, match="1 vectors"):
        mean_cosine(torch.ones(1, 3))


def test_image_gradients_of_a_linear_net_are_outer_products() -> None:
    """The gradient of the cross-entropy of W x with respect to W is (softmax - one-hot) xᵀ."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False))
    images, labels = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    (gradients,) = image_gradients(net, images, labels, ["1.weight"]).values()
    x = images.flatten(1)
    error = net(images).detach().softmax(1) - torch.eye(4)[labels]
    assert torch.allclose(gradients, torch.einsum("no,ni->noi", error, x).flatten(1), atol=1e-6)


def test_image_gradients_are_those_of_each_image_at_fixed_batch_statistics_and_leave_the_net_alone() -> None:
    net = build(cifar_arm("plain", 8, HE15_CIFAR).model, 10, seed=0).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images, labels = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    names = ["conv1.weight", "layer2.0.conv1.weight"]
    gradients = image_gradients(net, images, labels, names)
    assert net.training and all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # running statistics become those of the batch
    net(images)
    net.eval()
    parameters = dict(net.named_parameters())
    for image in range(6):
        loss = nn.functional.cross_entropy(net(images[image : image + 1]), labels[image : image + 1])
        expected = torch.autograd.grad(loss, [parameters[name] for name in names])
        for name, gradient in zip(names, expected, strict=True):
            assert torch.allclose(gradients[name][image], gradient.flatten(), atol=1e-5)


class WideNet(nn.Module):
    """Random layers of 256 units, each with batch normalization and ReLU, or with neither."""

    def __init__(self, normalized: bool, layers: int = 12, width: int = 256) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for layer in range(layers):
            block = nn.Sequential()
            block.add_module("conv1", nn.Conv2d(3 if layer == 0 else width, width, 1, bias=False))
            if normalized:
                block.add_module("bn1", nn.BatchNorm2d(width))
                block.add_module("relu", nn.ReLU())
            blocks.append(block)
        self.layer1 = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, 10)
        generator = torch.Generator().manual_seed(0)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if normalized:
                    nn.init.normal_(module.weight, std=0.3, generator=generator)
                else:
                    nn.init.orthogonal_(module.weight, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer1(x).mean((2, 3)))


@pytest.mark.parametrize(("normalized", "growth", "tolerance"), [(True, MEAN_FIELD_GROWTH, 0.03), (False, 1.0, 0.02)])
def test_growth_in_wide_random_nets_is_that_of_theory(normalized: bool, growth: float, tolerance: float) -> None:
    """Batch normalization with ReLU: sqrt(π/(π - 1)), at any variance of the weights. Orthogonal linear layers: 1."""
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(256, 3, 1, 1, generator=generator), torch.randint(10, (256,), generator=generator)
    norms = weight_gradient_norms(WideNet(normalized), images, labels)
    assert 10 ** stage_slopes(norms[2:])[1] == pytest.approx(growth, abs=tolerance)


def test_measurements_along_a_training_keep_the_net_and_its_statistics(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.diagnostics.loss_gradients.AGREEING_IMAGES", 8)
    arm = cifar_arm("resnet", 8, HE15_CIFAR, watch=("growth", "agreement"))
    context = diagnostic_context(tmp_path, tiny_data, arm)
    net = build(arm.model, 10, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    values: dict[str, float] = {}
    for diagnostic in (Growth(context), Agreement(context)):
        diagnostic.tables[0].rewind(-1)
        for step in (0, context.settings.iterations):
            diagnostic.along(net, step)
        values |= diagnostic.finish(net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert values["first_growth_1"] == values["later_growth_1"] == pytest.approx(values["growth_1"], abs=1e-5)
    assert {name for name in values if name.startswith("agreement")} == {
        "agreement", "agreement_1", "agreement_2", "agreement_3",
    }  # fmt: skip
    assert all(-1 / 7 - 1e-6 <= values[name] <= 1 for name in values if name.startswith("agreement"))
    cosines = [float(row["cosine"]) for row in read_rows(tmp_path / "agreement.csv")]
    assert len(cosines) == 8 and cosines[:4] == cosines[4:]


def test_agreement_of_an_untrained_net_is_measured_once(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.diagnostics.loss_gradients.AGREEING_IMAGES", 4)
    measured: list[int] = []

    def counted(*args: Any) -> dict[str, torch.Tensor]:
        measured.append(1)
        return image_gradients(*args)

    monkeypatch.setattr("resnet_repro.diagnostics.loss_gradients.image_gradients", counted)
    arm = cifar_arm("resnet", 8, HE15_CIFAR, length=0, watch=("agreement",))
    context = diagnostic_context(tmp_path, tiny_data, arm)
    context = replace(context, settings=replace(context.settings, iterations=0))
    diagnostic = Agreement(context)
    diagnostic.tables[0].rewind(-1)
    net = build(arm.model, 10, seed=0)
    diagnostic.along(net, 0)
    values = diagnostic.finish(net)
    assert measured == [1]
    rows = {row["name"]: float(row["cosine"]) for row in read_rows(tmp_path / "agreement.csv")}
    assert rows["all"] == pytest.approx(values["agreement"], abs=1e-5) and len(rows) == 4
