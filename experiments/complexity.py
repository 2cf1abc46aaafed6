"""What the architectures cost: memory, parameters and operations, layer by layer.  notes-B; He15 table 1; blog-E.

    make complexity                  counts every network from its modules: under a minute, no data
    make complexity PROFILE=paper    the same
Expected: VGG-16 has 27 times AlexNet's memory, 2.3 times its parameters and 22 times its operations. The lecture has 25,
2.3 and 19.4, for a VGG-16 that lacks a layer. He15's FLOPs are met at every depth.
"""

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
    """A part or variant of a network that serves a claim. The tables of networks leave it out."""
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
        question="Which layers of well-known architectures hold the memory, parameters and operations? What made them cheaper?",
        source="notes-B; He15 table 1 and section 3.3; blog-E",
        dataset="none",
        arms=[],
        networks=[*nets, *stems, *stacks, *stages, *inceptions, *variants],
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
                source="notes-B",
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
