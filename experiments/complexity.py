"""What the architectures are and cost: layers, memory, parameters, operations.  notes-B; He15 table 1; blog-E.

    make complexity                  counts every network from its modules: a minute, no data
    make complexity PROFILE=paper    the same
Expected: VGG-16 has 27 times AlexNet's memory, 2.3 times its parameters and 22 times its operations. The lecture has 25,
2.3 and 19.4, for a VGG-16 that lacks a layer. He15's FLOPs are met at every depth. Seven sentences on the structure of
networks are wrong, among them three of notes-B's on VGG.
"""

from collections.abc import Callable
from typing import Any

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import (
    Exact,
    count_above,
    count_below,
    count_equals,
    count_is,
    published_count,
    published_ratio,
    ratio_above,
    ratio_below,
)
from resnet_repro.config.arm import CountedArm
from resnet_repro.config.families import counted_arm
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.figures.architectures import accuracy_against_cost, ilsvrc_by_year, layer_bars, stem_bars
from resnet_repro.models.catalogue import NETS

ZFNET_FILTERS = {3: 512, 4: 1024, 5: 512}  # by convolution, counted from 1
CLASSICS = ("lenet-5", "alexnet", "alexnet-torchvision", "zfnet", "vgg-16", "vgg-19", "googlenet")
IMAGENET = ("plain-34", *(f"resnet-{depth}" for depth in (18, 34, 50, 101, 152)))
HE15_BOTTLENECKS = tuple(f"resnet-{depth}-he15" for depth in (50, 101, 152))
CIFAR_IMAGE = (3, 32, 32)
CIFAR = ("plain-20", "plain-56", *(f"resnet-{depth}" for depth in (20, 32, 44, 56, 110, 1202)))

# He15 table 1 and section 3.3. FLOPs there are multiply-adds.
HE15_MACS = {
    "vgg-19": 19.6e9,
    "plain-34": 3.6e9,
    "resnet-18": 1.8e9,
    "resnet-34": 3.6e9,
    "resnet-50-he15": 3.8e9,
    "resnet-101-he15": 7.6e9,
    "resnet-152-he15": 11.3e9,
}
# From notes-B, GoogLeNet's paper, and torchvision. torchvision's bottlenecks have another stride than the paper's.
MACS = HE15_MACS | {
    "alexnet": 0.7e9,
    "alexnet-torchvision": 0.714e9,
    "vgg-16": 13.6e9,
    "googlenet": 1.5e9,
    "resnet-50": 4.089e9,
    "resnet-101": 7.801e9,
    "resnet-152": 11.514e9,
}
# From notes-B, VGG's paper and torchvision. CIFAR nets: He15 table 6.
PARAMETERS = {
    "alexnet": 61e6,
    "alexnet-torchvision": 61.1e6,
    "vgg-16": 138e6,
    "vgg-19": 144e6,
    "resnet-18": 11.69e6,
    "resnet-34": 21.8e6,
    "resnet-50": 25.56e6,
    "resnet-101": 44.55e6,
    "resnet-152": 60.19e6,
    "resnet-20": 0.27e6,
    "resnet-32": 0.46e6,
    "resnet-44": 0.66e6,
    "resnet-56": 0.85e6,
    "resnet-110": 1.7e6,
    "resnet-1202": 19.4e6,
}
PUBLISHED = {
    net: {metric: values[net] for metric, values in (("params", PARAMETERS), ("macs", MACS)) if net in values}
    for net in MACS | PARAMETERS
}


def catalogued_arm(name: str) -> CountedArm:
    """A network of the catalogue, under its catalogue name."""
    net = NETS[name]
    return counted_arm(name, net.model.builder, net.shape, net.classes, **net.model.options)


def part(name: str, builder: str, shape: tuple[int, int, int], **options: Any) -> CountedArm:
    """A part or variant of a network that serves a claim. The tables of networks leave it out.

    options: `classes`, and arguments of the builder.
    """
    return counted_arm(name, builder, shape, control=True, **options)


def stack(name: str, kernel: int, count: int) -> CountedArm:
    """`count` convolutions of 64 channels on a 56×56 map."""
    return part(name, "fragments.stack", (64, 56, 56), kernel=kernel, count=count, channels=64)


def lecture_ratios(net: str) -> list[Exact]:
    """Comparisons of `net` with AlexNet at the ratios that the lecture gives for VGG-16."""
    return [
        published_ratio("weighted_memory_kib", net, "alexnet", 25),
        published_ratio("params", net, "alexnet", 2.3),
        published_ratio("macs", net, "alexnet", 19.4),
    ]


def all_counts(net: str, **counts: int) -> list[Exact]:
    """Comparisons: each metric, counted on `net`, equals its value."""
    return [count_is(metric, net, value) for metric, value in counts.items()]


def costs(compare: Callable[..., Exact], arm: str, of: str, threshold: float = 1.0) -> list[Exact]:
    """Comparisons of the memory, the parameters and the operations of two networks, each with the same threshold."""
    return [compare(metric, arm, of, threshold) for metric in ("memory_kib", "params", "macs")]


def vgg_claims() -> list[Claim]:
    return [
        Claim(
            "X14",
            source="notes-B",
            text="In VGG, all convolutions are 3×3 with stride 1 and padding 1, and all max poolings 2×2 with stride 2.",
            test=[
                comparison
                for net in ("vgg-16", "vgg-19")
                for comparison in all_counts(
                    net,
                    smallest_conv_kernel=3,
                    largest_conv_kernel=3,
                    largest_conv_stride=1,
                    smallest_conv_padding=1,
                    largest_conv_padding=1,
                    smallest_pool_kernel=2,
                    largest_pool_kernel=2,
                    smallest_pool_stride=2,
                    largest_pool_stride=2,
                )
            ],
        ),
        Claim(
            "X15",
            source="notes-B",
            text="In VGG, the channels double after every pooling.",
            test=[count_is(f"stage{stage}_growth", "vgg-16", 2) for stage in (2, 3, 4, 5)],
            note="After the fourth pooling they stay at 512. After the fifth there is no convolution.",
        ),
        Claim(
            "X16",
            source="notes-B",
            text="VGG-16 has five stages of two convolutions and one pooling; stages 4 and 5 have one convolution more.",
            test=[
                *all_counts("vgg-16", stages=5, pool_layers=5),
                *(
                    count_is(f"stage{stage}_convs", "vgg-16", convolutions)
                    for stage, convolutions in enumerate((2, 2, 2, 3, 3), start=1)
                ),
            ],
            note="Stage 3 has three convolutions as well. The lecture's totals lack that convolution too: see X4b.",
        ),
        Claim(
            "X17",
            source="notes-B",
            text="VGG-16 is far larger than AlexNet in memory, parameters and operations.",
            test=costs(ratio_above, "vgg-16", "alexnet", 2),
            note="Far larger: more than twice.",
        ),
        Claim(
            "X18",
            source="notes-B",
            text="VGG-16 has five fully connected stages and three fully connected layers.",
            test=[count_above("fc_layers", "vgg-16", 7, "")],
            note="Five stages of a layer or more, and three layers, are at least eight. A slip: the stages hold convolutions.",
        ),
    ]


def alexnet_claims() -> list[Claim]:
    return [
        Claim(
            "X19",
            source="notes-B",
            text="AlexNet takes 227×227 images and has five convolutions, max pooling, three linear layers, and ReLU.",
            test=[
                *all_counts("alexnet", input_side=227, conv_layers=5, fc_layers=3, relus=7),
                count_above("max_pools", "alexnet", 0, ""),
            ],
            note="ReLU: after all layers with weights but the last.",
        ),
        Claim(
            "X20",
            source="notes-B",
            text="From AlexNet to ZFNet to VGG, networks got ever larger.",
            test=[*costs(ratio_above, "zfnet", "alexnet"), *costs(ratio_above, "vgg-16", "zfnet")],
        ),
        Claim(
            "X21",
            source="notes-B",
            text="AlexNet's memory is largest at the first convolution, then falls; linear layers need little.",
            test=[
                *all_counts("alexnet", memory_peak_depth=0, conv_memory_rises=0),
                count_below("fc_memory_share", "alexnet", 5, "%"),
            ],
            note="Little: less than 5 % of the memory.",
        ),
        Claim(
            "X22",
            source="notes-B",
            text="AlexNet's parameters are few in convolutions, jump at the first linear layer, then fall.",
            test=[
                count_above("fc_jump", "alexnet", 10, "×"),
                count_is("fc_params_rises", "alexnet", 0),
            ],
            note="Few, and a jump: every convolution has less than a tenth of the first linear layer's parameters.",
        ),
        Claim(
            "X23",
            source="notes-B",
            text="AlexNet's operations are most where the filters are many and the data large.",
            test=all_counts("alexnet", macs_peak_conv=2, filters_data_peak_conv=2),
            note=(
                "The second convolution has the most operations, and the largest product of filters and output numbers. The "
                "first has larger data, and the third more filters."
            ),
        ),
    ]


def googlenet_claims() -> list[Claim]:
    return [
        Claim(
            "X24",
            source="notes-B",
            text="GoogLeNet aims at efficiency: it is lighter than VGG-16 in memory, parameters and operations.",
            test=costs(ratio_below, "googlenet", "vgg-16"),
        ),
        Claim(
            "X25",
            source="notes-B",
            text="An Inception module has four parallel branches with kernels of different sizes.",
            test=all_counts("inception-3a", branches=4, smallest_conv_kernel=1, largest_conv_kernel=5),
        ),
        Claim(
            "X26",
            source="notes-B",
            text="GoogLeNet's last tensor has 1024 channels of 7×7, and average pooling makes it a vector of 1024 numbers.",
            test=all_counts("googlenet", last_channels=1024, last_side=7, fc_inputs=1024),
        ),
    ]


def layer_claims() -> list[Claim]:
    """Claims on single layers, and on the classical networks that have them."""
    return [
        Claim(
            "X27",
            source="notes-B",
            text="A 1×1 convolution keeps the map and changes the channels, as from 64×56×56 to 32×56×56.",
            test=all_counts("conv-1x1", last_channels=32, last_side=56),
        ),
        Claim(
            "X28",
            source="notes-B",
            text="Pooling windows generally do not overlap, since the stride is the size of the kernel.",
            test=[
                count_is("overlapping_pools", net, 0) for net in ("lenet-5", "alexnet", "zfnet", "vgg-16", "googlenet")
            ],
            note="Two of the five networks that the source describes have such pooling. The others pool 3×3 with stride 2.",
        ),
        Claim(
            "X29",
            source="notes-B",
            text="A strided convolution shrinks the map as well, but has parameters; pooling has none and is fast.",
            test=[
                count_equals("last_side", "conv-3x3-stride-2", of="pool-2x2"),
                count_above("params", "conv-3x3-stride-2", 0, ""),
                count_is("pool_params", "pool-2x2", 0),
                ratio_below("operations", "pool-2x2", "conv-3x3-stride-2", 0.1),
            ],
            note="Fast: a tenth of the operations, if a comparison counts as one. On 64 channels of 56×56 pixels.",
        ),
        Claim(
            "X30",
            source="notes-B",
            text="LeNet-5 is a sequence of convolution, ReLU and pooling, twice, and then of linear layers.",
            test=[
                count_above("pool_layers", "lenet-5", 1, ""),
                count_above("fc_layers", "lenet-5", 1, ""),
                count_above("relus", "lenet-5", 1, ""),
            ],
            note="LeNet-5 of 1998 has tanh. ReLU came with AlexNet, in 2012.",
        ),
        Claim(
            "X31",
            source="blog-E",
            text="The larger the stride, the smaller the map.",
            test=[
                ratio_below("last_side", f"conv-3x3-stride-{stride}", of=f"conv-3x3-stride-{stride - 1}")
                for stride in (2, 3)
            ],
        ),
        Claim(
            "X32",
            source="blog-E",
            text="Padding keeps the map of a convolution from getting smaller; without it, 28 pixels become 26 and then 24.",
            test=[
                count_is("last_side", "mnist-conv-padding-1", 28),
                count_is("last_side", "mnist-conv-padding-0", 26),
                count_is("last_side", "mnist-cnn", 24),
            ],
            note=(
                "3×3 convolutions. The post lists “zero padding (0)” among the kinds of padding; the padding=0 of its CNN is "
                "none at all."
            ),
        ),
        Claim(
            "X33",
            source="blog-E",
            text="Pooling halves the map, has no parameters and keeps the number of channels.",
            test=[
                comparison
                for net, poolings in (("mnist-lenet", 2), ("vgg-16", 5))
                for comparison in all_counts(
                    net, pool_layers=poolings, halving_pools=poolings, pool_params=0, pool_channel_changes=0
                )
            ],
            note="For 2×2 windows, as in the post's LeNet. AlexNet's 3×3 windows make 27 of 56 pixels.",
        ),
        Claim(
            "X34",
            source="blog-E",
            text="More output channels cost more.",
            test=costs(ratio_above, "mnist-conv-8-channels", "mnist-conv-padding-0"),
            note="Eight channels against four. The sentence's other halves, more features and overfitting, are not counted.",
        ),
    ]


def residual_claims() -> list[Claim]:
    """Claims on residual networks and their blocks."""
    return [
        Claim(
            "X35",
            source="blog-A",
            text="Before ResNet, networks had at most about 22 layers; ResNet has 152.",
            test=[
                *all_counts("googlenet", depth=22),
                *(
                    count_below("depth", net, 23, "layers")
                    for net in ("lenet-5", "alexnet", "zfnet", "vgg-16", "vgg-19")
                ),
                count_is("depth", "resnet-152", 152),
            ],
            note="Of the networks counted here: highway networks of the same year were trained with 100 layers.",
        ),
        Claim(
            "X36",
            source="blog-A",
            text="A plain net of 56 layers has very many more parameters than one of 20.",
            test=[ratio_above("params", "plain-56", of="plain-20", threshold=2)],
            note="Very many more: more than twice.",
        ),
        Claim(
            "X37",
            source="blog-A",
            text="ResNet shrinks maps by convolutions with stride 2 and has no max pooling.",
            test=[
                *(count_is("largest_conv_stride", net, 2) for net in ("resnet-34", "resnet-56")),
                *(count_is("max_pools", net, 0) for net in ("resnet-34", "resnet-56")),
            ],
            note="True of He15's nets for CIFAR. Its nets for ImageNet have one max pooling, after the first convolution.",
        ),
        Claim(
            "X38",
            source="blog-A, impl-D",
            text="Along ResNet, the number of filters doubles from stage to stage.",
            test=[
                *(count_is(f"stage{stage}_growth", "resnet-34", 2) for stage in (3, 4, 5)),
                *(count_is(f"stage{stage}_growth", "resnet-56", 2) for stage in (2, 3)),
            ],
            note="Where a block has stride 2. The first two stages of resnet-34, divided by its max pooling, have 64 channels.",
        ),
        Claim(
            "X39",
            source="He15 figure 5, blog-C, blog-E",
            text="A bottleneck has fewer parameters and operations than a block of two 3×3 convolutions.",
            test=[
                count_is("conv_params", "block-basic-64", 73_728),
                count_is("conv_params", "block-bottleneck-256", 69_632),
                *(
                    ratio_below(metric, "block-bottleneck-256", of="block-basic-64")
                    for metric in ("conv_params", "macs")
                ),
            ],
            note=(
                "The pair of figure 5: 64 channels against 256, so the bottleneck has four times the channels outside. The "
                "paper calls their cost similar."
            ),
        ),
        Claim(
            "X40",
            source="blog-E",
            text="A bottleneck has one layer more, and more activation functions.",
            test=[
                *all_counts("block-basic-64", depth=2, activations=2),
                *all_counts("block-bottleneck-256", depth=3, activations=3),
                ratio_above("activations", "resnet-50", of="resnet-34"),
            ],
            note="resnet-50 has bottlenecks in place of resnet-34's blocks.",
        ),
        Claim(
            "X41",
            source="impl-D",
            text="Each of the three nets of impl-D has 31 convolutions and one linear layer.",
            test=[
                comparison
                for kind in ("original", "preact", "plain")
                for comparison in all_counts(f"impl-d-{kind}", conv_layers=31, fc_layers=1, depth=32)
            ],
            note=(
                "True of both residual nets. In the linked notebook, the CNN connects 24 convolutions and two linear layers."
            ),
        ),
    ]


def single_layers() -> list[CountedArm]:
    """Layers, and the networks of blog-E's post, that serve claims."""

    def conv(name: str, shape: tuple[int, int, int], **options: int) -> CountedArm:
        return part(name, "fragments.conv", shape, in_channels=shape[0], **options)

    large, mnist = (64, 56, 56), (1, 28, 28)
    return [
        conv("conv-1x1", large, channels=32, kernel=1),
        *(conv(f"conv-3x3-stride-{s}", large, channels=64, kernel=3, stride=s, padding=1) for s in (1, 2, 3)),
        part("pool-2x2", "fragments.pool", large),
        *(conv(f"mnist-conv-padding-{p}", mnist, channels=4, kernel=3, padding=p) for p in (0, 1)),
        conv("mnist-conv-8-channels", mnist, channels=8, kernel=3),
        *(part(f"mnist-{kind}", "mnist.mnist_net", mnist, classes=10, kind=kind) for kind in ("cnn", "lenet")),
    ]


def residual_parts() -> list[CountedArm]:
    """The pair of blocks of He15 figure 5 and the nets of impl-D."""
    return [
        *(
            part(
                f"block-{kind}-{channels}", "fragments.residual_block", (channels, 56, 56), kind=kind, channels=channels
            )
            for kind, channels in (("basic", 64), ("bottleneck", 256))
        ),
        *(
            part(f"impl-d-{kind}", "impl_d.residual_net", CIFAR_IMAGE, classes=10, kind=kind)
            for kind in ("original", "preact")
        ),
        part("impl-d-plain", "impl_d.plain_net", CIFAR_IMAGE, classes=10),
    ]


def complexity() -> Experiment:
    nets = [catalogued_arm(name) for name in (*CLASSICS, *IMAGENET, *HE15_BOTTLENECKS, *CIFAR)]
    lecture = [catalogued_arm(name) for name in ("alexnet", "vgg-16")]
    stems = [
        part("googlenet-stem", "fragments.googlenet_stem", (3, 224, 224)),
        part("vgg-16-stem", "fragments.vgg_16_stem", (3, 224, 224)),
    ]
    stacks = [
        stack("two-3x3", kernel=3, count=2),
        stack("one-5x5", kernel=5, count=1),
        stack("three-3x3", kernel=3, count=3),
        stack("one-7x7", kernel=7, count=1),
    ]
    stages = [
        part(f"stage-{channels}-on-{size}", "fragments.stage", (channels, size, size), channels=channels, size=size)
        for channels, size in ((64, 224), (128, 112), (256, 56))
    ]
    inceptions = [
        part(f"inception-3a{name}", "fragments.inception", (192, 28, 28), module="3a", bottlenecks=bottlenecks)
        for name, bottlenecks in (("", True), ("-without-bottlenecks", False))
    ]
    variants = [
        part("vgg-16-without-conv3-3", "fragments.vgg_16_without_conv3_3", (3, 224, 224)),
        part("resnet-34-A", "imagenet.imagenet_net", (3, 224, 224), kind="resnet", depth=34, shortcut="A"),
    ]

    return Experiment(
        name="complexity",
        title="Complexity: what the architectures cost",
        question=(
            "Which layers of well-known architectures hold the memory, parameters and operations? What made them cheaper? Are "
            "they built as the sources say?"
        ),
        source="notes-B; EECS 498 lecture 8; He15 table 1, figure 5 and section 3.3; blog-A; blog-C; blog-E; impl-D",
        dataset="none",
        arms=[],
        networks=[*nets, *stems, *stacks, *stages, *inceptions, *variants, *single_layers(), *residual_parts()],
        profiles=[
            Profile("quick", iterations=0, seeds=(0,), evaluations=1, dataset="none"),
            Profile("paper", iterations=0, seeds=(0,), evaluations=1, dataset="none"),
        ],
        claims=[
            Claim(
                "X1",
                source="notes-B",
                text="Activation memory is concentrated in the early convolutions.",
                test=[
                    comparison
                    for net in ("alexnet", "vgg-16")
                    for comparison in (
                        count_below("memory_peak_depth", net, 100 / 3, "% of the depth"),
                        count_above("early_memory_share", net, 50, "%"),
                    )
                ],
                note=(
                    "Early: the largest output is in the first third of the layers, and the first third of the convolutions "
                    "holds more than half of all memory."
                ),
            ),
            Claim(
                "X2",
                source="notes-B",
                text="Most parameters of AlexNet and VGG-16 are in the linear layers.",
                test=[count_above("fc_params_share", net, 50, "%") for net in ("alexnet", "vgg-16")],
            ),
            Claim(
                "X3",
                source="notes-B",
                text="Most operations of AlexNet and VGG-16 are in the convolutions.",
                test=[count_above("conv_macs_share", net, 50, "%") for net in ("alexnet", "vgg-16")],
            ),
            Claim(
                "X4",
                source="EECS 498 lecture 8",
                text="VGG-16 has 25 times AlexNet's memory, 2.3 times its parameters and 19.4 times its operations.",
                test=lecture_ratios("vgg-16"),
                note=(
                    "The lecture's totals for VGG-16 and AlexNet: 48.6 and 1.9 MB, 138 and 61 million parameters, 13.6 and "
                    "0.7 billion operations. Its memory excludes pooling, and so does this claim. Claim X4b explains the "
                    "difference."
                ),
            ),
            Claim(
                "X4b",
                source="this project",
                text="The lecture's totals for VGG-16 are those of a net without the third convolution of stage 3.",
                test=[
                    published_count("weighted_memory_kib", "vgg-16-without-conv3-3", 48.6 * 1024, "KiB", within=0.005),
                    published_count("macs", "vgg-16-without-conv3-3", 13.6e9, "multiply-adds", within=0.005),
                    *lecture_ratios("vgg-16-without-conv3-3"),
                ],
            ),
            Claim(
                "X5",
                source="notes-B",
                text="From 224 to 28 pixels, GoogLeNet's stem is more than five times lighter than VGG-16's.",
                test=[
                    ratio_above(metric, "vgg-16-stem", "googlenet-stem", 5)
                    for metric in ("memory_kib", "params", "macs")
                ],
            ),
            Claim(
                "X6",
                source="notes-B, blog-E",
                text="Two 3×3 convolutions cost less than one 5×5, and three cost less than one 7×7.",
                test=[
                    ratio_below(metric, stack, of)
                    for stack, of in (("two-3x3", "one-5x5"), ("three-3x3", "one-7x7"))
                    for metric in ("params", "macs")
                ],
                note="Cost: parameters and operations. The activations need two and three times the memory.",
            ),
            Claim(
                "X6-same",
                source="blog-E",
                text="Such a stack sees the same part of the input as the one large kernel.",
                test=[
                    count_equals("receptive_field", stack, of=of)
                    for stack, of in (("two-3x3", "one-5x5"), ("three-3x3", "one-7x7"))
                ],
            ),
            Claim(
                "X6-less",
                source="notes-B",
                text="Such a stack sees less of the input than the one large kernel.",
                test=[
                    ratio_below("receptive_field", stack, of)
                    for stack, of in (("two-3x3", "one-5x5"), ("three-3x3", "one-7x7"))
                ],
                note="The two sources contradict each other: this claim or X6-same must fail.",
            ),
            Claim(
                "X7",
                source="notes-B",
                text="Doubling the channels after each 2×2 pooling keeps the operations of a stage's convolutions equal.",
                test=[
                    count_equals("conv_macs", after, of=before)
                    for before, after in (
                        ("stage-64-on-224", "stage-128-on-112"),
                        ("stage-128-on-112", "stage-256-on-56"),
                    )
                ],
                note="For convolutions with as many input as output channels. The one that doubles the channels costs half.",
            ),
            Claim(
                "X8",
                source="notes-B",
                text="1×1 bottlenecks cut the cost of an Inception module.",
                test=[
                    ratio_below(metric, "inception-3a", "inception-3a-without-bottlenecks")
                    for metric in ("params", "macs")
                ],
                note="Module 3a with and without the reductions before its 3×3 and 5×5 convolutions; as many output channels.",
            ),
            Claim(
                "X9",
                source="notes-B",
                text="Global average pooling removes the parameters of the linear layers.",
                test=[
                    comparison
                    for net in ("googlenet", "resnet-34")
                    for comparison in (
                        count_is("fc_layers", net, 1),
                        count_above("fc_params_saved", net, 50, "%"),
                        count_below("fc_params_share", net, 50, "%"),
                    )
                ],
                note=(
                    "One linear layer is left. It holds less than half of the net's parameters, and pooling saves more than "
                    "half of the parameters that this layer would need on the last map."
                ),
            ),
            Claim(
                "X10",
                source="He15 table 1 and section 3.3",
                text="The networks need as many operations as the paper states.",
                test=[published_count("macs", net, macs, "multiply-adds") for net, macs in HE15_MACS.items()],
                note=(
                    "The paper's FLOPs are multiply-adds. Bottlenecks have their stride in the first 1×1 convolution, as in "
                    "the paper. torchvision's have it in the 3×3 convolution and need more operations."
                ),
            ),
            Claim(
                "X11",
                source="notes-B",
                text="ZFNet is an enlarged AlexNet: its first convolution is 7×7 with stride 2 instead of 11×11 with stride 4, "
                "convolutions 3 to 5 have 512, 1024 and 512 filters, and memory, parameters and operations are larger.",
                test=[
                    *(
                        count_is(metric, net, value)
                        for net, kernel, stride in (("alexnet", 11, 4), ("zfnet", 7, 2))
                        for metric, value in (("first_kernel", kernel), ("first_stride", stride))
                    ),
                    *(count_is(f"conv{place}_filters", "zfnet", filters) for place, filters in ZFNET_FILTERS.items()),
                    *(ratio_above(metric, "zfnet", "alexnet") for metric in ("memory_kib", "params", "macs")),
                ],
            ),
            Claim(
                "X12",
                source="notes-B",
                text="Pooling and shortcuts have no parameters.",
                test=[
                    *(count_is("pool_params", net, 0) for net in ("alexnet", "vgg-16", "googlenet")),
                    *(count_is("identity_params", net, 0) for net in ("resnet-34-A", "resnet-56")),
                    count_equals("params", "resnet-34-A", of="plain-34"),
                    count_equals("params", "resnet-56", of="plain-56"),
                ],
                note="Shortcuts: identities, as in option A. Projections (option B, in resnet-34) have parameters.",
            ),
            Claim(
                "X13",
                source="notes-B",
                text="Along a network, maps shrink while channels grow.",
                test=[
                    comparison
                    for net in ("lenet-5", "alexnet", "vgg-16", "googlenet", "resnet-50")
                    for comparison in (
                        count_is("map_growths", net, 0),
                        count_is("channel_drops", net, 0),
                        count_above("map_shrinkage", net, 1, "×"),
                        count_above("channel_growth", net, 1, "×"),
                    )
                ],
                note=(
                    "Channels are compared at the ends of stages, at the last map of each size. Within a stage, bottlenecks "
                    "and Inception modules reduce the channels, and AlexNet goes from 384 to 256."
                ),
            ),
            *vgg_claims(),
            *alexnet_claims(),
            *googlenet_claims(),
            *layer_claims(),
            *residual_claims(),
        ],
        answers=[
            "VGG-16 needs {vgg-16.weighted_memory_kib / alexnet.weighted_memory_kib} times AlexNet's memory, "
            "{vgg-16.params / alexnet.params} times its parameters and {vgg-16.macs / alexnet.macs} times its operations.",
            "In VGG-16, the first third of the convolutions holds {vgg-16.early_memory_share} % of the memory, linear layers "
            "hold {vgg-16.fc_params_share} % of the parameters, and convolutions do {vgg-16.conv_macs_share} % of the "
            "operations.",
            "From 224 to 28 pixels, VGG-16 needs {vgg-16-stem.memory_kib / googlenet-stem.memory_kib} times the memory, "
            "{vgg-16-stem.params / googlenet-stem.params} times the parameters and {vgg-16-stem.macs / googlenet-stem.macs} "
            "times the operations of GoogLeNet.",
            "With 1×1 bottlenecks, an Inception module does {inception-3a.macs / inception-3a-without-bottlenecks.macs} times "
            "the operations of one without.",
            "ResNet-152 does {resnet-152.macs / vgg-19.macs} times the operations of VGG-19 and has "
            "{resnet-152.params / vgg-19.params} times its parameters.",
        ],
        figures=[layer_bars(lecture), stem_bars(*stems), accuracy_against_cost(), ilsvrc_by_year()],
        columns=(),
        published=PUBLISHED,
        published_note=(
            "Sources of published values. AlexNet and VGG-16: notes-B. VGG-19's parameters and GoogLeNet's operations: their "
            "papers. Parameters of the CIFAR nets: He15 table 6. Operations of VGG-19, plain-34 and the ResNets: He15 table 1 "
            "and section 3.3, except those of resnet-50 to resnet-152, which have torchvision's stride. These and all other "
            "values: torchvision."
        ),
        deviations=[
            "notes-B says that VGG-19 won the ImageNet challenge of 2014. GoogLeNet won classification; VGG came second.",
            "The lecture's memory totals of AlexNet and VGG-16 exclude pooling, but its tables list it. Both are counted here.",
            "The lecture's table counts linear layers without their biases. Here all layers have biases.",
            "Memory is that of the outputs for one image at test time. ReLU, batch normalization, additions and concatenations "
            "work in place. Training needs more.",
            "Operations are multiply-adds of convolutions and linear layers. Pooling is counted separately. Normalization and "
            "activation functions are not counted.",
            "LeNet-5 is simplified: average pooling without parameters, fully connected channels, and a linear output layer.",
            "GoogLeNet and AlexNet have no local response normalization, and ZFNet has no contrast normalization. Neither has "
            "parameters. ZFNet's pooling layers round up, which gives the maps in its paper's figure.",
            "torchvision's GoogLeNet has 3×3 kernels in the branches named 5×5. Ours has 5×5 as in the paper: 380,928 "
            "parameters more. torchvision's has batch normalization, ours has biases: 7,280 parameters less. Otherwise they "
            "are the same.",
            "Published operations have one decimal. GoogLeNet's 1.5 G is the budget that its paper set (1.583 G counted). "
            "He15's 3.8 G for ResNet-50 looks truncated (3.858 G counted). Claim X4b explains VGG-16's 13.6 G.",
        ],
    )
