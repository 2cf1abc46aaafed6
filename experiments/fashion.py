"""A bottleneck ResNet-50, narrow and wide, against a VGG on Fashion-MNIST.  blog-A.

    make fashion                  one epoch, three seeds: 20 minutes on two CPU cores
    make fashion PROFILE=paper    100 epochs, five seeds: needs a GPU
Expected: the VGG has about 8 % test error, the narrow ResNet-50 more, and the wide ResNet-50 less than the narrow one.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import higher, lower, ratio_below
from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.families import counted_arm
from resnet_repro.config.recipes import BLOG_A_FASHION
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.points import errors_by_arm

WIDTHS = {"narrow": 32, "wide": 64}


def fashion() -> Experiment:
    vgg = Arm("vgg", ModelSpec("classics.small_vgg"), BLOG_A_FASHION)
    resnets = [
        Arm(f"resnet-50-{size}", ModelSpec("fashion.fashion_resnet", {"width": width}), BLOG_A_FASHION)
        for size, width in WIDTHS.items()
    ]
    basic = [
        counted_arm(
            f"basic-{size}", "fashion.fashion_resnet", (1, 28, 28), 10, control=True, width=width, block="basic"
        )
        for size, width in WIDTHS.items()
    ]

    return Experiment(
        name="fashion",
        title="Fashion-MNIST: bottleneck ResNet-50 against VGG",
        question="Is a ResNet-50 with few filters less accurate than a VGG? Do more filters help? What do bottlenecks save?",
        source="blog-A",
        dataset="fashion-mnist",
        arms=[vgg, *resnets],
        networks=basic,
        profiles=[
            Profile("quick", iterations=469, seeds=(0, 1, 2), evaluations=3, dataset="auto"),
            Profile("paper", iterations=46_900, seeds=(0, 1, 2, 3, 4), evaluations=100, dataset="fashion-mnist"),
        ],
        claims=[
            Claim(
                "F1",
                source="blog-A",
                text="The narrow ResNet-50 stays below the VGG in accuracy.",
                test=[higher("test_error", "resnet-50-narrow", than="vgg")],
                needs_paper_budget=True,
            ),
            Claim(
                "F2",
                source="blog-A",
                text="More filters help: the wide ResNet-50 has the lower test error.",
                test=[lower("test_error", "resnet-50-wide", than="resnet-50-narrow")],
                needs_paper_budget=True,
            ),
            Claim(
                "F3",
                source="blog-A",
                text="Bottleneck blocks cost fewer parameters and operations than basic blocks of the same width.",
                test=[
                    ratio_below(quantity, f"resnet-50-{size}", of=f"basic-{size}")
                    for size in WIDTHS
                    for quantity in ("parameters", "multiply_adds")
                ],
                note="The basic net has the same number of blocks, each with two 3×3 convolutions of C channels instead of "
                "(C, C/4, C).",
            ),
        ],
        answers=[
            "After {steps} steps, the VGG has {vgg.test_error} % test error, the narrow ResNet-50 "
            "{resnet-50-narrow.test_error} % and the wide one {resnet-50-wide.test_error} %.",
            "With bottleneck blocks, the narrow net has {resnet-50-narrow.parameters / basic-narrow.parameters} times the "
            "parameters and {resnet-50-narrow.multiply_adds / basic-narrow.multiply_adds} times the multiply-adds of the same "
            "net with basic blocks.",
        ],
        figures=[
            curves(
                "errors",
                {"Fashion-MNIST": [vgg, *resnets]},
                dashed="running_train_error",
                solid="test_error",
                label="error (%)",
            ),
            errors_by_arm({"Fashion-MNIST": [vgg, *resnets]}),
        ],
        published={"vgg": {"test_error": 8.0}},
        published_note="Published: the author's VGG reached 92 % accuracy. The source gives no numbers for its ResNet.",
        deviations=[
            "Ours, because the source leaves it open: stages of 32 to 256 channels (narrow) or 64 to 512 (wide), a quarter of "
            "them inside a block; a 3×3 stem without pooling; in a stage's first block, the stride of 2 in the 3×3 "
            "convolution and a projection shortcut.",
            "Ours: the VGG has three stages of two 3×3 convolutions with batch normalization and 32, 64 and 128 channels, then "
            "a linear layer of 256 units with dropout.",
            "Ours: Adam with a constant rate of 0.001 and batch 128; 100 epochs for all nets; He15's augmentation (pad 4, "
            "random crop, horizontal flip); images scaled to mean 0 and variance 1.",
            "The last epoch counts. The source does not say whether its 92 % is the last or the best epoch.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
