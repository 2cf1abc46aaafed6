"""A deeper network that cannot be worse, built from a shallow one and trained on.  He15 section 1.

    make construction                  one epoch and one more, one seed: about 38 minutes on two CPU cores
    make construction PROFILE=paper    64,000 steps and 64,000 more, five seeds: needs a GPU
Expected: the built net has the errors of the shallow net. Trained on at the published rate, the built plain net ends worse
than the shallow net trained as long. The built residual net does not.
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import below, higher, near_zero, not_higher
from resnet_repro.config.arm import Arm, Start
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR_AT_ONCE
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import distance_curves, error_curves

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


def construction() -> Experiment:
    plain, residual = family("plain"), family("resnet")
    errors = ("train_error", "test_error")

    return Experiment(
        name="construction",
        title="Construction: the deeper network that cannot be worse",
        question=(
            "Adding layers that pass on their input to a trained shallow net gives a deep net that is equally good. Does "
            "training from scratch find an equally good net? Does further training keep it?"
        ),
        source="He15, section 1; blog-A 4.3; blog-C",
        dataset="cifar10",
        arms=[*plain, *residual],
        profiles=[
            Profile("quick", iterations=391, seeds=(0,), evaluations=2, dataset="auto"),
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
                note="The same: less than a tenth of a point apart, to allow for rounding.",
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
                    "the built residual net does not."
                ),
                test=[
                    *[higher(error, "plain-56-on", than="plain-20-on") for error in errors],
                    *[not_higher(error, "resnet-56-on", than="resnet-20-on", margin=1.0) for error in errors],
                ],
                note="Not worse: by less than a point, if at all.",
            ),
            Claim(
                "K4",
                source="this project",
                text="At a tenth of the rate, the built plain net no longer ends worse than it began.",
                test=[below("train_error_change", "plain-56-on-slow", 0.0, unit="points")],
            ),
        ],
        answers=[
            "plain-56 built from a trained plain-20 has {plain-56-built.train_error} % training error, plain-20 itself "
            "{plain-20.train_error} %; trained from scratch for {plain-56.steps} steps, plain-56 has {plain-56.train_error} %.",
            "Trained on for {steps} steps at the published rate, the built plain-56 has {plain-56-on.train_error} % training "
            "error and plain-20 {plain-20-on.train_error} %; the built resnet-56 has {resnet-56-on.train_error} % and "
            "resnet-20 {resnet-20-on.train_error} %.",
            "At a tenth of the rate, the built plain-56 goes from {plain-56-built.train_error} to "
            "{plain-56-on-slow.train_error} % training error.",
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
            "The added residual blocks have a scale of zero in their last batch normalization. Their other layers have He "
            "initialization.",
            "Training on repeats the whole schedule, from the published rate or a tenth of it. It sees the images in the "
            "parent's order, with the parent's crops and flips. Nets from scratch see new draws throughout.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
