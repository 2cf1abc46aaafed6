"""Gradients of the loss by layer and by image: how they grow towards the input, and whether images agree on them.

Both diagnostics use a fixed batch of training images, without augmentation, and normalize by the statistics of this batch.
Running statistics are not updated.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.optim.swa_utils import update_bn

from resnet_repro.diagnostics.diagnostic import Diagnostic, DiagnosticContext
from resnet_repro.models.inspect import in_mode, main_path_convolutions
from resnet_repro.models.recompute import frozen_statistics, stored_activations
from resnet_repro.tables import DIGITS, Table, read_rows

GROWTH_IMAGES = 128
AGREEING_IMAGES = 64
AT_ONCE = 4  # images whose gradients are computed together, which bounds the memory
SMALLEST_NORM = 1e-38


class Growth(Diagnostic):
    """How the gradient norms of the weights of the convolutions grow from layer to layer towards the input, by stage.

    growth_1, growth_2, growth_3: the slope of log10 of the norm against the layer within the first, second and third
    stage, counted towards the input, on the network at the end (for an untrained arm: at initialization). In decades per
    layer: 0.083 means that the gradient is multiplied by 1.21 from each layer to the one before it.
    later_growth_1, ...: the median slope over the measurements after the first tenth of the steps.
    first_growth_1, ...: the slope before the first step.
    The table growth.csv has the norms at each measurement.
    """

    early = (1, 10, 100, 1_000)

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "growth.csv", ("layer", "name", "norm"), DIGITS)]

    def along(self, net: nn.Module, step: int) -> None:
        self._append(step, self._norms(net))

    def finish(self, net: nn.Module) -> dict[str, float]:
        norms_at_the_end = self._norms(net)
        if not self.context.settings.iterations:  # an untrained arm has no other measurement
            self.tables[0].rewind(-1)
            self._append(0, norms_at_the_end)
        values = {f"growth_{stage}": slope for stage, slope in stage_slopes(norms_at_the_end).items()}
        by_step: dict[int, list[tuple[str, float]]] = {}
        for row in read_rows(self.tables[0].path):
            by_step.setdefault(int(row["iteration"]), []).append((row["name"], float(row["norm"])))
        slopes = {step: stage_slopes(norms) for step, norms in by_step.items()}
        settings = self.context.settings
        if 0 in slopes:
            values |= {f"first_growth_{stage}": slope for stage, slope in slopes[0].items()}
        later = [of_step for step, of_step in slopes.items() if step > settings.iterations / 10]
        if later:
            values |= {f"later_growth_{stage}": float(np.median([s[stage] for s in later])) for stage in later[0]}
        return values

    def _append(self, step: int, norms: Sequence[tuple[str, float]]) -> None:
        self.tables[0].append(
            {"iteration": step, "layer": layer, "name": name, "norm": norm}
            for layer, (name, norm) in enumerate(norms, start=1)
        )

    def _norms(self, net: nn.Module) -> list[tuple[str, float]]:
        ((images, labels),) = self.context.data.batches("train", GROWTH_IMAGES, size=GROWTH_IMAGES)
        with self.context.autocast():
            return weight_gradient_norms(net, images, labels)


def weight_gradient_norms(net: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[str, float]]:
    """Return (convolution, norm of the gradient of the mean loss with respect to its weights) in the order of the layers.

    images: (N, C, H, W). labels: (N,). The mode and the running statistics of `net` do not change.
    """
    layers = main_path_convolutions(net)
    with in_mode(net, training=True), frozen_statistics(net):
        loss = F.cross_entropy(net(images), labels)
    gradients = torch.autograd.grad(loss, [layer.weight for _, layer in layers])
    return [(name, float(gradient.norm())) for (name, _), gradient in zip(layers, gradients, strict=True)]


def stage_slopes(norms: Sequence[tuple[str, float]]) -> dict[int, float]:
    """Return {stage: growth of the gradient norm per layer towards the input, in decades}, for stages of several layers.

    norms: (name, norm) in forward order; layers of stage s are named `layer<s>.`. The slope is that of the least-squares
    line. Norms that are zero or not finite count as 1e-38.
    """
    slopes = {}
    for stage in (1, 2, 3):
        levels = [
            math.log10(max(norm, SMALLEST_NORM) if math.isfinite(norm) else SMALLEST_NORM)
            for name, norm in norms
            if name.startswith(f"layer{stage}.")
        ]
        if len(levels) > 1:
            slopes[stage] = -float(np.polyfit(range(len(levels)), levels, 1)[0])
    return slopes


class Agreement(Diagnostic):
    """Whether the gradients of different images point in one direction, apart from what their labels ask.

    agreement_1, agreement_2, agreement_3: mean cosine between the gradients of 64 training images with respect to the
    weights of the convolutions of a stage; agreement: of all convolutions. 0: the images have nothing in common; 1: they
    agree. Two things would make the mean cosine of an untrained net about 0 whatever the net, and are left out. Labels: the
    derivatives of the losses with respect to the logits, softmax minus one-hot, cancel over ten classes; so all images get
    the label 0. The dependence of batch statistics on all images: normalization removes a change that all images ask for; so
    the mean and variance over the images count as constants.
    D. Balduzzi et al., *The Shattered Gradients Problem*, 2017; K. Sankararaman et al., *The Impact of Neural Network
    Overparameterization on Gradient Confusion*, 2020.
    The table agreement.csv has the cosines at each measurement.
    """

    early = (1, 10, 100, 1_000)

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "agreement.csv", ("name", "cosine"), DIGITS)]

    def along(self, net: nn.Module, step: int) -> None:
        if self.context.settings.iterations:  # an untrained arm is measured once, at the end
            self._append(step, self._cosines(net))

    def finish(self, net: nn.Module) -> dict[str, float]:
        names = {"all": "agreement"} | {f"stage {stage}": f"agreement_{stage}" for stage in (1, 2, 3)}
        cosines = self._cosines(net)
        if not self.context.settings.iterations:
            self.tables[0].rewind(-1)
            self._append(0, cosines)
        return {names[layers]: cosine for layers, cosine in cosines.items()}

    def _append(self, step: int, cosines: dict[str, float]) -> None:
        self.tables[0].append([{"iteration": step, "name": layers, "cosine": cos} for layers, cos in cosines.items()])

    def _cosines(self, net: nn.Module) -> dict[str, float]:
        ((images, labels),) = self.context.data.batches("train", AGREEING_IMAGES, size=AGREEING_IMAGES)
        names = [f"{name}.weight" for name, _ in main_path_convolutions(net)]
        gradients = image_gradients(net, images, torch.zeros_like(labels), names)
        groups = {f"stage {stage}": [n for n in names if n.startswith(f"layer{stage}.")] for stage in (1, 2, 3)}
        groups["all"] = names
        return {
            group: mean_cosine(torch.cat([gradients[name] for name in members], 1))
            for group, members in groups.items()
            if members
        }


def image_gradients(net: nn.Module, images: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return {parameter: (N, size) gradients of the N images' losses}, in float32, for the named parameters.

    images: (N, C, H, W). labels: (N,). Batch normalization normalizes by the mean and variance over the N images, which count
    as constants, so that each loss is a function of its image alone. The network does not change.
    """
    net = copy.deepcopy(net)
    update_bn([images], net)
    net.eval()
    parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}
    fixed = {name: value for name, value in parameters.items() if name not in names} | dict(net.named_buffers())

    def loss(chosen: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, fixed | chosen, (image[None],)), label[None])

    with stored_activations(net):
        of_each = vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=AT_ONCE)
        gradients = of_each({name: parameters[name] for name in names}, images, labels)
    return {name: gradient.flatten(1) for name, gradient in gradients.items()}


def mean_cosine(vectors: Tensor) -> float:
    """Return the mean cosine between the rows of an (N, size) tensor, over all pairs; rows of zeros have cosine 0.

    Raises ValueError for fewer than two rows.
    """
    count = len(vectors)
    if count < 2:
        raise ValueError(f"no cosine between {count} vectors: expected two or more")
    unit = F.normalize(vectors.cpu().double(), dim=1)  # Apple's GPUs have no float64
    own = float(unit.square().sum())  # 1 for each row that is not zero
    return (float(unit.sum(0).square().sum()) - own) / (count * (count - 1))
