"""The ImageNet family, the classics, GoogLeNet with its heads, and the fragments: counts, maps, torchvision's weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as theirs
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_repro.config.arm import ModelSpec
from resnet_repro.diagnostics.complexity import parameter_count
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.blocks import Bottleneck, PadShortcut, make_shortcut
from resnet_repro.models.classics import Classic, alexnet, lenet_5, small_vgg, vgg, zfnet
from resnet_repro.models.fragments import googlenet_stem, inception, stack, stage, vgg_16_stem
from resnet_repro.models.googlenet import HEADS_AFTER, TABLE_1, GoogLeNet, googlenet, small_googlenet
from resnet_repro.models.heads import HEAD_WEIGHT, training_loss
from resnet_repro.models.imagenet import imagenet_net
from resnet_repro.models.inspect import main_path_convolutions
from resnet_repro.models.weights import state_sha256

DEPTHS = (18, 34, 50, 101, 152)


def on_meta(builder: Callable[..., nn.Module], *arguments: object, **options: object) -> nn.Module:
    """The network's shapes, without memory for its weights."""
    with torch.device("meta"):
        return builder(*arguments, **options).eval()


def multiply_adds(net: nn.Module, shape: tuple[int, int, int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() // 2


def maps(net: nn.Module, shape: tuple[int, int, int], names: str) -> list[tuple[int, int]]:
    """(channels, pixels of a side) of the outputs of the modules of these names."""
    seen: list[tuple[int, int]] = []
    for name in names.split():
        net.get_submodule(name).register_forward_hook(lambda m, inputs, out: seen.append((out.shape[1], out.shape[2])))
    net(torch.empty(1, *shape, device="meta"))
    return seen


# -- the ImageNet family -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", DEPTHS)
def test_resnets_have_torchvisions_names_and_shapes(depth: int) -> None:
    ours, other = on_meta(imagenet_net, "resnet", depth), on_meta(getattr(theirs, f"resnet{depth}"))
    shapes = {key: tensor.shape for key, tensor in other.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == shapes
    assert parameter_count(ours) == parameter_count(other)


@pytest.mark.parametrize("depth", DEPTHS)
def test_resnets_take_torchvisions_weights_and_give_its_outputs(depth: int) -> None:
    torch.manual_seed(0)
    other = getattr(theirs, f"resnet{depth}")()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        other.train()(images)  # moves the running statistics away from 0 and 1
        ours = on_meta(imagenet_net, "resnet", depth)
        ours.load_state_dict(other.state_dict(), assign=True)
        assert torch.allclose(ours(images), other.eval()(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("depth", "published"), [(18, 1.8e9), (34, 3.6e9), (50, 3.8e9), (101, 7.6e9), (152, 11.3e9)])
def test_multiply_adds_and_layers_are_those_of_table_1(depth: int, published: float) -> None:
    net = on_meta(imagenet_net, "resnet", depth, stride_at="1x1")
    assert multiply_adds(net, (3, 224, 224)) == pytest.approx(published, rel=0.03)
    assert len(main_path_convolutions(net)) + 1 == depth


@pytest.mark.parametrize("depth", [18, 34])
def test_plain_nets_are_resnets_without_shortcuts(depth: int) -> None:
    plain, residual = on_meta(imagenet_net, "plain", depth), on_meta(imagenet_net, "resnet", depth, "A")
    assert plain.state_dict().keys() == residual.state_dict().keys()
    assert multiply_adds(plain, (3, 224, 224)) == multiply_adds(residual, (3, 224, 224))
    assert not any("downsample" in name for name, _ in plain.named_modules())


def test_a_plain_net_and_its_twins_share_their_initial_weights() -> None:
    plain = imagenet_net("plain", 18, classes=10, seed=3).state_dict()
    assert state_sha256(imagenet_net("resnet", 18, "A", classes=10, seed=3).state_dict()) == state_sha256(plain)
    assert state_sha256(imagenet_net("plain", 18, classes=10, seed=4).state_dict()) != state_sha256(plain)
    projections = imagenet_net("resnet", 18, "C", classes=10, seed=3).state_dict()
    assert all(torch.equal(value, projections[key]) for key, value in plain.items())


@pytest.mark.parametrize(("shortcut", "projections"), [("A", 0), ("B", 4), ("C", 16)])
def test_projections_of_resnet_50(shortcut: str, projections: int) -> None:
    net = on_meta(imagenet_net, "resnet", 50, shortcut)
    assert sum(key.endswith("downsample.0.weight") for key in net.state_dict()) == projections
    assert net(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 1000)


def test_a_bottleneck_adds_its_shortcut_or_nothing() -> None:
    x = torch.rand(2, 8, 6, 6)
    pad = PadShortcut(8, 12, 2)
    for shortcut, expected in ((pad, pad(x)), (None, torch.zeros(2, 12, 3, 3))):
        block = Bottleneck(8, 4, 2, nn.BatchNorm2d, shortcut, expansion=3)
        nn.init.zeros_(block.bn3.weight)  # type: ignore[arg-type]
        assert torch.equal(block(x), expected)


@pytest.mark.parametrize(("stride_at", "strides"), [("1x1", [2, 1, 1]), ("3x3", [1, 2, 1])])
def test_the_stride_of_a_bottleneck_is_where_it_is_asked_for(stride_at: str, strides: list[int]) -> None:
    block = on_meta(imagenet_net, "resnet", 50, stride_at=stride_at).get_submodule("layer2.0")
    assert [conv.stride[0] for _, conv in main_path_convolutions(block)] == strides


def test_shortcuts_project_where_their_option_says() -> None:
    for option, same, changed in (("A", nn.Identity, PadShortcut), ("B", nn.Identity, nn.Sequential)):
        assert isinstance(make_shortcut(option, 8, 8, 1, nn.BatchNorm2d), same)  # type: ignore[arg-type]
        assert isinstance(make_shortcut(option, 8, 16, 1, nn.BatchNorm2d), changed)  # type: ignore[arg-type]
    assert isinstance(make_shortcut("C", 8, 8, 1, nn.BatchNorm2d), nn.Sequential)


# -- the classics --------------------------------------------------------------------------------------------------


def leaves(net: nn.Module) -> list[str]:
    """The layers in a row, as printed, but for flattening, and for adaptive pooling, which does nothing at their size."""
    skipped = (nn.Flatten, nn.AdaptiveAvgPool2d)
    layers = [m for m in net.modules() if not list(m.children()) and not isinstance(m, skipped)]
    return [re.sub(r"(, )?inplace=\w+", "", repr(layer)) for layer in layers]


@pytest.mark.parametrize(
    ("ours", "other"),
    [
        (("classics.alexnet", {"variant": "torchvision"}), "alexnet"),
        (("classics.vgg", {"depth": 16}), "vgg16"),
        (("classics.vgg", {"depth": 19}), "vgg19"),
    ],
)
def test_classics_are_layer_by_layer_torchvisions(ours: tuple[str, dict], other: str) -> None:
    net, reference = on_meta(build, ModelSpec(*ours), 1000, 0), on_meta(getattr(theirs, other))
    assert leaves(net) == leaves(reference)
    assert parameter_count(net) == parameter_count(reference)


def test_published_parameters_and_multiply_adds() -> None:
    assert parameter_count(on_meta(lenet_5)) == 61_706
    assert parameter_count(on_meta(alexnet)) == parameter_count(on_meta(alexnet, "torchvision")) == 61_100_840
    assert parameter_count(on_meta(googlenet, auxiliary=False)) == 6_998_552
    # He15 section 3.3 and Szegedy et al. 2015 section 1
    assert multiply_adds(on_meta(vgg, 19), (3, 224, 224)) == pytest.approx(19.6e9, rel=0.01)
    assert multiply_adds(on_meta(googlenet), (3, 224, 224)) == pytest.approx(1.5e9, rel=0.06)


@pytest.mark.parametrize(
    ("builder", "shape", "names", "expected"),
    [
        (lenet_5, (1, 32, 32), "c1 s2 c3 s4 c5", [(6, 28), (6, 14), (16, 10), (16, 5), (120, 1)]),
        (alexnet, (3, 227, 227), "conv1 pool1 pool2 conv3 pool5", [(64, 56), (64, 27), (192, 13), (384, 13), (256, 6)]),
        (
            zfnet,
            (3, 224, 224),
            "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5",
            [(96, 110), (96, 55), (256, 26), (256, 13), (512, 13), (1024, 13), (512, 13), (512, 6)],
        ),
        (vgg, (3, 224, 224), "conv1_2 pool3 conv4_3 pool5", [(64, 224), (256, 28), (512, 28), (512, 7)]),
        (
            small_vgg,
            (1, 28, 28),
            "conv1_2 pool1 pool2 conv3_1 pool3",
            [(32, 28), (32, 14), (64, 7), (128, 7), (128, 3)],
        ),
    ],
)
def test_maps_of_the_classics(
    builder: Callable[..., nn.Module], shape: tuple[int, int, int], names: str, expected: list[tuple[int, int]]
) -> None:
    assert maps(on_meta(builder), shape, names) == expected


def test_dropout_follows_the_lectures_linear_layers_and_precedes_torchvisions() -> None:
    for variant, order in (
        ("lecture", "fc6 relu6 dropout6 fc7 relu7 dropout7 fc8"),
        ("torchvision", "dropout6 fc6 relu6 dropout7 fc7 relu7 fc8"),
    ):
        names = [name for name, _ in on_meta(alexnet, variant).named_children()]
        assert " ".join(names[-7:]) == order


def test_the_small_vgg_normalizes_drops_out_and_widens() -> None:
    net = small_vgg(in_channels=3, width=4, classes=7)
    assert net(torch.randn(2, 3, 28, 28)).shape == (2, 7)
    assert [conv.out_channels for _, conv in main_path_convolutions(net)] == [4, 4, 8, 8, 16, 16]
    assert all(conv.bias is None for _, conv in main_path_convolutions(net))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 6
    assert sum(isinstance(m, nn.Dropout) for m in net.modules()) == 1


# -- GoogLeNet and its heads ---------------------------------------------------------------------------------------


def test_maps_of_googlenet_are_those_of_table_1() -> None:
    net = on_meta(googlenet, auxiliary=False)
    names = "stem " + " ".join(f"trunk.{name}" for name in TABLE_1)
    channels = [192, 256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert maps(net, (3, 224, 224), names) == list(zip(channels, 3 * [28] + 5 * [14] + 2 * [7], strict=True))
    kernels = [(net.get_submodule(f"trunk.{name}.out_5x5").kernel_size) for name in TABLE_1]
    assert kernels == 9 * [(5, 5)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


def test_maps_of_the_small_googlenet() -> None:
    net = on_meta(small_googlenet)
    names = "stem " + " ".join(f"trunk.{name}" for name in TABLE_1)
    channels = 3 * [32] + 5 * [64] + 2 * [128]
    assert maps(net, (3, 32, 32), names) == list(zip(channels, 3 * [32] + 5 * [16] + 2 * [8], strict=True))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert 30e6 < multiply_adds(net, (3, 32, 32)) < 40e6
    assert 30e6 < multiply_adds(on_meta(small_googlenet, auxiliary=False), (3, 32, 32)) < 40e6


def test_googlenets_heads_are_those_of_section_5() -> None:
    with torch.device("meta"):
        net = googlenet().train()
        outputs = net(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(output.shape) for output in outputs] == 3 * [(2, 1000)]
    both = sum(128 * channels + 128 + 1024 * 128 * 16 + 1024 + 1000 * 1024 + 1000 for channels in (512, 528))
    assert parameter_count(net) == 6_998_552 + both
    assert [m.p for m in net.heads.modules() if isinstance(m, nn.Dropout)] == [0.7, 0.7]


def test_heads_speak_in_training_only() -> None:
    net, bare = small_googlenet(seed=1), small_googlenet(auxiliary=False, seed=1)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = net.eval()(images)
        assert isinstance(logits, Tensor)
        outputs = net.train()(images)
        assert isinstance(outputs, tuple)
        assert [tuple(output.shape) for output in outputs] == 3 * [(2, 10)]
        for other in (outputs[0], bare.train()(images), bare.eval()(images)):
            assert torch.equal(other, logits)  # the trunk has no dropout
        assert not torch.allclose(outputs[1], outputs[2])


@pytest.mark.parametrize("builder", [small_googlenet, googlenet])
def test_the_trunk_is_the_same_with_and_without_heads(builder: Callable[..., GoogLeNet]) -> None:
    with_heads, without = builder(classes=10, seed=5).state_dict(), builder(auxiliary=False, classes=10, seed=5)
    own = {key: value for key, value in with_heads.items() if not key.startswith("heads.")}
    assert {key.split(".")[1] for key in with_heads.keys() - own.keys()} == set(HEADS_AFTER)
    assert state_sha256(own) == state_sha256(without.state_dict())
    assert state_sha256(builder(auxiliary=False, classes=10, seed=6).state_dict()) != state_sha256(own)


def test_heads_stand_behind_a_third_and_two_thirds_of_the_modules_and_off_the_main_path() -> None:
    assert [list(TABLE_1).index(name) + 1 for name in HEADS_AFTER] == [3, 6]
    net = small_googlenet()
    assert [name for name, _ in main_path_convolutions(net)] == [
        name for name, _ in main_path_convolutions(small_googlenet(auxiliary=False))
    ]
    # The first head's gradient ends at 4a, the second's at 4d.
    _, *of_heads = net.train()(torch.randn(4, 3, 32, 32))
    for name, output in zip(HEADS_AFTER, of_heads, strict=True):
        net.zero_grad()
        output.sum().backward(retain_graph=True)
        reached = [module for module in TABLE_1 if net.get_submodule(f"trunk.{module}.out_3x3").weight.grad is not None]
        assert reached == list(TABLE_1)[: list(TABLE_1).index(name) + 1]


def test_an_inception_module_lays_its_branches_side_by_side() -> None:
    module, x = inception("3a"), torch.randn(1, 192, 5, 5)
    out = module(x)
    assert out.shape == (1, 256, 5, 5)
    wide = F.conv2d(x, module.red_5x5.weight, module.red_5x5.bias).relu()  # type: ignore[union-attr]
    wide = F.conv2d(wide, module.out_5x5.weight, module.out_5x5.bias, padding=2).relu()
    pooled = F.conv2d(F.max_pool2d(x, 3, 1, 1), module.out_pool.weight, module.out_pool.bias).relu()  # type: ignore[union-attr]
    for expected, begin, end in (
        (F.conv2d(x, module.out_1x1.weight, module.out_1x1.bias).relu(), 0, 64),
        (wide, 192, 224),
        (pooled, 224, 256),
    ):
        assert torch.allclose(out[:, begin:end], expected, atol=1e-5)


def test_the_training_loss_adds_three_tenths_of_each_head() -> None:
    logits, first, second = torch.randn(3, 6, 4).unbind()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])

    def by_hand(scores: Tensor) -> Tensor:
        return -sum(scores[i].log_softmax(0)[label] for i, label in enumerate(labels)) / 6  # type: ignore[return-value]

    loss, returned = training_loss((logits, first, second), labels)
    assert returned is logits
    assert loss.item() == pytest.approx((by_hand(logits) + 0.3 * (by_hand(first) + by_hand(second))).item(), rel=1e-5)
    assert HEAD_WEIGHT == 0.3
    loss, returned = training_loss(logits, labels)
    assert returned is logits
    assert loss.item() == pytest.approx(by_hand(logits).item(), rel=1e-5)


# -- fragments -----------------------------------------------------------------------------------------------------


def test_stacks_keep_the_size_and_have_the_layers_asked_for() -> None:
    for kernel, count in ((5, 1), (3, 2), (7, 1), (3, 3)):
        net = on_meta(stack, kernel, count, 16)
        assert net(torch.empty(1, 16, 9, 9, device="meta")).shape == (1, 16, 9, 9)
        assert parameter_count(net) == count * (kernel**2 * 16**2 + 16)
        assert multiply_adds(net, (16, 9, 9)) == 81 * count * kernel**2 * 16**2


def test_doubling_the_channels_after_a_pooling_keeps_a_stages_cost() -> None:
    costs = {multiply_adds(on_meta(stage, c, s), (c, s, s)) for c, s in ((64, 56), (128, 28), (256, 14))}
    assert costs == {2 * 9 * 64**2 * 56**2}
    assert on_meta(stage, 8, 6)(torch.empty(1, 8, 6, 6, device="meta")).shape == (1, 8, 3, 3)


def test_bottlenecks_make_the_inception_module_cheaper() -> None:
    shape = (192, 28, 28)
    pixels = 28 * 28
    full, naive = on_meta(inception, "3a"), on_meta(inception, "3a", bottlenecks=False, pool_projection=False)
    by_hand = 192 * (64 + 96 + 16 + 32) + 9 * 96 * 128 + 25 * 16 * 32
    assert multiply_adds(full, shape) == pixels * by_hand
    assert multiply_adds(naive, shape) == pixels * 192 * (64 + 9 * 128 + 25 * 32)
    assert naive(torch.empty(1, *shape, device="meta")).shape == (1, 64 + 128 + 32 + 192, 28, 28)
    projected = on_meta(inception, "3a", bottlenecks=False)
    assert projected(torch.empty(1, *shape, device="meta")).shape == (1, 256, 28, 28)


def test_the_naive_modules_pooling_passes_all_channels_on() -> None:
    x = torch.randn(1, 192, 5, 5)
    assert torch.equal(inception(bottlenecks=False, pool_projection=False)(x)[:, -192:], F.max_pool2d(x, 3, 1, 1))


def test_every_inception_module_fits_its_place_in_googlenet() -> None:
    net = on_meta(googlenet)
    for name in TABLE_1:
        alone = {key: tensor.shape for key, tensor in on_meta(inception, name).state_dict().items()}
        assert alone == {key: t.shape for key, t in net.get_submodule(f"trunk.{name}").state_dict().items()}


def test_stems_are_the_first_layers_of_their_nets() -> None:
    images = torch.empty(1, 3, 224, 224, device="meta")
    assert on_meta(googlenet_stem)(images).shape == (1, 192, 28, 28)
    assert on_meta(vgg_16_stem)(images).shape == (1, 256, 28, 28)
    stem, whole = googlenet_stem(seed=2), googlenet(auxiliary=False, seed=2).stem
    assert state_sha256(stem.state_dict()) == state_sha256(whole.state_dict())
    net = on_meta(vgg, 16)
    assert isinstance(net, Classic)
    layers = list(on_meta(vgg_16_stem).named_children())
    assert [(n, repr(m)) for n, m in layers] == [(n, repr(m)) for n, m in net.named_children()][: len(layers)]


# -- all of them ---------------------------------------------------------------------------------------------------

SMALL = [
    ("classics.lenet_5", {}, (1, 32, 32)),
    ("classics.small_vgg", {"width": 8}, (1, 28, 28)),
    ("googlenet.small_googlenet", {"auxiliary": True, "width": 8}, (3, 32, 32)),
    ("googlenet.small_googlenet", {"auxiliary": False, "width": 8}, (3, 32, 32)),
    ("imagenet.imagenet_net", {"kind": "plain", "depth": 18}, (3, 32, 32)),
]


@pytest.mark.parametrize(("builder", "options", "shape"), SMALL)
def test_small_nets_give_float32_logits_and_learn_in_every_layer(builder: str, options: dict, shape: tuple) -> None:
    net = build(ModelSpec(builder, options), 5, seed=1)
    images = torch.randn(2, *shape)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.eval()(images)
        output = net.train()(images)
    assert (logits.shape, logits.dtype) == ((2, 5), torch.float32)
    loss, _ = training_loss(output, torch.tensor([1, 3]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(("builder", "options", "shape"), SMALL[:3])
def test_initial_weights_are_hes_and_the_seeds(builder: str, options: dict, shape: tuple) -> None:
    nets = [build(ModelSpec(builder, options), 5, seed) for seed in (1, 1, 2)]
    digests = [state_sha256(net.state_dict()) for net in nets]
    assert digests[0] == digests[1] != digests[2]
    for layer in nets[0].modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > 2000:
            assert layer.weight.std().item() == pytest.approx((2 / layer.weight[0].numel()) ** 0.5, rel=0.1)
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    ("builder", "options", "named"),
    [
        (imagenet_net, {"kind": "dense"}, "kind 'dense'"),
        (imagenet_net, {"depth": 20}, "depth 20"),
        (imagenet_net, {"shortcut": "D"}, "option 'D'"),
        (imagenet_net, {"stride_at": "7x7"}, "stride '7x7'"),
        (alexnet, {"variant": "two towers"}, "variant 'two towers'"),
        (vgg, {"depth": 11}, "depth 11"),
        (small_vgg, {"width": 0}, "width 0"),
        (small_googlenet, {"width": 20}, "width 20"),
        (small_googlenet, {"width": 0}, "width 0"),
        (inception, {"module": "6a"}, "module '6a'"),
        (stack, {"kernel": 4, "count": 1, "channels": 8}, "kernel 4"),
        (stack, {"kernel": 3, "count": 0, "channels": 8}, "0 convolutions"),
        (stage, {"channels": 8, "size": 7}, "7 pixels"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_remedy(
    builder: Callable[..., nn.Module], options: dict, named: str
) -> None:
    with pytest.raises(UserError, match=f"{named}.*: take "):
        builder(**options)


def test_heads_begin_with_the_loss_of_guessing() -> None:
    net = small_googlenet(auxiliary=True, width=16)
    torch.manual_seed(0)
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    _, *heads = net(images)
    for logits in heads:
        assert float(F.cross_entropy(logits, labels)) == pytest.approx(math.log(10), abs=0.1)
