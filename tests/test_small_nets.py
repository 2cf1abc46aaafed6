"""The nets of the small studies: MNIST's three, Fashion-MNIST's ResNet, the four layers; dropout, shifts, what is watched."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_settings, prepare_run, start_run
from test_training import content, run_here, steps_of, wait_for
from torch import Tensor, nn

from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.recipes import BLOG_E_MNIST, HE15_CIFAR, HE15_CIFAR_WITHOUT_BN
from resnet_repro.data.sources import obtain
from resnet_repro.data.stream import InMemoryData, shifted
from resnet_repro.diagnostics.learning_curve import along_the_way
from resnet_repro.diagnostics.shifts import Shifts, shift_diagnostics
from resnet_repro.diagnostics.watch import Subject
from resnet_repro.errors import UserError
from resnet_repro.files import Table, read_rows
from resnet_repro.models import build
from resnet_repro.models.inspect import main_path_layers, watched_layers
from resnet_repro.records.record import read_record

CPU = torch.device("cpu")


def net_of(builder: str, classes: int = 10, seed: int = 0, **options: object) -> nn.Module:
    return build(ModelSpec(builder, options), classes, seed)


def size_of(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("kind", "parameters"), [("mlp", 203_530), ("cnn", 222_058), ("lenet", 44_426)])
def test_mnists_nets_have_the_published_parameters(kind: str, parameters: int) -> None:
    net = net_of("mnist.mnist_net", kind=kind)
    assert size_of(net) == parameters
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_as_written_the_loss_is_given_probabilities() -> None:
    images = torch.randn(4, 1, 28, 28)
    written, corrected = (net_of("mnist.mnist_net", kind="lenet", output=out) for out in ("probabilities", "logits"))
    torch.testing.assert_close(written(images), corrected(images).softmax(1))
    assert not torch.allclose(corrected(images).sum(1), torch.ones(4))


def test_default_weights_are_pytorchs_and_come_from_the_seed() -> None:
    net, again, other = (net_of("mnist.mnist_net", kind="mlp", seed=seed) for seed in (3, 3, 4))
    torch.manual_seed(0)
    reference = nn.Linear(784, 256)
    weight = dict(net.named_parameters())["layers.1.weight"]
    assert weight.abs().max() <= 1 / 28
    assert float(weight.std()) == pytest.approx(float(reference.weight.std()), rel=0.01)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert not torch.equal(weight, dict(other.named_parameters())["layers.1.weight"])


@pytest.mark.parametrize(("width", "block", "layers"), [(8, "bottleneck", 50), (8, "basic", 34)])
def test_fashions_resnet_has_the_layers_of_its_name(width: int, block: str, layers: int) -> None:
    net = net_of("fashion.fashion_resnet", width=width, block=block)
    assert len(main_path_layers(net)) == layers
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    block_channels = net.get_submodule("layer3.0")(torch.zeros(1, 2 * width, 14, 14)).shape
    assert block_channels == (1, 4 * width, 7, 7)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_the_four_layers_differ_in_their_activation_alone(name: str) -> None:
    net, relu = net_of("four_layers.four_layers", activation=name), net_of("four_layers.four_layers", activation="relu")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), relu.parameters(), strict=True))
    assert [layer for layer, _ in watched_layers(net)] == ["conv1", "conv2", "fc1", "fc2"]
    images = torch.randn(3, 3, 32, 32)
    assert net(images).shape == (3, 10)
    assert torch.equal(net(images), relu(images)) == (name == "relu")


def test_dropout_stands_before_the_linear_layers_in_training_only() -> None:
    net = net_of("four_layers.four_layers", activation="relu", dropout=0.5)
    images = torch.randn(8, 3, 32, 32)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


@pytest.mark.parametrize(
    ("builder", "options", "sentence"),
    [
        ("mnist.mnist_net", {"kind": "vgg"}, "unknown kind 'vgg': take one of mlp, cnn, lenet"),
        ("mnist.mnist_net", {"kind": "mlp", "output": "odds"}, "unknown output 'odds'"),
        ("fashion.fashion_resnet", {"width": 6}, "width 6 has no quarter"),
        ("fashion.fashion_resnet", {"width": 8, "block": "wide"}, "unknown block 'wide'"),
        ("four_layers.four_layers", {"activation": "gelu"}, "unknown activation 'gelu'"),
        ("four_layers.four_layers", {"activation": "relu", "dropout": 1.0}, "dropout 1.0 is no chance"),
    ],
)
def test_unknown_options_are_refused(builder: str, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        net_of(builder, **options)


def test_watched_are_the_convolutions_and_where_nets_are_deep_in_them_the_linear_layers() -> None:
    residual = net_of("cifar.cifar_net", kind="resnet", depth=8, shortcut="B")
    assert all(isinstance(layer, nn.Conv2d) for _, layer in watched_layers(residual))
    assert [name for name, _ in watched_layers(net_of("mnist.mnist_net", kind="mlp"))] == ["layers.1", "layers.3"]
    headed = net_of("googlenet.small_googlenet", auxiliary=True, width=8)
    bare = net_of("googlenet.small_googlenet", auxiliary=False, width=8)
    assert [name for name, _ in watched_layers(headed)] == [name for name, _ in watched_layers(bare)]


# -- shifts ------------------------------------------------------------------------------------------------------------


def test_a_shift_moves_pixels_and_leaves_black() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    assert shifted(image, 0, 0) is image
    assert shifted(image, 1, 0).flatten().tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert shifted(image, -2, 0).flatten().tolist() == [7, 8, 9, 0, 0, 0, 0, 0, 0]
    assert shifted(image, 0, 1).flatten().tolist() == [0, 1, 2, 0, 4, 5, 0, 7, 8]
    assert shifted(image, 0, -1).flatten().tolist() == [2, 3, 0, 5, 6, 0, 8, 9, 0]


class Corner(nn.Module):
    """Sees nothing but whether the pixel in the middle of the top row is black."""

    def forward(self, x: Tensor) -> Tensor:
        dark = (x[:, 0, 0, 14] == 0).float()
        return torch.stack([1 - dark, dark, *[torch.full_like(dark, -1.0)] * 8], dim=1)


def test_the_shift_test_is_the_mean_over_directions(tiny_data: Path, tmp_path: Path) -> None:
    obtain("standin-grey-tiny", tiny_data, None, lambda text: None)
    arm = Arm("corner", ModelSpec("mnist.mnist_net", {"kind": "mlp"}), BLOG_E_MNIST, watch=("shifts",))
    arrays = obtain("standin-grey-tiny", tiny_data, None, lambda text: None)
    data = InMemoryData(arrays, arm.recipe, 0, 1, CPU)
    settings = make_settings(tiny_data, 1, arm, dataset="standin-grey-tiny", dataset_digest=arrays.digest)
    found = Shifts(Subject(settings, tmp_path, data, CPU)).finish(Corner())
    labels = torch.from_numpy(arrays.test.labels.astype("int64"))
    images = torch.from_numpy(arrays.test.images.copy())

    def error(down: int, right: int) -> float:
        logits = Corner()(shifted(images, down, right).float())
        return 100 * float((logits.argmax(1) != labels).double().mean())

    rows = read_rows(tmp_path / "shifts.csv")
    assert [int(row["pixels"]) for row in rows] == [0, 1, 2, 3, 4]
    three = [error(3, 0), error(-3, 0), error(0, 3), error(0, -3)]
    assert float(rows[3]["error"]) == pytest.approx(sum(three) / 4)
    assert three[0] != three[1], "moved down, the top row is black"
    assert found["shift_loss"] == pytest.approx(found["shift_error"] - error(0, 0))


def test_what_shifts_cost_is_over_what_stood_before() -> None:
    found = shift_diagnostics({0: 2.0, 1: 4.0, 2: 8.0, 3: 12.0, 4: 16.0})
    assert found == {"shift_error": 10.0, "shift_loss": 8.0}


# -- along a training --------------------------------------------------------------------------------------------------


def metrics(path: Path, errors: list[float]) -> Path:
    table = Table(path / "metrics.csv", ("running_train_error",))
    table.rewind(-1)
    table.append({"iteration": 16 * i, "running_train_error": error} for i, error in enumerate(errors, start=1))
    return path / "metrics.csv"


def test_the_steps_to_25_percent_are_told_in_doublings(tmp_path: Path) -> None:
    path = metrics(tmp_path, [80.0, 20.0, 60.0, 40.0, 30.0, 25.0, 25.0, 20.0, 20.0, 10.0])
    found = along_the_way(path, 160)
    assert found["doublings_to_25"] == math.log2(16 * 8 + 16), "five readings in a row, not one lucky one"
    assert found["mean_running_error"] == 33.0
    assert "doublings_to_25" not in along_the_way(metrics(tmp_path, [80.0, 20.0, 60.0, 40.0, 30.0, 26.0]), 96)
    assert along_the_way(tmp_path / "none.csv", 96) == {}


def test_a_net_with_dropout_and_heads_stops_and_goes_on_to_the_same_bits(tiny_data: Path, tmp_path: Path) -> None:
    """Masks are a function of (seed, step): nothing that was drawn before a checkpoint is missed after it."""
    model = ModelSpec("googlenet.small_googlenet", {"auxiliary": True, "width": 8})
    arm = Arm("headed", model, replace(HE15_CIFAR_WITHOUT_BN, batch_size=16, train_images=125))  # 8 steps an epoch
    settings = make_settings(tiny_data, 12, arm)
    whole = prepare_run(tmp_path / "whole", settings, tiny_data)
    assert run_here(whole) == "finished"
    cut = prepare_run(tmp_path / "cut", settings, tiny_data)
    process = start_run(cut)
    wait_for(lambda: steps_of(cut) >= 4)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert run_here(cut) == "finished"
    assert content(cut) == content(whole)
    record = read_record(whole)
    assert record is not None and record.value("early_gradient") is not None


def test_a_perceptron_leaves_a_record_without_responses(tiny_data: Path, tmp_path: Path) -> None:
    arrays = obtain("standin-grey-tiny", tiny_data, None, lambda text: None)
    arm = Arm("mlp", ModelSpec("mnist.mnist_net", {"kind": "mlp"}), BLOG_E_MNIST, watch=("shifts",))
    settings = make_settings(tiny_data, 4, arm, dataset="standin-grey-tiny", dataset_digest=arrays.digest)
    folder = prepare_run(tmp_path, settings, tiny_data)
    assert run_here(folder) == "finished"
    record = read_record(folder)
    assert record is not None
    assert record.value("mean_response") is None
    assert {row["name"] for row in record.table("gradients")} == {"layers.1", "layers.3"}
    assert record.value("shift_error") is not None
    assert record.settings.arm.recipe != HE15_CIFAR
