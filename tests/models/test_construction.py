"""Construction of deeper nets, and recomputation of activations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.diagnostics.loss_gradients import image_gradients
from resnet_repro.models.cifar import CifarNet, Kind, cifar_net
from resnet_repro.models.construction import deepen
from resnet_repro.models.he16 import he16_net
from resnet_repro.models.impl_d import plain_net, residual_net
from resnet_repro.models.recompute import frozen_statistics, recompute_activations, stored_bytes


def batch(size: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def trained(kind: Kind, depth: int) -> CifarNet:
    """A net after a few steps of training, with statistics, scales and shifts that differ from their initial values."""
    net = cifar_net(kind, depth, seed=1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(8):
        images, labels = batch(seed=step)
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # running statistics of the final weights: the mean over six batches
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for step in range(6):
            net(batch(seed=step)[0])
    for norm in norms:
        norm.momentum = 0.1
    return net


# Plain nets: √(variance + ε) in float32 has a rounding error of 1.5 · 2⁻²⁴, from the sum and the root, in each of 36 added
# scales in sequence. The parent's later layers amplify it two to three times, by measurement; a factor of ten is allowed.
# Residual nets: the added blocks add zeros, which are exact.
ROUNDING = {"plain": 10 * 36 * 1.5 * 2**-24, "resnet": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "resnet"])
def test_built_net_computes_the_function_of_its_parent(kind: Kind) -> None:
    """Claim K1, up to rounding."""
    parent, child = trained(kind, 20), cifar_net(kind, 56, seed=2)
    deepen(parent, child, [batch(128, seed=s) for s in (20, 21)])
    images, _ = batch(50, seed=30)
    with torch.no_grad():
        expected, logits = (net.eval().double()(images.double()) for net in (parent, child))
    # In double precision, the only error is the rounding of the added scales to float32.
    assert torch.allclose(logits, expected, rtol=0, atol=ROUNDING[kind] * expected.abs().max().item())
    assert child.layer1[2].bn2.weight.std() > 0  # the trained parent's, not the initial value
    assert torch.equal(child.layer2[1].conv1.weight, parent.layer2[1].conv1.weight)


def test_added_residual_blocks_act_with_the_given_scale() -> None:
    """An added block is relu(x + scale · F(x)), with F of the block's own initialization at scale 1."""
    parent, own = cifar_net("resnet", 8, seed=1), cifar_net("resnet", 14, seed=2).eval()
    x = torch.rand(2, 16, 8, 8)
    for scale in (0.0, 0.1, 1.0):
        child = cifar_net("resnet", 14, seed=2).eval()
        deepen(parent, child, [], scale)
        assert torch.equal(child.layer1[0].conv1.weight, parent.layer1[0].conv1.weight)  # type: ignore[union-attr]
        block = own.layer1[1]
        branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))  # type: ignore[operator, union-attr]
        assert torch.allclose(child.layer1[1](x), torch.relu(x + scale * branch), atol=1e-5)


def test_added_plain_blocks_have_no_scale() -> None:
    with pytest.raises(ValueError, match="to a plain net"):
        deepen(cifar_net("plain", 8), cifar_net("plain", 14), [], scale=0.1)


def test_a_perturbation_adds_a_multiple_of_the_nets_own_kernels_to_the_identity() -> None:
    parent, own = trained("plain", 8), cifar_net("plain", 14, seed=2)
    exact, perturbed = cifar_net("plain", 14, seed=2), cifar_net("plain", 14, seed=2)
    for child, perturbation in ((exact, 0.0), (perturbed, 0.1)):
        deepen(parent, child, [batch(64)], perturbation=perturbation)
    kernels = {f"layer{s}.1.conv{c}.weight" for s in (1, 2, 3) for c in (1, 2)}  # of the added blocks
    for name, weight in perturbed.state_dict().items():
        expected = exact.state_dict()[name]
        if name in kernels:
            identity = torch.zeros_like(expected)
            identity[:, :, 1, 1] = torch.eye(len(identity))
            assert torch.equal(expected, identity)
            expected = identity + 0.1 * own.state_dict()[name]
        assert torch.allclose(weight, expected, rtol=0, atol=1e-7), name


def test_added_residual_blocks_have_no_perturbation() -> None:
    with pytest.raises(ValueError, match=r"residual net by 0\.1"):
        deepen(cifar_net("resnet", 8), cifar_net("resnet", 14), [], perturbation=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "resnet"])
def test_built_net_approximates_its_parent_in_training_mode(kind: Kind) -> None:
    parent, child = trained(kind, 8), cifar_net(kind, 20, seed=2)
    deepen(parent, child, [batch(256, seed=s) for s in (20, 21)])
    images, _ = batch(256, seed=30)
    with torch.no_grad(), frozen_statistics(parent), frozen_statistics(child):
        expected, logits = parent.train()(images), child.train()(images)
    assert (logits - expected).abs().mean() < 0.1 * expected.std()


def test_added_plain_layers_undo_their_normalization() -> None:
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
    for norm in (added.bn1, added.bn2):  # scale and standard deviation cancel, up to five roundings of 2⁻²⁴
        assert torch.equal(norm.bias, norm.running_mean)  # type: ignore[arg-type]
        ratio = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
        assert torch.allclose(ratio, torch.ones(16), rtol=0, atol=3e-7)


def test_added_residual_blocks_receive_gradients() -> None:
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
        (plain_net(8), plain_net(14)),
    ],
)
def test_incompatible_nets_are_rejected(parent: nn.Module, child: nn.Module) -> None:
    with pytest.raises(ValueError, match="cannot build"):
        deepen(parent, child, [batch()])


def test_plain_nets_need_batches() -> None:
    with pytest.raises(ValueError, match="no batches"):
        deepen(cifar_net("plain", 8), cifar_net("plain", 14), [])


NETS = {
    "resnet": lambda: cifar_net("resnet", 26, seed=1),
    "preact": lambda: he16_net("preact", 29, "bottleneck", seed=1),
    "impl-d": lambda: residual_net("original", 14, "batch", seed=1),
    "impl-d plain": lambda: plain_net(14, "batch", seed=1),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETS)
def test_recomputation_changes_neither_gradients_nor_statistics(name: str, precision: str) -> None:
    stored, recomputed = (NETS[name]() for _ in range(2))
    recompute_activations(recomputed)
    images, labels = batch(4 if precision == "bf16" else 16)  # bf16 is slow without hardware support
    for net in (stored, recomputed):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            F.cross_entropy(net(images), labels).backward()
    assert stored.state_dict().keys() == recomputed.state_dict().keys()
    for (key, value), expected in zip(recomputed.state_dict().items(), stored.state_dict().values(), strict=True):
        assert torch.equal(value, expected), key  # batch counters and running statistics are updated once
    for (key, parameter), expected in zip(recomputed.named_parameters(), stored.parameters(), strict=True):
        assert parameter.grad is not None
        assert expected.grad is not None
        assert torch.equal(parameter.grad, expected.grad), key
    for net in (stored, recomputed):
        net.eval()
    assert torch.equal(stored(images), recomputed(images))


def test_image_gradients_are_those_of_a_net_that_stores_its_activations() -> None:
    stored, recomputed = (cifar_net("resnet", 8, seed=0).train() for _ in range(2))
    recompute_activations(recomputed)
    images, labels = batch(4)
    name = "layer2.0.conv1.weight"
    gradients = [image_gradients(net, images, labels, [name])[name] for net in (stored, recomputed)]
    assert torch.equal(*gradients)
    assert stored_bytes(recomputed, images, labels, "fp32") < stored_bytes(stored, images, labels, "fp32")


def test_recomputation_stores_less() -> None:
    images, labels = batch(4)
    net = cifar_net("resnet", 56)
    stored = stored_bytes(net, images, labels, "fp32")
    recompute_activations(net)
    assert stored_bytes(net, images, labels, "fp32") < 0.4 * stored


def test_recomputation_needs_stages() -> None:
    with pytest.raises(ValueError, match=r"Sequential .*stages"):
        recompute_activations(nn.Sequential(nn.Linear(2, 2)))


def test_stored_bytes_equal_a_count_by_hand_and_grow_with_the_batch() -> None:
    """Each layer of a stage stores the input and the output of its convolution; the output is the norm's input."""
    net = cifar_net("plain", 8)
    images, labels = batch(8)
    four, eight = [stored_bytes(net, images[:count].clone(), labels[:count], "fp32") for count in (4, 8)]
    assert eight == pytest.approx(2 * four, rel=0.01)
    # Maps of 16·32², 32·16², 64·8² numbers: the input; convolution and ReLU outputs of 3 + 2 + 2 layers.
    maps = 3 * 32 * 32 + 2 * (3 * 16 * 32 * 32 + 2 * 32 * 16 * 16 + 2 * 64 * 8 * 8)
    assert four == pytest.approx(4 * maps * 4, rel=0.05)


def test_frozen_statistics_are_constant_only_inside_the_context() -> None:
    net = cifar_net("plain", 8)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with frozen_statistics(net):
        net.train()(batch()[0])
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    net(batch()[0])
    assert not torch.equal(net.state_dict()["bn1.running_mean"], before["bn1.running_mean"])
    assert net.state_dict()["bn1.num_batches_tracked"] == 1
