"""A bottleneck ResNet with few and with many blocks against a VGG on Fashion-MNIST.  blog-A.

    make fashion                  one epoch, three seeds: 20 minutes on two CPU cores
    make fashion PREFIX=11725     25 of 100 epochs at the same constant rate; decides the claims on few blocks and width
    make fashion PROFILE=paper    100 epochs, five seeds: needs a GPU
Expected: the VGG has about 8 % test error, the narrow net with one block per stage more, and the wide one less than the narrow
one.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import contrast, higher, lower, ratio_below
from resnet_repro.config.arm import Arm, ModelSpec, Recipe
from resnet_repro.config.families import counted_arm
from resnet_repro.config.recipes import BLOG_A_FASHION, BLOG_A_NOT_AUGMENTED
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.points import errors_by_arm

WIDTHS = {"narrow": 32, "wide": 64}
BLOCKS = {14: {"blocks": 1}, 50: {}}  # by number of layers: one block per stage as in the source, or He15's 3, 4, 6, 3
WHILE_RATE_IS_CONSTANT = 11_725  # steps of a prefix that decides: 25 of 100 epochs


def resnet(layers: int, size: str, recipe: Recipe = BLOG_A_FASHION, suffix: str = "") -> Arm:
    model = ModelSpec("fashion.fashion_resnet", {"width": WIDTHS[size], **BLOCKS[layers]})
    return Arm(f"resnet-{layers}-{size}{suffix}", model, recipe)


def fashion() -> Experiment:
    vgg = Arm("vgg", ModelSpec("classics.small_vgg"), BLOG_A_FASHION)
    few = [resnet(14, size) for size in WIDTHS]
    many = [resnet(50, size) for size in WIDTHS]
    not_augmented = [resnet(layers, "narrow", BLOG_A_NOT_AUGMENTED, "-not-augmented") for layers in BLOCKS]
    basic = [
        counted_arm(
            f"basic-{size}", "fashion.fashion_resnet", (1, 28, 28), 10, control=True, width=width, block="basic"
        )
        for size, width in WIDTHS.items()
    ]
    quick = [vgg, *few, many[0], *not_augmented]

    return Experiment(
        name="fashion",
        title="Fashion-MNIST: bottleneck ResNet against VGG",
        question=(
            "Is a ResNet with few blocks and few filters less accurate than a VGG? Do more blocks or more filters help? What "
            "does augmentation do, and what do bottlenecks save?"
        ),
        source="blog-A",
        dataset="fashion-mnist",
        arms=[vgg, *few, *many, *not_augmented],
        networks=basic,
        profiles=[
            Profile(
                "quick",
                iterations=469,
                seeds=(0, 1, 2),
                evaluations=3,
                dataset="auto",
                arms=tuple(arm.name for arm in quick),
            ),
            Profile("paper", iterations=46_900, seeds=(0, 1, 2, 3, 4), evaluations=100, dataset="fashion-mnist"),
        ],
        claims=[
            Claim(
                "F0",
                source="blog-A",
                text="The ResNet stays behind the VGG because it has few residual blocks.",
                test=[
                    higher("test_error", "resnet-14-narrow", than="vgg"),
                    lower("test_error", "resnet-50-narrow", than="resnet-14-narrow"),
                    contrast(
                        "test_error",
                        {"resnet-14-narrow": 0.5, "vgg": 0.5, "resnet-50-narrow": -1},
                        sign=1,
                        statement="test error: (vgg + resnet-14-narrow) / 2 − resnet-50-narrow",
                    ),
                ],
                needs_paper_budget=True,
                from_prefix=WHILE_RATE_IS_CONSTANT,
                note="If so, the same net with all 16 blocks makes up for at least half of the distance to the VGG.",
            ),
            Claim(
                "F1",
                measured=True,
                source="blog-A",
                text="The narrow ResNet with few blocks stays below the VGG in accuracy.",
                test=[higher("test_error", "resnet-14-narrow", than="vgg")],
                needs_paper_budget=True,
                from_prefix=WHILE_RATE_IS_CONSTANT,
            ),
            Claim(
                "F2",
                measured=True,
                source="blog-A",
                text="More filters help: the wide ResNet with few blocks has the lower test error.",
                test=[lower("test_error", "resnet-14-wide", than="resnet-14-narrow")],
                needs_paper_budget=True,
                from_prefix=WHILE_RATE_IS_CONSTANT,
            ),
            Claim(
                "F3",
                source="blog-A, blog-C, blog-E",
                text="Bottleneck blocks cost fewer parameters and operations than basic blocks of the same width.",
                test=[
                    ratio_below(quantity, f"resnet-50-{size}", of=f"basic-{size}")
                    for size in WIDTHS
                    for quantity in ("parameters", "multiply_adds")
                ],
                note="The basic net has the same number of blocks, each with two 3×3 convolutions of C channels instead of "
                "(C, C/4, C).",
            ),
            Claim(
                "F4",
                source="blog-A",
                text=(
                    "Augmentation reduces overfitting: with it the gap between test and training error is smaller, and the "
                    "test error is lower."
                ),
                test=[
                    lower(metric, f"resnet-{layers}-narrow", than=f"resnet-{layers}-narrow-not-augmented")
                    for metric in ("generalization_gap", "test_error")
                    for layers in BLOCKS
                ],
                needs_paper_budget=True,
                from_prefix=WHILE_RATE_IS_CONSTANT,
                note="The gap: test error minus training error after the last step, both on images that are not augmented.",
            ),
        ],
        answers=[
            "After {steps} steps, the VGG has {vgg.test_error} % test error; with one block per stage the narrow ResNet has "
            "{resnet-14-narrow.test_error} % and the wide one {resnet-14-wide.test_error} %.",
            "With 16 blocks, the narrow ResNet has {resnet-50-narrow.test_error} % and the wide one "
            "{resnet-50-wide.test_error} %.",
            "The gap between test and training error is {resnet-14-narrow.generalization_gap} points with augmentation and "
            "{resnet-14-narrow-not-augmented.generalization_gap} without it; with 16 blocks "
            "{resnet-50-narrow.generalization_gap} and {resnet-50-narrow-not-augmented.generalization_gap}.",
            "With bottleneck blocks, the narrow net of 16 blocks has "
            "{resnet-50-narrow.parameters / basic-narrow.parameters} times the parameters and "
            "{resnet-50-narrow.multiply_adds / basic-narrow.multiply_adds} times the multiply-adds of the same net with basic "
            "blocks.",
        ],
        figures=[
            curves(
                "errors",
                {"one block per stage": [vgg, *few], "16 blocks": [vgg, *many], "no augmentation": not_augmented},
                dashed="running_train_error",
                solid="test_error",
                label="error (%)",
            ),
            errors_by_arm({"Fashion-MNIST": [vgg, *few, *many, *not_augmented]}),
        ],
        published={"vgg": {"test_error": 8.0}},
        published_note="Published: the author's VGG reached 92 % accuracy. The source gives no numbers for its ResNet.",
        deviations=[
            "The source calls its net ResNet-50 and says that it has few residual blocks, without a number. Here, few means "
            "one block per stage: 14 layers. The nets with 3, 4, 6 and 3 blocks are not in the source.",
            "Ours, because the source leaves it open: stages of 32 to 256 channels (narrow) or 64 to 512 (wide), a quarter of "
            "them inside a block; a 3×3 stem without pooling and as wide as the first stage; in a stage's first block, the "
            "stride of 2 in the 3×3 convolution and a projection shortcut.",
            "Ours: the VGG has three stages of two 3×3 convolutions with batch normalization and 32, 64 and 128 channels, then "
            "a linear layer of 256 units with dropout.",
            "Ours: Adam with a constant rate of 0.001 and batch 128; 100 epochs for all nets; He15's augmentation (pad 4, "
            "random crop, horizontal flip); images scaled to mean 0 and variance 1.",
            "The last epoch counts. The source does not say whether its 92 % is the last or the best epoch.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
