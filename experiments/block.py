"""Original against pre-activation blocks, and a batch normalization that never ran.  impl-D; He16 table 3.

    make block                  450 steps, the first of 50 epochs, one seed: about 20 minutes on two CPU cores
    make block PROFILE=paper    impl-D's 50 epochs and He16's pairs up to 1001 layers, five seeds: days of GPU work
Expected of impl-D's nets after 50 epochs, training loss / validation error: original 0.295 / 31.6 %, proposed
0.360 / 31.8 %, plain 2.303 / 90.5 %. Expected test error of He16's pairs, original → pre-activation:
6.61 → 6.37 % (110 layers), 5.93 → 5.46 % (164), 7.61 → 4.92 % (1001).
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import above, below, between, contrast, lower, not_higher, same, trend
from resnet_repro.config.arm import Arm, ModelSpec, Recipe
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR_WARM_UP, IMPL_D
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.layers import gradient_norms
from resnet_repro.figures.points import errors_by_arm
from resnet_repro.figures.published import ImplDCurves

IMPL_D_POST = replace(IMPL_D, name="impl-d notebook, rate of the post", learning_rate=0.005)
EPOCH = 450  # steps
LADDER_EPOCHS = 5
HARDLY = 81.0  # percent of training error: 90 % of the error of guessing among ten classes
TURN, STEPS = (20.0, 60.0), "% of the steps"  # of epochs 10 to 30
PLAIN_DEPTHS = (8, 14, 20)  # of the reduced plain nets; the source's has 26 connected layers


def impl_d_arm(kind: str, variant: str, recipe: Recipe = IMPL_D) -> Arm:
    """A net of impl-D, in float32. As written, its batch normalization keeps its initial statistics."""
    options = {"statistics": "batch" if variant == "corrected" else "frozen"}
    if kind == "plain":
        model = ModelSpec("impl_d.plain_net", options)
    else:
        model = ModelSpec("impl_d.residual_net", {"kind": kind, **options})
    return Arm(f"{kind}-{variant}", model, recipe, precision="fp32")


def plain_arm(depth: int) -> Arm:
    """A plain net of impl-D with fewer layers, as written, for the first epochs."""
    model = ModelSpec("impl_d.plain_net", {"depth": depth, "statistics": "frozen"})
    share = LADDER_EPOCHS * EPOCH / IMPL_D.iterations
    return Arm(f"plain-{depth}-layers", model, IMPL_D, share=share, precision="fp32")


def he16_arm(kind: str, depth: int, shape: str) -> Arm:
    """A net of He16: "original" or "preact" blocks, basic or bottleneck."""
    name = f"{'resnet' if kind == 'original' else kind}-{depth}"
    model = ModelSpec("he16.he16_net", {"kind": kind, "depth": depth, "block": shape})
    return Arm(name, model, HE15_CIFAR_WARM_UP)


def impl_d_claims(suffix: str, variant: str, source: str, condition: str = "") -> list[Claim]:
    """Claims B1 to B4 about the arms of one variant.

    suffix: ends the claims' names, as in B1c. condition: ends their texts, and names the change from the source's nets.
    """
    plain, original, preact = (f"{kind}-{variant}" for kind in ("plain", "original", "preact"))
    as_published = variant == "as-written"
    of_the_source = (lambda value: value) if as_published else (lambda value: None)
    return [
        Claim(
            f"B1{suffix}",
            source,
            f"The plain net hardly learns{condition}.",
            measured=as_published,
            test=[above("train_error", plain, HARDLY, unit="%", published=of_the_source(89.94))],
            needs_paper_budget=True,
            refuted_early=True,
            note=f"Guessing has 90 % training error. Hardly: the net's stays above {HARDLY:g} %, nine tenths of that.",
        ),
        Claim(
            f"B2{suffix}",
            source,
            f"The proposed block reaches a lower training loss than the original one{condition}.",
            measured=as_published,
            test=[lower("mean_train_loss", preact, than=original, unit="nats", published=of_the_source(-0.122))],
            needs_paper_budget=True,
            note="By the mean over the training, one reading an epoch: the source's proposed net is lower in 46 of 50 epochs.",
        ),
        Claim(
            f"B3{suffix}",
            source,
            f"The validation losses of both are close and rise from about epoch 20{condition}: they overfit.",
            measured=as_published,
            test=[
                above("validation_loss_rise", original, 0.1, unit="nats", published=of_the_source(0.565)),
                above("validation_loss_rise", preact, 0.1, unit="nats", published=of_the_source(0.823)),
                between("validation_loss_lowest_at", original, *TURN, unit=STEPS, published=of_the_source(44.0)),
                between("validation_loss_lowest_at", preact, *TURN, unit=STEPS, published=of_the_source(40.0)),
                same("mean_validation_loss", preact, as_=original, by=0.25, unit="nats"),
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
            measured=as_published,
            test=[lower("mean_validation_error", preact, than=original, published=of_the_source(-2.31))],
            needs_paper_budget=True,
            note="By the mean over the training, one reading an epoch: the source's proposed net is better in 47 of 50 epochs.",
        ),
    ]


def why_plain_fails() -> list[Claim]:
    """The source's two explanations for the plain net, and what batch normalization has to do with it."""
    plain, original = "plain-as-written", "original-as-written"
    shallowest, *_ = ladder = [*(f"plain-{depth}-layers" for depth in PLAIN_DEPTHS), plain]
    return [
        Claim(
            "B1-depth",
            source="impl-D",
            text="The plain net hardly learns because too many layers are stacked.",
            test=[
                trend("train_error", ladder, sign=1),
                below("train_error", shallowest, HARDLY, unit="%"),
                above("train_error", plain, HARDLY, unit="%", published=89.94),
            ],
            needs_paper_budget=True,
            from_prefix=LADDER_EPOCHS * EPOCH,
            note=(
                f"Nets of {', '.join(map(str, PLAIN_DEPTHS))} layers are trained for {LADDER_EPOCHS} epochs. The source's net "
                "has 26 layers with weights; beside them it may have been trained for all 50 epochs."
            ),
        ),
        Claim(
            "B1-gradients",
            source="impl-D",
            text="At the first step, the gradients of the plain net are less than a thousandth of those of the residual net.",
            test=[not_higher("first_gradient", plain, than=original, margin=-3.0, unit="decades")],
            note=(
                "Gradients of the first third of the layers. Those of the residual net are unusually large; whether those "
                "of the plain net vanish is B1-decay."
            ),
        ),
        Claim(
            "B1-decay",
            source="impl-D",
            text="The gradients of the plain net vanish towards its first layers.",
            test=[below("first_gradient_decay", plain, -1.0, unit="decades")],
            note="At the first step, the first third of the layers has gradients less than a tenth of those of the last third.",
        ),
        Claim(
            "B1d",
            source="this project, on impl-D",
            text="Most of the plain net's lag comes from batch normalization that never ran.",
            test=[
                contrast(
                    "train_error",
                    {plain: 0.5, "original-corrected": 0.5, "plain-corrected": -1},
                    sign=1,
                    statement=f"training error: half of {plain}'s lag − the lag of plain-corrected",
                ),
                lower("train_error", "plain-corrected", than=plain),
            ],
            needs_paper_budget=True,
            note=(
                "Lag: the difference in training error to the original net with working batch normalization. Most: the "
                "correction removes more than half of it."
            ),
        ),
    ]


def block() -> Experiment:
    kinds = ("plain", "original", "preact")
    as_written, at_the_posts_rate, corrected = (
        [impl_d_arm(kind, variant, recipe) for kind in kinds]
        for variant, recipe in (("as-written", IMPL_D), ("as-written-0.005", IMPL_D_POST), ("corrected", IMPL_D))
    )
    ladder = [plain_arm(depth) for depth in PLAIN_DEPTHS]
    he16 = [
        cifar_arm("resnet", 110, HE15_CIFAR_WARM_UP),
        he16_arm("preact", 110, "basic"),
        *[he16_arm(kind, depth, "bottleneck") for depth in (164, 1001) for kind in ("original", "preact")],
    ]
    impl_d = [*as_written, *at_the_posts_rate, *corrected]
    panels = {
        "as written": as_written,
        "as written, rate 0.005": at_the_posts_rate,
        "corrected": corrected,
    }

    return Experiment(
        name="block",
        title="Blocks: original, pre-activation, plain",
        question=(
            "Is the pre-activation block better than the original one? How much of impl-D's finding that a plain net "
            "hardly learns comes from batch normalization that never ran?"
        ),
        source="impl-D; He16, table 3",
        dataset="cifar10",
        arms=[*impl_d, *ladder, *he16],
        profiles=[
            Profile(
                "quick",
                iterations=EPOCH,
                seeds=(0,),
                evaluations=5,
                dataset="auto",
                arms=tuple(arm.name for arm in impl_d),
            ),
            Profile("paper", iterations=None, seeds=(0, 1, 2, 3, 4), evaluations=50, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "B0",
                measured=True,
                source="impl-D",
                text="The losses of both residual nets fall steadily.",
                test=[
                    above("train_loss_least_fall", "original-as-written", 0.02, unit="nats", published=0.104),
                    above("train_loss_least_fall", "preact-as-written", 0.02, unit="nats", published=0.081),
                ],
                needs_paper_budget=True,
                note=(
                    "Steadily: the mean training loss of each fifth of the training is lower than that of the fifth before, by "
                    "more than 0.02 nats."
                ),
            ),
            *impl_d_claims("", "as-written", "impl-D"),
            *why_plain_fails(),
            Claim(
                "B0-rate",
                source="this project, on impl-D",
                text="At the post's learning rate of 0.005, the original net does not learn.",
                test=[above("train_error", "original-as-written-0.005", HARDLY, unit="%")],
                needs_paper_budget=True,
                from_prefix=LADDER_EPOCHS * EPOCH,
                refuted_early=True,
                note="The notebook's log shows it diverging; the published run used 0.003.",
            ),
            *impl_d_claims("c", "corrected", "this project, on impl-D", ", with working batch normalization"),
            *[
                Claim(
                    name,
                    source="He16 table 3",
                    measured=True,
                    seeds=seeds,
                    text=f"At {depth} layers, pre-activation has the lower test error.",
                    test=[lower("test_error", f"preact-{depth}", than=f"resnet-{depth}", published=effect)],
                    needs_paper_budget=True,
                )
                for name, depth, effect, seeds in (
                    ("B5", 110, -0.24, 12),
                    ("B6", 164, -0.47, 5),
                    ("B7", 1001, -2.69, 5),
                )
            ],
        ],
        answers=[
            *[
                f"{words}, after {{steps}} steps, the plain net has {{plain-{variant}.train_error}} % training error, the "
                f"net with original blocks {{original-{variant}.train_error}} % and the net with proposed blocks "
                f"{{preact-{variant}.train_error}} %."
                for words, variant in (
                    ("As written", "as-written"),
                    ("As written, at the post's rate of 0.005", "as-written-0.005"),
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
                panels,
                dashed="train_loss",
                solid="validation_loss",
                label="cross-entropy (nats)",
                log=True,
                published=ImplDCurves("loss"),
            ),
            curves(
                "errors",
                panels,
                dashed="train_error",
                solid="validation_error",
                label="error (%)",
                published=ImplDCurves("error"),
            ),
            curves(
                "depths",
                {"plain nets, as written": [*ladder, as_written[0]]},
                dashed="train_error",
                solid="validation_error",
                label="error (%)",
            ),
            gradient_norms([*as_written, *corrected]),
            errors_by_arm({"impl-D": impl_d, "He16": he16}),
        ],
        published={
            "plain-as-written": {
                "train_loss": 2.303,
                "validation_loss": 2.303,
                "train_error": 89.94,
                "validation_error": 90.5,
                "test_error": 90.0,
            },
            "original-as-written": {
                "train_loss": 0.295,
                "validation_loss": 1.502,
                "train_error": 10.08,
                "validation_error": 31.6,
                "test_error": 32.41,
            },
            "preact-as-written": {
                "train_loss": 0.36,
                "validation_loss": 1.742,
                "train_error": 11.31,
                "validation_error": 31.82,
                "test_error": 31.79,
            },
            "resnet-110": {"test_error": 6.61},
            "preact-110": {"test_error": 6.37},
            "resnet-164": {"test_error": 5.93},
            "preact-164": {"test_error": 5.46},
            "resnet-1001": {"test_error": 7.61},
            "preact-1001": {"test_error": 4.92},
        },
        published_note=(
            "Published values: impl-D's table beside its notebook, one run after 22,500 steps; He16 table 3, after 64,000 "
            "steps, medians of five runs."
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
            "impl-D's post and its notebook disagree; the arms follow the notebook. The post says 40,000 training images, a "
            "rate of 0.005 and 31 convolutions in each net. The notebook trains on 45,000 images, sets the rate to 0.003 "
            "before its published run, and connects 24 convolutions and two linear layers in the plain net.",
            "As written, the statistics of batch normalization stay at mean 0 and variance 1 (ε 0.001); only scale and shift "
            "are learned. Corrected, batch normalization has TensorFlow's defaults: ε 0.001 and a decay of 0.99.",
            "The images keep one order in every epoch, as in the source, but not the source's: they are sorted by a digest of "
            "their contents, on any data set, so that every source of the data gives the same order. The last 5,000 of it are "
            "the validation images.",
            "Training loss and error along the training are measured on the first 10,000 training images; the source measures "
            "all 45,000.",
            "Adam has TensorFlow's default constants (0.9, 0.999, ε 1e-8). ε is added to the root of the corrected moment, as "
            "in PyTorch; TensorFlow adds it before the correction.",
            "Xavier initialization is uniform, TensorFlow's default. Biases start at zero.",
            "The reduced plain nets of 8, 14 and 20 layers are ours. They keep three stages in the source's proportions.",
            "On CIFAR-100 the validation split, rates and lengths are the same. The thresholds of 81 % are those for ten "
            "classes.",
            "He16's nets are trained with He15's recipe and warm-up. Strides and projections follow He16's published code. "
            "Weights are drawn with the fan-in, as everywhere here; that code uses the fan-out. If the size changes, the "
            "shortcut of preact-110 starts after the first BN-ReLU. The paper says this of projections, which preact-110 does "
            "not have.",
            "impl-D's nets are trained in float32. Arithmetic of He16's is bf16 autocast if the hardware supports it, with "
            "float32 weights.",
        ],
    )
