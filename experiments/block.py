"""Original against pre-activation blocks, and a batch normalization that never ran.  impl-D; He16 tables 2 and 4.

    make block                  400 steps, one seed: about 20 minutes on two CPU cores
    make block PROFILE=paper    impl-D's 50 epochs and He16's pairs up to 1001 layers, five seeds: days of GPU work
Expected: as written the plain net stays at chance; once its batch normalization works it learns. He16's pairs:
6.61 → 6.37 (110), 5.93 → 5.46 (164), 7.61 → 4.92 % test error (1001).
"""

from dataclasses import replace

from resnet_repro.analysis.claims import Claim, above, contrast, lower
from resnet_repro.arms import cifar_arm
from resnet_repro.experiment import Arm, Column, Experiment, ModelSpec, Profile, Recipe
from resnet_repro.recipes import HE15_CIFAR_WARM_UP, IMPL_D
from resnet_repro.report.curves import curves
from resnet_repro.report.points import errors_by_arm

# The source does not say how it scaled its images; both usual ways are tried.
IMPL_D_STANDARD = replace(IMPL_D, name="impl-d, zero mean and unit variance", scaling="standard")


def impl_d_arm(kind: str, variant: str, recipe: Recipe) -> Arm:
    """A 32-layer net of impl-D; as written its batch normalization keeps the statistics that it began with."""
    statistics = "batch" if variant == "corrected" else "frozen"
    options = {"kind": kind, "depth": 32, "statistics": statistics}
    return Arm(f"{kind}-32-{variant}", ModelSpec("impl_d.impl_d_net", options), recipe)


def he16_arm(kind: str, depth: int, shape: str) -> Arm:
    """A net of He16: "original" or "preact" blocks, basic or bottleneck."""
    name = f"{'resnet' if kind == 'original' else kind}-{depth}"
    model = ModelSpec("he16.he16_net", {"kind": kind, "depth": depth, "block": shape})
    return Arm(name, model, HE15_CIFAR_WARM_UP)


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
        source="impl-D; He16, tables 2 and 4",
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
            Claim(
                "B1",
                source="impl-D",
                text="The plain net of 32 layers hardly learns.",
                test=[above("train_error", "plain-32-as-written", 80.0, unit="%")],
                note="Hardly: its training error stays above 80 %; guessing has 90 %.",
            ),
            Claim(
                "B1-scaling",
                source="impl-D, inputs scaled the other way",
                text="The plain net hardly learns from images of zero mean and unit variance either.",
                test=[above("train_error", "plain-32-as-written-standard", 80.0, unit="%")],
            ),
            Claim(
                "B1c",
                source="this project, on impl-D",
                text="The plain net hardly learns even once its batch normalization works.",
                test=[above("train_error", "plain-32-corrected", 80.0, unit="%")],
            ),
            Claim(
                "B1d",
                source="this project, on impl-D",
                text="Most of the plain net's lag comes from batch normalization that never ran.",
                test=[
                    contrast(
                        "train_error",
                        {
                            "plain-32-as-written": 0.5,
                            "original-32-as-written": -0.5,
                            "plain-32-corrected": -1,
                            "original-32-corrected": 1,
                        },
                        sign=1,
                        statement="training error: half of plain-32's lag behind original-32 is more than what is left of it",
                    ),
                    lower("train_error", "plain-32-corrected", than="plain-32-as-written"),
                ],
                note="Most: correcting it closes more than half of the gap between the plain and the original net.",
            ),
            Claim(
                "B2",
                source="impl-D",
                text="The proposed block reaches a lower training loss than the original one.",
                test=[lower("train_loss", "preact-32-as-written", than="original-32-as-written", unit="nats")],
            ),
            Claim(
                "B3",
                source="impl-D",
                text="The validation losses of both are close and rise from about epoch 20: they overfit.",
                test=[
                    above("validation_loss_rise", "original-32-as-written", 0.1, unit="nats"),
                    above("validation_loss_rise", "preact-32-as-written", 0.1, unit="nats"),
                ],
                needs_paper_budget=True,
                note="Rise: at the end the loss lies more than 0.1 nats above its lowest value along the way.",
            ),
            Claim(
                "B4",
                source="impl-D",
                text="The proposed block is the more accurate one throughout.",
                test=[lower("mean_validation_error", "preact-32-as-written", than="original-32-as-written")],
                note="Throughout: by the mean validation error of all evaluations along the way.",
            ),
            *[
                Claim(
                    name,
                    source=f"He16 table {table}",
                    text=f"At {depth} layers pre-activation has the lower test error.",
                    test=[lower("test_error", f"preact-{depth}", than=f"resnet-{depth}")],
                    needs_paper_budget=True,
                )
                for name, depth, table in (("B5", 110, "2"), ("B6", 164, "4"), ("B7", 1001, "4"))
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
                label="cross-entropy",
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
        published_note="Published after 64,000 steps: He16 tables 2 and 4. impl-D gives curves without numbers.",
        columns=(
            Column("train_loss", "train loss", 3),
            Column("validation_loss", "val. loss", 3),
            Column("train_error", "train %"),
            Column("validation_error", "val. %"),
            Column("test_error", "test %"),
            Column("best_test_error", "best test %"),
        ),
        deviations=[
            "As written the statistics of batch normalization stay at mean 0 and variance 1 (ε 0.001), so that only its "
            "scale and shift are learned; corrected it has TensorFlow's defaults, ε 0.001 and a decay of 0.99.",
            "The source does not say how images were scaled: the as-written arms come with pixels in [0, 1] and with zero "
            "mean and unit variance.",
            "The validation images are the last 10,000 of the training images in an order by contents; the source draws them.",
            "Adam has TensorFlow's default moments (0.9, 0.999, ε 1e-8), added to the root as PyTorch adds it.",
            "Xavier initialization is the uniform one, TensorFlow's default; biases start at zero.",
            "He16's nets are trained with He15's recipe and warm-up; strides and projections are those of its published code. "
            "Weights are drawn with the fan-in as everywhere here; that code takes the fan-out.",
            "Arithmetic is bf16 autocast where the hardware has it, with float32 weights.",
        ],
    )
