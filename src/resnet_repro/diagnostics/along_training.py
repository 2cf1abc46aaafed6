"""Optional diagnostics, beyond the measurements that every run takes.

An arm names its diagnostics in `watch`. A diagnostic is taken before the first step and about every twentieth of the
budget, or once on the finished network. It may write tables into the run's folder and return numbers for claims.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import mean, median

import torch
from torch import Tensor, nn

from resnet_repro.diagnostics.blocks import Blocks
from resnet_repro.diagnostics.diagnostic import Diagnostic, DiagnosticContext
from resnet_repro.diagnostics.loss_gradients import Agreement, Growth
from resnet_repro.diagnostics.loss_surface import Curvature, Landscape
from resnet_repro.diagnostics.reconstruction import InputError
from resnet_repro.diagnostics.shifts import Shifts
from resnet_repro.models.inspect import forward_hooks, in_mode, main_path_convolutions
from resnet_repro.models.recompute import frozen_statistics
from resnet_repro.tables import DIGITS, Table, read_rows

INPUT_IMAGES = 500
MODE_IMAGES = 2_000
UNTIMED_PASSES, TIMED_PASSES = 2, 20


class InputShift(Diagnostic):
    """How far the distribution of each layer's input moves between two points of the training.

    Measures the mean and standard deviation of each input channel of all convolutions but the first, in training mode on
    a fixed set of images. mean_shift and std_shift are the root mean squares, over channels, of the changes since the
    previous point, in units of the layer's standard deviation at that point. The diagnostics input_mean_shift and
    input_std_shift are means over layers and points. S. Ioffe and C. Szegedy (2015) call this internal covariate shift.
    """

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "inputs.csv", ("layer", "name", "mean_shift", "std_shift"), DIGITS)]

    def along(self, net: nn.Module, step: int) -> None:
        current = self._measure(net)
        previous: dict[str, Tensor] = self.state
        rows = []
        for layer, (name, moments) in enumerate(current.items(), start=2):
            if name in previous:
                change = (moments - previous[name]).square().mean(1).sqrt()
                unit = max(float(previous[name][1].square().mean().sqrt()), 1e-12)
                mean_shift, std_shift = (float(value) / unit for value in change)
                rows.append(
                    {"iteration": step, "layer": layer, "name": name, "mean_shift": mean_shift, "std_shift": std_shift}
                )
        self.tables[0].append(rows)
        self.state = current

    @torch.inference_mode()
    def _measure(self, net: nn.Module) -> dict[str, Tensor]:
        """{convolution: (2, channels) mean and standard deviation of its input}."""
        moments: dict[str, Tensor] = {}

        def look(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
            std, centre = torch.std_mean(x.float(), dim=(0, 2, 3), correction=0)
            moments[name] = torch.stack([centre, std]).cpu()

        layers = main_path_convolutions(net)[1:]
        with in_mode(net, training=True), forward_hooks(layers, look), frozen_statistics(net), self.context.autocast():
            for images, _ in self.context.data.batches("train", INPUT_IMAGES, size=INPUT_IMAGES):
                net(images)
        return moments

    def finish(self, net: nn.Module) -> dict[str, float]:
        rows = read_rows(self.tables[0].path)
        shifts = {
            f"input_{column}": [float(row[column]) for row in rows if math.isfinite(float(row[column]))]
            for column in ("mean_shift", "std_shift")
        }
        return {name: mean(values) for name, values in shifts.items() if values}


class Distance(Diagnostic):
    """Relative distance of the parameters from their first values: |θ - θ₀| / |θ₀|, all parameters as one vector."""

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "distance.csv", ("distance",), DIGITS)]

    def begin(self, net: nn.Module) -> None:
        self._start = self._vector(net)

    def along(self, net: nn.Module, step: int) -> None:
        self.tables[0].append([{"iteration": step, "distance": self._distance(net)}])

    def finish(self, net: nn.Module) -> dict[str, float]:
        return {"distance": self._distance(net)}

    def _distance(self, net: nn.Module) -> float:
        return float((self._vector(net) - self._start).norm() / self._start.norm())

    @staticmethod
    def _vector(net: nn.Module) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in net.parameters()]).clone()


class Modes(Diagnostic):
    """How much predictions of the finished network depend on the other images of a batch.

    mode_change: percentage of the first 2,000 test images whose predicted class differs between evaluation mode and
    training mode, in batches of the recipe's size. Running statistics are not updated.
    """

    @torch.inference_mode()
    def finish(self, net: nn.Module) -> dict[str, float]:
        size = self.context.settings.arm.recipe.batch_size
        changed = count = 0
        with in_mode(net, training=False), frozen_statistics(net), self.context.autocast():
            for images, _ in self.context.data.batches("test", MODE_IMAGES, size=size):
                classes = [net.train(training)(images).argmax(1) for training in (True, False)]
                changed += int((classes[0] != classes[1]).sum())
                count += len(images)
        return {"mode_change": 100 * changed / count}


class ForwardTime(Diagnostic):
    """Time of a forward pass of the finished network on a batch of training images, as in training.

    forward_seconds: median over 20 passes on the same batch of the recipe's size, after two that are not timed. The passes
    record what the backward pass through trainable parameters needs, and normalize by the batch where training does.
    """

    def finish(self, net: nn.Module) -> dict[str, float]:
        size = self.context.settings.arm.recipe.batch_size
        images, _ = next(iter(self.context.data.batches("train", size, size=size)))
        seconds = []
        with in_mode(net, training=True), frozen_statistics(net), self.context.autocast():
            for _ in range(UNTIMED_PASSES + TIMED_PASSES):
                begin = time.perf_counter()
                float(net(images).sum())  # waits for the device
                seconds.append(time.perf_counter() - begin)
        return {"forward_seconds": median(seconds[UNTIMED_PASSES:])}


def _features(context: DiagnosticContext) -> Diagnostic:
    # Imported here: scikit-learn takes seconds to import, and few arms need it.
    from resnet_repro.diagnostics.representations import Features

    return Features(context)


def _probes(context: DiagnosticContext) -> Diagnostic:
    from resnet_repro.diagnostics.representations import Probes

    return Probes(context)


DIAGNOSTICS: dict[str, Callable[[DiagnosticContext], Diagnostic]] = {
    "agreement": Agreement,
    "curvature": Curvature,
    "growth": Growth,
    "input": InputError,
    "landscape": Landscape,
    "inputs": InputShift,
    "distance": Distance,
    "modes": Modes,
    "features": _features,
    "probes": _probes,
    "blocks": Blocks,
    "shifts": Shifts,
    "forward": ForwardTime,
}


def make_diagnostics(context: DiagnosticContext) -> dict[str, Diagnostic]:
    """The diagnostics of the run's arm, by name. Raises KeyError for an unknown name."""
    return {name: DIAGNOSTICS[name](context) for name in context.settings.arm.watch}
