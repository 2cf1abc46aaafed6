"""What the layers of a network hold: the class, read by linear probes, and the input image, recovered by regression.

Layers are looked at where the whole signal passes: after the first convolution and after every block, so that a
residual block's shortcut counts. All images are un-augmented and in the arrays' own order, the network in evaluation
mode.
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
from resnet_repro.files import Table
from resnet_repro.models.inspect import forward_hooks, in_mode, main_path_convolutions

PROBE_IMAGES = 10_000
RECOVERY_IMAGES, CHOICE_IMAGES, HELD_OUT_IMAGES = 5_000, 1_000, 2_000
RECOVERY_SIZE = 8  # pixels a side, of the image that is to be recovered and of the maps it is recovered from
PENALTIES = (1e2, 1e3, 1e4)  # of the ridge regression, on standardized features of 5,000 images
SHOWN_UNITS, SHOWN_CHANNELS = 6, 4

Places = list[tuple[str, nn.Module]]


def places(net: nn.Module) -> Places:
    """(name, module) of the first convolution's normalization and of every block, in the signal's order.

    Raises ValueError for a network without stages layer1, layer2, ... of blocks.
    """
    found: Places = [("conv1", net.get_submodule("bn1"))]
    for name, stage in net.named_children():
        if name.startswith("layer"):
            found += [(f"{name}.{index}", block) for index, block in enumerate(cast(nn.Sequential, stage))]
    if len(found) < 2:
        raise ValueError(f"{type(net).__name__} has no stages layer1, layer2, ...: features need a CIFAR network")
    return found


@contextmanager
def _outputs(looked_at: Places, take: Callable[[Tensor], Tensor]) -> Iterator[dict[str, Tensor]]:
    """{name: what `take` makes of the output}, renewed by each forward pass."""
    outputs: dict[str, Tensor] = {}

    def look(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        # The first normalization is followed by a ReLU outside of any module; on a block's output it does nothing.
        outputs[name] = take(F.relu(output.float())).cpu()

    with forward_hooks(looked_at, look):
        yield outputs


def recovery_r2(features: np.ndarray, targets: np.ndarray, sizes: tuple[int, int, int]) -> tuple[float, float]:
    """(R², penalty) of a ridge regression of targets (N, T) on features (N, D).

    sizes: how many rows the regression is fitted on, how many choose its penalty, and how many R² is computed on, in
    this order. R² is 1 - residual / total sum of squares, over all targets together. Features are clipped to the range
    that they have in the rows of the fit: one image on which a channel fires as on no other would else outweigh all
    others.
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


class Features(Diagnostic):
    """Probes and recovery of the finished network, its first filters, and feature maps of one image.

    features.csv: for each place the error of a linear probe (logistic regression on the channels' means, fitted on
    10,000 training images, scored on all test images) and the R² with which a ridge regression recovers the input,
    averaged to 8×8 pixels, from the place's maps averaged to 8×8 (fitted on 5,000 training images, the penalty chosen
    on 1,000 others, R² on 2,000 test images, which neither the net nor the regression has seen).
    Diagnostics, with thirds of the places: probe_drop, mean probe error of the first third minus that of the last;
    probe_trend, Spearman's rank correlation of probe error and depth; recovered, mean R² of the last third.
    filters.csv, maps.csv: for the figures.
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
            table.rewind(-1)  # a kill may have left them from an earlier attempt
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

    def _collect(self, net: nn.Module, looked_at: Places, split: str, limit: int, take: Callable[[Tensor], Tensor]):
        """({name: (N, D) features}, images (N, 3·8·8) averaged to 8×8, labels (N,)) of the first images of a split."""
        parts: dict[str, list[Tensor]] = {name: [] for name, _ in looked_at}
        inputs, labels = [], []
        with _outputs(looked_at, take) as found, self.context.autocast():
            for images, classes in self.context.data.batches(split, limit):
                net(images)
                for name, output in found.items():
                    parts[name].append(output)
                inputs.append(F.adaptive_avg_pool2d(images, RECOVERY_SIZE).flatten(1).cpu())
                labels.append(classes.cpu())
        features = {name: torch.cat(outputs).numpy() for name, outputs in parts.items()}
        return features, torch.cat(inputs).numpy(), torch.cat(labels).numpy()

    def _probe_errors(self, net: nn.Module) -> dict[str, tuple[int, float]]:
        def means(output: Tensor) -> Tensor:
            return output.mean((2, 3))

        looked_at, test_images = places(net), self.context.data.images("test")
        train, _, train_labels = self._collect(net, looked_at, "train", PROBE_IMAGES, means)
        test, _, test_labels = self._collect(net, looked_at, "test", test_images, means)
        return {
            name: (train[name].shape[1], probe_error(train[name], train_labels, test[name], test_labels))
            for name, _ in looked_at
        }

    def _recovered(self, net: nn.Module) -> dict[str, tuple[float, float]]:
        def small(output: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(output, RECOVERY_SIZE).flatten(1)

        data = self.context.data
        # Of a small data set the same parts.
        fraction = min(1.0, data.images("train") / (RECOVERY_IMAGES + CHOICE_IMAGES))
        fit, choose = int(RECOVERY_IMAGES * fraction), int(CHOICE_IMAGES * fraction)
        held_out = min(HELD_OUT_IMAGES, data.images("test"))
        found = {}
        for stage in _by_stage(places(net)):  # one after the other, to keep the memory small
            train, train_inputs, _ = self._collect(net, stage, "train", fit + choose, small)
            test, test_inputs, _ = self._collect(net, stage, "test", held_out, small)
            inputs = np.concatenate([train_inputs, test_inputs])
            for name, _ in stage:
                features = np.concatenate([train.pop(name), test.pop(name)])
                found[name] = recovery_r2(features, inputs, (fit, choose, held_out))
        return found

    def _write_pictures(self, net: nn.Module) -> None:
        step = self.context.settings.stop_at
        first = main_path_convolutions(net)[0][1].weight.detach().float().cpu().numpy()
        self.filters.append(
            {"iteration": step, "filter": f, "channel": c, "y": y, "x": x, "weight": round(float(weight), 5)}
            for (f, c, y, x), weight in np.ndenumerate(first)
        )
        looked_at = places(net)
        chosen = [looked_at[round(i)] for i in np.linspace(0, len(looked_at) - 1, min(SHOWN_UNITS, len(looked_at)))]
        indices = {name: index for index, (name, _) in enumerate(looked_at, start=1)}
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


def _by_stage(looked_at: Places) -> Sequence[Places]:
    stages: dict[str, Places] = {}
    for name, module in looked_at:
        stages.setdefault(name.partition(".")[0], []).append((name, module))
    return list(stages.values())
