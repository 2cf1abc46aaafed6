"""A deeper network that cannot be worse, built from a shallow one and trained on.  He15 section 1.

    make construction                  256 steps and 256 more, one seed: about 23 minutes on two CPU cores
    make construction PROFILE=paper    64,000 steps and 64,000 more, five seeds: needs a GPU
Expected: the built net has the errors of the shallow net. Trained on at the published rate, the built plain net ends worse
than the shallow net trained as long. The built residual net does not, also if its added blocks act from the start.
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import below, higher, near_zero, not_higher
from resnet_repro.config.arm import Arm, Start
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR_AT_ONCE
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import distance_curves, error_curves

ACTING = (0.1, 1)  # first scales of added residual blocks that do not pass their input on unchanged
CALIBRATED_ON = 12_800  # images: 100 batches of 128
MARGINS = {"train_error": 1.0, "test_error": 0.5}  # points: the smallest differences of interest
HE15_SLOW = replace(HE15_CIFAR_AT_ONCE, name="he15-cifar at a tenth of the rate", learning_rate=0.01)


def family(kind: str) -> list[Arm]:
    """A shallow net, the deep net built from it, both trained on, and the deep net from scratch at the total budget."""
    built = f"{kind}-56-built"
    watch = ("distance",)
    return [
        cifar_arm(kind, 20, HE15_CIFAR_AT_ONCE),
        cifar_arm(kind, 56, HE15_CIFAR_AT_ONCE, name=built, length=0, start=Start(f"{kind}-20", "deepen")),
        cifar_arm(kind, 56, HE15_CIFAR_AT_ONCE, length=2),
        cifar_arm(kind, 56, HE15_CIFAR_AT_ONCE, name=f"{kind}-56-on", start=Start(built, "copy"), watch=watch),
        cifar_arm(kind, 56, HE15_SLOW, name=f"{kind}-56-on-slow", start=Start(built, "copy"), watch=watch),
        cifar_arm(kind, 20, HE15_CIFAR_AT_ONCE, name=f"{kind}-20-on", start=Start(f"{kind}-20", "copy"), watch=watch),
    ]


def acting(scale: float) -> list[Arm]:
    """A deep residual net built with blocks that act from the start, and the same net trained on."""
    built = f"resnet-56-built-{scale:g}"
    start = Start("resnet-20", "deepen", scale=scale)
    return [
        cifar_arm("resnet", 56, HE15_CIFAR_AT_ONCE, name=built, length=0, start=start, calibrated_on=CALIBRATED_ON),
        cifar_arm(
            "resnet",
            56,
            HE15_CIFAR_AT_ONCE,
            name=f"resnet-56-on-{scale:g}",
            start=Start(built, "copy"),
            watch=("distance",),
        ),
    ]


def construction() -> Experiment:
    plain, residual = family("plain"), [*family("resnet"), *[arm for scale in ACTING for arm in acting(scale)]]
    plain.append(
        cifar_arm("plain", 20, HE15_SLOW, name="plain-20-on-slow", start=Start("plain-20", "copy"), watch=("distance",))
    )
    arms = [*plain, *residual]
    errors = ("train_error", "test_error")
    left_out = {"resnet-56", "resnet-56-on-slow"}  # of quick: no claim needs them

    return Experiment(
        name="construction",
        title="Construction: the deeper network that cannot be worse",
        question=(
            "Adding layers that pass on their input to a trained shallow net gives a deep net that is equally good. Does "
            "training from scratch find an equally good net? Does further training keep it?"
        ),
        source="He15, section 1; blog-A 4.3; blog-C",
        dataset="cifar10",
        arms=arms,
        profiles=[
            Profile(
                "quick",
                iterations=256,
                seeds=(0,),
                evaluations=2,
                dataset="auto",
                arms=tuple(arm.name for arm in arms if arm.name not in left_out),
            ),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=64, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "K1",
                source="He15 §1, blog-A 4.3, blog-C",
                text="The built deep net has the same training and test error as the shallow net.",
                test=[
                    part
                    for kind in ("plain", "resnet")
                    for error in errors
                    for part in [near_zero(f"{error}_change", f"{kind}-56-built", 0.1, unit="points")]
                ],
                note=(
                    "The same: less than a tenth of a point apart, to allow for rounding. Only for added residual blocks with "
                    "a last scale of 0: other built nets differ from their parent."
                ),
            ),
            Claim(
                "K2",
                source="He15 §1",
                text="Trained from scratch with the total budget, the deep plain net ends with a higher training error than "
                "the built net.",
                test=[higher("train_error", "plain-56", than="plain-56-built")],
            ),
            Claim(
                "K3",
                source="He15 §1, §4.2",
                text=(
                    "Trained on at the published rate, the built plain net ends worse than the shallow net trained as long; "
                    "the built residual net does not, whether its added blocks begin switched off (last scale 0), weak (0.1) "
                    "or at full strength (1)."
                ),
                test=[
                    *[higher(error, "plain-56-on", than="plain-20-on") for error in errors],
                    *[
                        not_higher(error, f"resnet-56-on{scale}", than="resnet-20-on", margin=MARGINS[error])
                        for scale in ("", *[f"-{scale:g}" for scale in ACTING])
                        for error in errors
                    ],
                ],
                note=(
                    "Compared: errors of plain-56-on and plain-20-on, and of three nets resnet-56-on and resnet-20-on, which "
                    "descend from the same trained net in each seed and so are paired. Not worse: by less than 1 point of "
                    "training error and 0.5 of test error, if at all. Blocks that begin at scale 0 may stay nearly switched "
                    "off, so that resnet-56-on is nearly resnet-20-on; hence the other scales. Changed after the first data "
                    "(scale 0, three seeds): the pairing by common parent, which decided what was undecided before; the other "
                    "scales; and the margin of the test error, 1 point before."
                ),
            ),
            Claim(
                "K4",
                source="this project",
                text="At a tenth of the rate, the built plain net no longer ends worse than it began.",
                test=[below("train_error_change", "plain-56-on-slow", 0.0, unit="points")],
            ),
            Claim(
                "K4-shallow",
                source="this project",
                text="At a tenth of the rate, the built plain net ends no worse than the shallow net trained as long.",
                test=[
                    not_higher(error, "plain-56-on-slow", than="plain-20-on-slow", margin=MARGINS[error])
                    for error in errors
                ],
                note=(
                    "The control of K4: a low rate could spare any net. No worse: by less than 1 point of training error and "
                    "0.5 of test error, if at all."
                ),
            ),
        ],
        answers=[
            "plain-56 built from a trained plain-20 has {plain-56-built.train_error} % training error, plain-20 itself "
            "{plain-20.train_error} %; trained from scratch for {plain-56.steps} steps, plain-56 has {plain-56.train_error} %.",
            "Trained on for {steps} steps at the published rate, the built plain-56 has {plain-56-on.train_error} % training "
            "error and plain-20 {plain-20-on.train_error} %; the built resnet-56 has {resnet-56-on.train_error} % and "
            "resnet-20 {resnet-20-on.train_error} %.",
            "With added blocks that begin at a scale of 0.1, the built resnet-56 ends at {resnet-56-on-0.1.train_error} %, at "
            "a scale of 1 at {resnet-56-on-1.train_error} %.",
            "At a tenth of the rate, the built plain-56 goes from {plain-56-built.train_error} to "
            "{plain-56-on-slow.train_error} % training error; plain-20, trained as long, ends at "
            "{plain-20-on-slow.train_error} %.",
        ],
        figures=[
            error_curves({"plain nets": plain, "residual nets": residual}),
            distance_curves({"plain nets": plain, "residual nets": residual}),
        ],
        published={},
        published_note="The paper gives the argument without an experiment.",
        columns=(*ERRORS, Column("train_error_change", "since the start"), Column("distance", "distance")),
        deviations=[
            "The experiment is ours: He15 argues with the built net but does not train one.",
            "The added plain layers pass each channel through. Their batch normalization takes its scale and shift from the "
            "statistics of 4,000 training images, so that it nearly undoes itself in training mode too.",
            "The added residual blocks have a scale of zero in their last batch normalization, or 0.1 or 1 where the name says "
            "so. Their other layers have He initialization. With 0.1 and 1 the built net computes another function than its "
            "parent; its statistics are measured again, on 12,800 training images.",
            "Training on repeats the whole schedule, from the published rate or a tenth of it. It sees the images in the "
            "parent's order, with the parent's crops and flips. Nets from scratch see new draws throughout.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
