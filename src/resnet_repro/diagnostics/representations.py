"""Information in a network's layers: the class, by linear probes, and the input image, by ridge regression.

Features are taken where the whole signal passes, so that shortcuts count: after the first convolution and after every
block. Images are un-augmented and in the order of the data set; the network is in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import mean
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

from resnet_repro.diagnostics.diagnostic import Diagnostic, DiagnosticContext
from resnet_repro.models.inspect import forward_hooks, in_mode, main_path_convolutions
from resnet_repro.tables import Table

PROBE_IMAGES = 10_000
PROJECTED, PROJECTION_SEED = 16, 0  # random features of a probe: as many as the first stage has channels
RECOVERY_IMAGES, CHOICE_IMAGES, HELD_OUT_IMAGES = 5_000, 1_000, 2_000
RECOVERY_SIZE = 8  # side, in pixels, of the recovered image and of the maps that recover it
PENALTIES = (1e2, 1e3, 1e4)  # of the ridge regression, for standardized features of 5,000 images
SHOWN_UNITS, SHOWN_CHANNELS = 6, 4

Places = list[tuple[str, nn.Module]]


def places(net: nn.Module) -> Places:
    """(name, module) of the first convolution's normalization and of every block, in the order of the signal.

    Raises ValueError for a network without stages layer1, layer2, ... of blocks.
    """
    modules: Places = [("conv1", net.get_submodule("bn1"))]
    for name, stage in net.named_children():
        if name.startswith("layer"):
            modules += [(f"{name}.{index}", block) for index, block in enumerate(cast(nn.Sequential, stage))]
    if len(modules) < 2:
        raise ValueError(f"{type(net).__name__} has no stages layer1, layer2, ...: features need a CIFAR network")
    return modules


@contextmanager
def _outputs(modules: Places, take: Callable[[Tensor], Tensor]) -> Iterator[dict[str, Tensor]]:
    """{name: `take` of the module's output}, updated by each forward pass."""
    outputs: dict[str, Tensor] = {}

    def look(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        # The ReLU after the first normalization is not a module. On a block's output, ReLU changes nothing.
        outputs[name] = take(F.relu(output.float())).cpu()

    with forward_hooks(modules, look):
        yield outputs


def recovery_r2(features: np.ndarray, targets: np.ndarray, sizes: tuple[int, int, int]) -> tuple[float, float]:
    """(R², penalty) of a ridge regression of targets (N, T) on features (N, D).

    sizes: numbers of rows for the fit, for the choice of the penalty, and for R², in this order. R² is 1 minus the ratio
    of residual and total sum of squares, over all targets together. Features are clipped to their range in the fit rows;
    otherwise a single image with an extreme activation could outweigh all others.
    """
    ends = np.cumsum(sizes)
    fit, choose, test = (slice(start, end) for start, end in pairwise((0, *ends)))

    scaled = make_pipeline(MinMaxScaler(clip=True), StandardScaler()).fit(features[fit]).transform(features)

    def r2(model: Ridge, part: slice) -> float:
        residual = np.square(targets[part] - model.predict(scaled[part])).sum()
        return 1 - float(residual / np.square(targets[part] - targets[part].mean(0)).sum())

    scores = []
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty, solver="cholesky").fit(scaled[fit], targets[fit])
        scores.append((r2(model, choose), penalty, model))
    _, penalty, best = max(scores, key=lambda item: item[0])
    return r2(best, test), penalty


def probe_error(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Test error in percent of a logistic regression on standardized features (N, D)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    model.fit(train, train_labels)
    return 100 * float(np.mean(model.predict(test) != test_labels))


class _OnFeatures(Diagnostic):
    """A diagnostic on the features of the finished network."""

    def _collect(self, net: nn.Module, modules: Places, split: str, limit: int, take: Callable[[Tensor], Tensor]):
        """({name: (N, D) features}, images (N, 3·8·8) averaged to 8×8, labels (N,)) of the first images of a split."""
        # Rows of arrays as long as the split: small tensors kept from each batch would fragment the heap by gigabytes.
        count = min(limit, self.context.data.images(split))
        features: dict[str, np.ndarray] = {}
        inputs, labels = np.empty((count, 3 * RECOVERY_SIZE**2), np.float32), np.empty(count, np.int64)
        done = 0
        with _outputs(modules, take) as outputs, self.context.autocast():
            for images, classes in self.context.data.batches(split, limit):
                net(images)
                rows = slice(done, done + len(classes))
                for name, _ in modules:
                    output = outputs.pop(name)
                    if name not in features:
                        features[name] = np.empty((count, output.shape[1]), np.float32)
                    features[name][rows] = output.numpy()
                inputs[rows] = F.adaptive_avg_pool2d(images, RECOVERY_SIZE).flatten(1).cpu().numpy()
                labels[rows] = classes.cpu().numpy()
                done = rows.stop
        # Unreadable images are left out, so there may be fewer than asked for.
        return {name: values[:done] for name, values in features.items()}, inputs[:done], labels[:done]

    def _probe_errors(
        self, net: nn.Module, reduce: Callable[[np.ndarray], np.ndarray] = lambda means: means
    ) -> dict[str, tuple[int, float]]:
        """{place: (channels, error of a probe on its channel means after `reduce`)}, in the order of the signal."""

        def means(output: Tensor) -> Tensor:
            return output.mean((2, 3))

        modules, test_images = places(net), self.context.data.images("test")
        train, _, train_labels = self._collect(net, modules, "train", PROBE_IMAGES, means)
        test, _, test_labels = self._collect(net, modules, "test", test_images, means)
        return {
            name: (
                train[name].shape[1],
                probe_error(reduce(train[name]), train_labels, reduce(test[name]), test_labels),
            )
            for name, _ in modules
        }


def projected(means: np.ndarray) -> np.ndarray:
    """(N, 16) from (N, channels): a fixed random projection, the same for all networks with as many channels."""
    matrix = np.random.default_rng(PROJECTION_SEED).normal(size=(means.shape[1], PROJECTED))
    return means @ matrix.astype(means.dtype)


class Probes(_OnFeatures):
    """Linear probes with equally many features at all places of `places`, on the finished network.

    probe_error in probes.csv: error of a logistic regression on 16 random projections of the channel means, fitted on
    10,000 training images and scored on all test images. Deeper places have more channels, which alone would help a probe
    on all of them.
    Diagnostics: probe_slope, slope of the least-squares line through error and relative depth, in percentage points from
    the first place to the last.
    """

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        self.tables = [Table(context.folder / "probes.csv", ("place", "name", "channels", "probe_error"))]

    @torch.inference_mode()
    def finish(self, net: nn.Module) -> dict[str, float]:
        self.tables[0].rewind(-1)  # an earlier attempt may have written it before it was killed
        with in_mode(net, training=False):
            errors = self._probe_errors(net, projected)
        step = self.context.settings.stop_at
        self.tables[0].append(
            {"iteration": step, "place": place, "name": name, "channels": channels, "probe_error": error}
            for place, (name, (channels, error)) in enumerate(errors.items(), start=1)
        )
        depths = np.linspace(0, 1, len(errors))
        return {"probe_slope": float(np.polyfit(depths, [error for _, error in errors.values()], 1)[0])}


class Features(_OnFeatures):
    """Linear probes and input recovery on the finished network, for the places of `places`.

    probe_error in features.csv: error of a logistic regression on the channel means, fitted on 10,000 training images and
    scored on all test images.
    recovered in features.csv: R² of a ridge regression from the maps to the input image, both averaged to 8×8 pixels. It
    is fitted on 5,000 training images, its penalty is chosen on 1,000 others, and R² is computed on 2,000 test images,
    which neither the network nor the regression has seen.
    filters.csv, maps.csv: filters of the first convolution, and feature maps of one image, for the figures.
    Diagnostics: probe_drop, mean probe error of the first third of places minus that of the last third; probe_trend,
    Spearman's rank correlation of probe error and depth; recovered, mean R² of the last third.
    """

    def __init__(self, context: DiagnosticContext) -> None:
        super().__init__(context)
        folder = context.folder
        self.features = Table(
            folder / "features.csv", ("place", "name", "channels", "probe_error", "recovered", "penalty")
        )
        self.filters = Table(folder / "filters.csv", ("filter", "channel", "y", "x", "weight"))
        self.maps = Table(folder / "maps.csv", ("place", "name", "channel", "y", "values"))
        self.tables = [self.features, self.filters, self.maps]

    @torch.inference_mode()
    def finish(self, net: nn.Module) -> dict[str, float]:
        for table in self.tables:
            table.rewind(-1)  # an earlier attempt may have written it before it was killed
        with in_mode(net, training=False):
            errors = self._probe_errors(net)
            recovered = self._recovered(net)
            self._write_pictures(net)
        rows = [
            {
                "iteration": self.context.settings.stop_at,
                "place": index,
                "name": name,
                "channels": channels,
                "probe_error": error,
                "recovered": recovered[name][0],
                "penalty": recovered[name][1],
            }
            for index, (name, (channels, error)) in enumerate(errors.items(), start=1)
        ]
        self.features.append(rows)
        third = max(1, len(rows) // 3)
        probe = [row["probe_error"] for row in rows]
        return {
            "probe_drop": mean(probe[:third]) - mean(probe[-third:]),
            "probe_trend": float(np.corrcoef(rankdata(range(len(probe))), rankdata(probe))[0, 1]),
            "recovered": mean(row["recovered"] for row in rows[-third:]),
        }

    def _recovered(self, net: nn.Module) -> dict[str, tuple[float, float]]:
        def small(output: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(output, RECOVERY_SIZE).flatten(1)

        data = self.context.data
        # A small data set is divided in the same proportions.
        fraction = min(1.0, data.images("train") / (RECOVERY_IMAGES + CHOICE_IMAGES))
        fit, choose = int(RECOVERY_IMAGES * fraction), int(CHOICE_IMAGES * fraction)
        held_out = min(HELD_OUT_IMAGES, data.images("test"))
        recovered = {}
        for stage in _by_stage(places(net)):  # one stage at a time, to save memory
            train, train_inputs, _ = self._collect(net, stage, "train", fit + choose, small)
            test, test_inputs, _ = self._collect(net, stage, "test", held_out, small)
            inputs = np.concatenate([train_inputs, test_inputs])
            for name, _ in stage:
                features = np.concatenate([train.pop(name), test.pop(name)])
                recovered[name] = recovery_r2(features, inputs, (fit, choose, held_out))
        return recovered

    def _write_pictures(self, net: nn.Module) -> None:
        step = self.context.settings.stop_at
        first = main_path_convolutions(net)[0][1].weight.detach().float().cpu().numpy()
        self.filters.append(
            {"iteration": step, "filter": f, "channel": c, "y": y, "x": x, "weight": round(float(weight), 5)}
            for (f, c, y, x), weight in np.ndenumerate(first)
        )
        modules = places(net)
        chosen = [modules[round(i)] for i in np.linspace(0, len(modules) - 1, min(SHOWN_UNITS, len(modules)))]
        indices = {name: index for index, (name, _) in enumerate(modules, start=1)}
        with _outputs(chosen, lambda output: output[0]) as maps, self.context.autocast():
            for images, _ in self.context.data.batches("test", 1):
                net(images)
        for name, _ in chosen:
            strongest = maps[name].flatten(1).std(1).argsort(descending=True)[:SHOWN_CHANNELS].tolist()
            self.maps.append(
                {
                    "iteration": step,
                    "place": indices[name],
                    "name": name,
                    "channel": channel,
                    "y": y,
                    "values": " ".join(f"{value:.3g}" for value in row),
                }
                for channel in strongest
                for y, row in enumerate(maps[name][channel].tolist())
            )


def _by_stage(modules: Places) -> Sequence[Places]:
    stages: dict[str, Places] = {}
    for name, module in modules:
        stages.setdefault(name.partition(".")[0], []).append((name, module))
    return list(stages.values())
