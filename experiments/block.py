"""Original against pre-activation blocks, and a batch normalization that never ran.  impl-D; He16 table 3.

    make block                  400 steps, one seed: about 21 minutes on two CPU cores
    make block PROFILE=paper    impl-D's 50 epochs and He16's pairs up to 1001 layers, five seeds: days of GPU work
Expected: as written, the plain net stays at chance; with working batch normalization it learns.
Expected test error of He16's pairs, original → pre-activation: 6.61 → 6.37 % (110 layers), 5.93 → 5.46 % (164),
7.61 → 4.92 % (1001).
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import above, below, contrast, lower, not_higher
from resnet_repro.config.arm import Arm, ModelSpec, Recipe
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR_WARM_UP, IMPL_D
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.points import errors_by_arm

# The post does not say how its images are scaled. The arms cover the two usual ways.
IMPL_D_STANDARD = replace(IMPL_D, name="impl-d, zero mean and unit variance", scaling="standard")


def impl_d_arm(kind: str, variant: str, recipe: Recipe) -> Arm:
    """A 32-layer net of impl-D. As written, its batch normalization keeps its initial statistics."""
    statistics = "batch" if variant == "corrected" else "frozen"
    options = {"kind": kind, "depth": 32, "statistics": statistics}
    return Arm(f"{kind}-32-{variant}", ModelSpec("impl_d.impl_d_net", options), recipe)


def he16_arm(kind: str, depth: int, shape: str) -> Arm:
    """A net of He16: "original" or "preact" blocks, basic or bottleneck."""
    name = f"{'resnet' if kind == 'original' else kind}-{depth}"
    model = ModelSpec("he16.he16_net", {"kind": kind, "depth": depth, "block": shape})
    return Arm(name, model, HE15_CIFAR_WARM_UP)


def impl_d_claims(suffix: str, variant: str, source: str, condition: str = "") -> list[Claim]:
    """Claims B1 to B4 about the arms of one variant.

    suffix: ends the claims' names, as in B1c. condition: ends their texts, and names the change from the source's nets.
    """
    plain, original, preact = (f"{kind}-32-{variant}" for kind in ("plain", "original", "preact"))
    return [
        Claim(
            f"B1{suffix}",
            source,
            f"The plain net of 32 layers hardly learns{condition}.",
            test=[
                contrast(
                    "train_error_of_guessing",
                    {plain: 1},
                    sign=1,
                    threshold=90.0,
                    statement=f"training error of {plain} > 90 % of the error of guessing",
                    unit="%",
                )
            ],
            needs_paper_budget=True,
            refuted_early=True,
            note="Hardly: its training error stays above 90 % of the error of guessing.",
        ),
        Claim(
            f"B2{suffix}",
            source,
            f"The proposed block reaches a lower training loss than the original one{condition}.",
            test=[lower("train_loss", preact, than=original, unit="nats")],
            needs_paper_budget=True,
        ),
        Claim(
            f"B3{suffix}",
            source,
            f"The validation losses of both are close and rise from about epoch 20{condition}: they overfit.",
            test=[
                *[above("validation_loss_rise", arm, 0.1, unit="nats") for arm in (original, preact)],
                *[above("validation_loss_lowest_at", arm, 20.0, unit="% of the steps") for arm in (original, preact)],
                *[below("validation_loss_lowest_at", arm, 60.0, unit="% of the steps") for arm in (original, preact)],
                not_higher("mean_validation_loss", preact, than=original, margin=0.25, unit="nats"),
                not_higher("mean_validation_loss", original, than=preact, margin=0.25, unit="nats"),
            ],
            needs_paper_budget=True,
            note=(
                "Rise: each loss ends more than 0.1 nats above its lowest value, which occurs between epochs 10 and 30. "
                "Close: their means over the training differ by less than 0.25 nats."
            ),
        ),
        Claim(
            f"B4{suffix}",
            source,
            f"The proposed block is the more accurate one throughout{condition}.",
            test=[lower(f"validation_error_{part}", preact, than=original) for part in ("start", "middle", "end")],
            needs_paper_budget=True,
            note="Throughout: in each third of the training, by the mean validation error.",
        ),
    ]


def block() -> Experiment:
    kinds = ("plain", "original", "preact")
    as_written = [impl_d_arm(kind, "as-written", IMPL_D) for kind in kinds]
    rescaled = [impl_d_arm(kind, "as-written-standard", IMPL_D_STANDARD) for kind in kinds]
    corrected = [impl_d_arm(kind, "corrected", IMPL_D) for kind in kinds]
    he16 = [
        cifar_arm("resnet", 110, HE15_CIFAR_WARM_UP),
        he16_arm("preact", 110, "basic"),
        *[he16_arm(kind, depth, "bottleneck") for depth in (164, 1001) for kind in ("original", "preact")],
    ]
    impl_d = [*as_written, *rescaled, *corrected]

    return Experiment(
        name="block",
        title="Blocks: original, pre-activation, plain",
        question=(
            "Is the pre-activation block better than the original one? How much of impl-D's finding that a plain net "
            "hardly learns comes from batch normalization that never ran?"
        ),
        source="impl-D; He16, table 3",
        dataset="cifar10",
        arms=[*impl_d, *he16],
        profiles=[
            Profile(
                "quick",
                iterations=400,
                seeds=(0,),
                evaluations=4,
                dataset="auto",
                arms=tuple(arm.name for arm in impl_d),
            ),
            Profile("paper", iterations=None, seeds=(0, 1, 2, 3, 4), evaluations=50, dataset="cifar10"),
        ],
        claims=[
            *impl_d_claims("", "as-written", "impl-D"),
            *impl_d_claims(
                "-scaling",
                "as-written-standard",
                "impl-D, inputs scaled the other way",
                ", with inputs scaled the other way",
            ),
            *impl_d_claims("c", "corrected", "this project, on impl-D", ", with working batch normalization"),
            Claim(
                "B1d",
                source="this project, on impl-D",
                text="Most of the plain net's lag comes from batch normalization that never ran.",
                test=[
                    contrast(
                        "train_error",
                        {"plain-32-as-written": 0.5, "original-32-corrected": 0.5, "plain-32-corrected": -1},
                        sign=1,
                        statement="training error: half of plain-32-as-written's lag exceeds the lag of plain-32-corrected",
                    ),
                    lower("train_error", "plain-32-corrected", than="plain-32-as-written"),
                ],
                needs_paper_budget=True,
                note=(
                    "Lag: the difference in training error to the original net with working batch normalization. Most: the "
                    "correction removes more than half of it."
                ),
            ),
            *[
                Claim(
                    name,
                    source="He16 table 3",
                    text=f"At {depth} layers, pre-activation has the lower test error.",
                    test=[lower("test_error", f"preact-{depth}", than=f"resnet-{depth}")],
                    needs_paper_budget=True,
                )
                for name, depth in (("B5", 110), ("B6", 164), ("B7", 1001))
            ],
        ],
        answers=[
            *[
                f"{words}, after {{steps}} steps, the plain net has {{plain-32-{variant}.train_error}} % training error, the "
                f"net with original blocks {{original-32-{variant}.train_error}} % and the net with proposed blocks "
                f"{{preact-32-{variant}.train_error}} %."
                for words, variant in (
                    ("As written", "as-written"),
                    ("As written, on inputs of zero mean and unit variance", "as-written-standard"),
                    ("With working batch normalization", "corrected"),
                )
            ],
            *[
                f"At {depth} layers, after {{steps}} steps, the test error is {{resnet-{depth}.test_error}} % with original "
                f"blocks and {{preact-{depth}.test_error}} % with pre-activation."
                for depth in (110, 164, 1001)
            ],
        ],
        figures=[
            curves(
                "losses",
                {
                    "as written, images in [0, 1]": as_written,
                    "as written, zero mean and unit variance": rescaled,
                    "corrected": corrected,
                },
                dashed="running_train_loss",
                solid="validation_loss",
                label="cross-entropy (nats)",
                log=True,
            ),
            errors_by_arm({"impl-D": impl_d, "He16": he16}),
        ],
        published={
            "resnet-110": {"test_error": 6.61},
            "preact-110": {"test_error": 6.37},
            "resnet-164": {"test_error": 5.93},
            "preact-164": {"test_error": 5.46},
            "resnet-1001": {"test_error": 7.61},
            "preact-1001": {"test_error": 4.92},
        },
        published_note=(
            "Published values after 64,000 steps: He16 table 3, medians of five runs. impl-D's curves are not compared here."
        ),
        columns=(
            Column("train_loss", "train loss", 3),
            Column("validation_loss", "val. loss", 3),
            Column("train_error", "train %"),
            Column("validation_error", "val. %"),
            Column("test_error", "test %"),
            Column("best_test_error", "best test %"),
        ),
        deviations=[
            "As written, the statistics of batch normalization stay at mean 0 and variance 1 (ε 0.001); only scale and shift "
            "are learned. Corrected, batch normalization has TensorFlow's defaults: ε 0.001 and a decay of 0.99. After a few "
            "hundred steps at this learning rate, its running statistics still lag behind the weights. Errors in evaluation "
            "mode, on which claims are judged, are then above the running training error.",
            "The post does not say how images were scaled. The as-written arms use pixels in [0, 1], and zero mean and unit "
            "variance.",
            "The validation images are the last 10,000 training images in an order by contents. The post does not say which it "
            "holds out.",
            "Adam has TensorFlow's default constants (0.9, 0.999, ε 1e-8). ε is added to the root, as in PyTorch.",
            "Xavier initialization is uniform, TensorFlow's default. Biases start at zero.",
            "On CIFAR-100 the validation split, rates and lengths are the same. Thresholds scale with the error of guessing.",
            "He16's nets are trained with He15's recipe and warm-up. Strides and projections follow He16's published code. "
            "Weights are drawn with the fan-in, as everywhere here; that code uses the fan-out. If the size changes, the "
            "shortcut of preact-110 starts after the first BN-ReLU. The paper says this of projections, which preact-110 does "
            "not have.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
