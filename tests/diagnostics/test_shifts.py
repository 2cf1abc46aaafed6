"""Test error on shifted images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_settings
from torch import Tensor, nn

from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.recipes import BLOG_E_MNIST
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData, shifted
from resnet_repro.diagnostics.diagnostic import DiagnosticContext
from resnet_repro.diagnostics.shifts import Shifts, shift_diagnostics
from resnet_repro.tables import read_rows

CPU = torch.device("cpu")


def test_a_shift_moves_pixels_and_fills_with_black() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    assert shifted(image, 0, 0) is image
    assert shifted(image, 1, 0).flatten().tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert shifted(image, -2, 0).flatten().tolist() == [7, 8, 9, 0, 0, 0, 0, 0, 0]
    assert shifted(image, 0, 1).flatten().tolist() == [0, 1, 2, 0, 4, 5, 0, 7, 8]
    assert shifted(image, 0, -1).flatten().tolist() == [2, 3, 0, 5, 6, 0, 8, 9, 0]


class TopPixel(nn.Module):
    """A network that only sees whether the pixel in the middle of the top row is black."""

    def forward(self, x: Tensor) -> Tensor:
        dark = (x[:, 0, 0, 14] == 0).float()
        return torch.stack([1 - dark, dark, *[torch.full_like(dark, -1.0)] * 8], dim=1)


def test_the_shift_error_is_the_mean_over_directions(tiny_data: Path, tmp_path: Path) -> None:
    obtain("standin-grey-tiny", DataSources(tiny_data))
    arm = Arm("corner", ModelSpec("mnist.mnist_net", {"kind": "mlp"}), BLOG_E_MNIST, watch=("shifts",))
    arrays = obtain("standin-grey-tiny", DataSources(tiny_data))
    data = InMemoryData(arrays, StreamConfig(arm.recipe, 0, 1, CPU))
    settings = make_settings(tiny_data, 1, arm, dataset="standin-grey-tiny", dataset_digest=arrays.digest)
    values = Shifts(DiagnosticContext(settings, tmp_path, data, CPU)).finish(TopPixel())
    labels = torch.from_numpy(arrays.test.labels.astype("int64"))
    images = torch.from_numpy(arrays.test.images.copy())

    def error(down: int, right: int) -> float:
        logits = TopPixel()(shifted(images, down, right).float())
        return 100 * float((logits.argmax(1) != labels).double().mean())

    rows = read_rows(tmp_path / "shifts.csv")
    assert [int(row["pixels"]) for row in rows] == [0, 1, 2, 3, 4]
    three = [error(3, 0), error(-3, 0), error(0, 3), error(0, -3)]
    assert float(rows[3]["error"]) == pytest.approx(sum(three) / 4)
    assert three[0] != three[1], "moved down, the top row is black"
    assert values["shift_loss"] == pytest.approx(values["shift_error"] - error(0, 0))


def test_the_shift_loss_is_relative_to_unshifted_images() -> None:
    values = shift_diagnostics({0: 2.0, 1: 4.0, 2: 8.0, 3: 12.0, 4: 16.0})
    assert values == {"shift_error": 10.0, "shift_loss": 8.0}
