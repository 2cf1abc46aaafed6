"""The deeper net that cannot be worse, and passes that compute again what they did not keep."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.models.cifar import CifarNet, Kind, cifar_net
from resnet_repro.models.construction import deepen
from resnet_repro.models.he16 import he16_net
from resnet_repro.models.impl_d import impl_d_net
from resnet_repro.models.recompute import frozen_statistics, recompute_activations, stored_bytes


def batch(size: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def trained(kind: Kind, depth: int) -> CifarNet:
    """A net some steps away from its initialization, with statistics, scales and shifts of its own."""
    net = cifar_net(kind, depth, seed=1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(8):
        images, labels = batch(seed=step)
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # running statistics that have caught up with the weights: the mean over six batches
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for step in range(6):
            net(batch(seed=step)[0])
    for norm in norms:
        norm.momentum = 0.1
    return net


# Of the root of variance + ε in float32 the sum and the root are rounded: 1.5 · 2⁻²⁴ for each of 36 added scales in a row,
# and ten times that for what the parent's later layers make of it (two to three times, by measurement). Added residual
# blocks add zeros, which are exact.
ROUNDING = {"plain": 10 * 36 * 1.5 * 2**-24, "resnet": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "resnet"])
def test_the_built_net_computes_what_the_shallow_one_does(kind: Kind) -> None:
    """K1, to rounding."""
    parent, child = trained(kind, 20), cifar_net(kind, 56, seed=2)
    deepen(parent, child, [batch(128, seed=s) for s in (20, 21)])
    images, _ = batch(50, seed=30)
    with torch.no_grad():
        expected, found = (net.eval().double()(images.double()) for net in (parent, child))
    # In double precision what is left is the rounding of the added scales to float32.
    assert torch.allclose(found, expected, rtol=0, atol=ROUNDING[kind] * expected.abs().max().item())
    assert child.layer1[2].bn2.weight.std() > 0  # the parent's own, not a copy of a fresh one
    assert torch.equal(child.layer2[1].conv1.weight, parent.layer2[1].conv1.weight)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "resnet"])
def test_in_training_mode_it_does_so_nearly(kind: Kind) -> None:
    parent, child = trained(kind, 8), cifar_net(kind, 20, seed=2)
    deepen(parent, child, [batch(256, seed=s) for s in (20, 21)])
    images, _ = batch(256, seed=30)
    with torch.no_grad(), frozen_statistics(parent), frozen_statistics(child):
        expected, found = parent.train()(images), child.train()(images)
    assert (found - expected).abs().mean() < 0.1 * expected.std()


def test_the_added_plain_layers_undo_their_own_normalization() -> None:
    parent, child = trained("plain", 8), cifar_net("plain", 14, seed=2)
    batches = [batch(256, seed=s) for s in (20, 21)]
    deepen(parent, child, batches)
    added = child.layer1[1]
    assert torch.equal(added.conv1.weight[:, :, 1, 1], torch.eye(16))
    assert added.conv1.weight.count_nonzero() == 16
    outputs: list[Tensor] = []
    parent.layer1.register_forward_hook(lambda m, inputs, output: outputs.append(output))
    for images, _ in batches:
        parent.eval()(images)
    values = torch.cat(outputs)
    assert torch.allclose(added.bn1.running_mean, values.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]
    variance = values.var((0, 2, 3), correction=0)
    assert torch.allclose(added.bn1.weight, (variance + 1e-5).sqrt(), rtol=1e-3, atol=1e-5)  # type: ignore[arg-type]
    for norm in (added.bn1, added.bn2):  # what is divided by is multiplied by again, to five roundings of 2⁻²⁴
        assert torch.equal(norm.bias, norm.running_mean)  # type: ignore[arg-type]
        undone = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
        assert torch.allclose(undone, torch.ones(16), rtol=0, atol=3e-7)


def test_the_added_residual_blocks_can_still_learn() -> None:
    parent, child = trained("resnet", 8), cifar_net("resnet", 14, seed=2)
    fresh = cifar_net("resnet", 14, seed=2)
    deepen(parent, child, [])
    assert torch.equal(child.layer1[1].conv1.weight, fresh.layer1[1].conv1.weight)
    F.cross_entropy(child(batch()[0]), batch()[1]).backward()
    assert child.layer1[1].bn2.weight.grad.abs().max() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        (cifar_net("plain", 8), cifar_net("resnet", 14)),
        (cifar_net("plain", 14), cifar_net("plain", 8)),
        (cifar_net("plain", 8, norm="none"), cifar_net("plain", 14, norm="none")),
        (cifar_net("resnet", 8, span=1), cifar_net("resnet", 14, span=1)),
        (impl_d_net("plain", 8), impl_d_net("plain", 14)),
    ],
)
def test_nets_that_do_not_fit_are_refused(parent: nn.Module, child: nn.Module) -> None:
    with pytest.raises(ValueError, match="cannot build"):
        deepen(parent, child, [batch()])


def test_a_plain_net_needs_images_to_measure_on() -> None:
    with pytest.raises(ValueError, match="no batches"):
        deepen(cifar_net("plain", 8), cifar_net("plain", 14), [])


NETS = {
    "resnet": lambda: cifar_net("resnet", 26, seed=1),
    "preact": lambda: he16_net("preact", 29, "bottleneck", seed=1),
    "impl-d": lambda: impl_d_net("plain", 14, "batch", seed=1),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETS)
def test_recomputed_gradients_and_statistics_are_those_of_the_plain_pass(name: str, precision: str) -> None:
    plain, recomputing = (NETS[name]() for _ in range(2))
    recompute_activations(recomputing)
    images, labels = batch(4 if precision == "bf16" else 16)  # slow where no hardware has bf16
    for net in (plain, recomputing):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            F.cross_entropy(net(images), labels).backward()
    assert plain.state_dict().keys() == recomputing.state_dict().keys()
    for (key, mine), theirs in zip(recomputing.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), key  # batches counted once, running statistics moved once
    for (key, mine), theirs in zip(recomputing.named_parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad), key
    for net in (plain, recomputing):
        net.eval()
    assert torch.equal(plain(images), recomputing(images))


def test_recomputing_keeps_less() -> None:
    images, labels = batch(4)
    net = cifar_net("resnet", 56)
    stored = stored_bytes(net, images, labels, "fp32")
    recompute_activations(net)
    assert stored_bytes(net, images, labels, "fp32") < 0.4 * stored


def test_a_net_without_stages_cannot_recompute() -> None:
    with pytest.raises(ValueError, match="no stages"):
        recompute_activations(nn.Sequential(nn.Linear(2, 2)))


def test_stored_bytes_are_a_hand_counts_and_grow_with_the_batch() -> None:
    """Each layer of a stage keeps its convolution's input and output, which is its normalization's input."""
    net = cifar_net("plain", 8)
    images, labels = batch(8)
    found = [stored_bytes(net, images[:count].clone(), labels[:count], "fp32") for count in (4, 8)]
    assert found[1] == pytest.approx(2 * found[0], rel=0.01)
    # Maps of 16·32², 32·16², 64·8² numbers: the input; convolution and ReLU outputs of 3 + 2 + 2 layers.
    maps = 3 * 32 * 32 + 2 * (3 * 16 * 32 * 32 + 2 * 32 * 16 * 16 + 2 * 64 * 8 * 8)
    assert found[0] == pytest.approx(4 * maps * 4, rel=0.05)


def test_frozen_statistics_are_left_alone_and_then_move_again() -> None:
    net = cifar_net("plain", 8)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with frozen_statistics(net):
        net.train()(batch()[0])
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    net(batch()[0])
    assert not torch.equal(net.state_dict()["bn1.running_mean"], before["bn1.running_mean"])
    assert net.state_dict()["bn1.num_batches_tracked"] == 1
