"""Auxiliary heads on a GoogLeNet-style net without batch normalization.  notes-B.

    make auxiliary                  one epoch, three seeds: 15 minutes on two CPU cores
    make auxiliary PROFILE=paper    64,000 steps, five seeds: needs a GPU
Expected: with the heads, the early layers get a larger gradient and the training error falls sooner.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import higher, lower
from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.recipes import HE15_CIFAR_WITHOUT_BN
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import error_curves
from resnet_repro.figures.layers import gradient_norms_along


def auxiliary() -> Experiment:
    arms = [
        Arm(name, ModelSpec("googlenet.small_googlenet", {"auxiliary": heads}), HE15_CIFAR_WITHOUT_BN)
        for name, heads in (("without-heads", False), ("with-heads", True))
    ]

    return Experiment(
        name="auxiliary",
        title="Auxiliary heads: gradient for the early layers?",
        question="In a deep net without batch normalization, do two auxiliary heads bring gradient to the early layers?",
        source="notes-B (EECS 498 lecture 8), on GoogLeNet",
        dataset="cifar10",
        arms=arms,
        profiles=[
            Profile("quick", iterations=391, seeds=(0, 1, 2), evaluations=3, dataset="auto"),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=64, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "A1",
                source="notes-B",
                text="The heads bring gradient to the early layers and speed up training.",
                test=[
                    higher("early_gradient", "with-heads", than="without-heads", unit="decades"),
                    lower("mean_running_error", "with-heads", than="without-heads"),
                ],
                note=(
                    "Gradient: its norm in the first third of the layers over the first tenth of the steps, in decades. Speed: "
                    "the running training error of the main output, averaged over the training."
                ),
            ),
        ],
        answers=[
            "After {steps} steps, the net has {with-heads.train_error} % training error with the heads and "
            "{without-heads.train_error} % without them.",
            "Over the first tenth of the steps, the gradient of its early layers is "
            "{with-heads.early_gradient - without-heads.early_gradient:decades} times as large with the heads as without them.",
        ],
        figures=[gradient_norms_along(arms), error_curves({"GoogLeNet for 32×32": arms})],
        published={},
        published_note="The lecture shows no numbers for this.",
        columns=(
            *ERRORS,
            Column("mean_running_error", "mean running %"),
            Column("early_gradient", "early gradient"),
            Column("gradient_decay", "decay"),
        ),
        deviations=[
            "The net is ours: GoogLeNet's nine modules, with its two heads at the same places, on maps of 32, 16 and 8 pixels. "
            "A module has 32 to 128 output channels.",
            "Training follows He15's CIFAR recipe at a tenth of the rate, because there is no batch normalization. Each head's "
            "loss has weight 0.3, as in GoogLeNet. Scoring leaves the heads out.",
            "A head's last layer starts with weights of standard deviation 0.01, so that its first loss is the loss of "
            "guessing. With He initialization, behind a dropout of 70 %, it would be several times larger.",
            "Both arms have the same initial weights in the trunk and see the same images in the same order.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
