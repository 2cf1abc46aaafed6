"""What normalization does for training, and which kinds work at batch size 4.  notes-B.

    make normalization                  half an epoch, one seed: about 26 minutes on two CPU cores
    make normalization PROFILE=paper    64,000 steps of batch 128, and as many images in batches of 4: needs a GPU
Expected: with batch normalization both nets train faster. At batch size 4 it loses more than group normalization.
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import above, below, contrast, higher, lower, not_higher
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR_AT_ONCE, HE15_CIFAR_WITHOUT_BN
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import error_curves, input_shifts
from resnet_repro.figures.points import errors_by_arm

NORMS = ("none", "batch", "layer", "instance", "group")
# The rate is proportional to the batch size (P. Goyal et al., 2017). The number of steps is inversely proportional to it, so
# that all arms see equally many images.
HE15_BATCH_4 = replace(HE15_CIFAR_AT_ONCE, name="he15-cifar at batch 4", batch_size=4, learning_rate=0.1 * 4 / 128)
# Without normalization, a net diverges or stops learning at the published rate, and the residual net also at 0.01: its
# first loss is ten times the loss of guessing, because each branch adds its variance.
SLOW = {
    "plain": HE15_CIFAR_WITHOUT_BN,
    "resnet": replace(HE15_CIFAR_AT_ONCE, name="he15-cifar at rate 0.003", learning_rate=0.003),
}


def normalization() -> Experiment:
    at_128 = {
        kind: [cifar_arm(kind, 20, HE15_CIFAR_AT_ONCE, norm=norm, watch=("inputs", "modes")) for norm in NORMS]
        for kind in ("plain", "resnet")
    }
    at_4 = {
        kind: [
            cifar_arm(kind, 20, HE15_BATCH_4, name=f"{arm.name}-batch-4", norm=norm, length=32, watch=("modes",))
            for arm, norm in zip(arms, NORMS, strict=True)
        ]
        for kind, arms in at_128.items()
    }
    slow = {
        kind: [
            cifar_arm(kind, 20, SLOW[kind], name=f"{arm.name}-slow", norm=norm, watch=("inputs",))
            for arm, norm in zip(arms[:2], NORMS[:2], strict=True)
        ]
        for kind, arms in at_128.items()
    }
    without_statistics = [arm for arms in at_128.values() for arm in arms[2:]]

    return Experiment(
        name="normalization",
        title="Normalization: none, batch, layer, instance, group",
        question=(
            "Does batch normalization make training easier, and how? Which normalizations depend on the batch, and how do "
            "they perform at batch size 4?"
        ),
        source="notes-B (EECS 498 lecture 7)",
        dataset="cifar10",
        arms=[arm for group in (at_128, slow, at_4) for kind in ("plain", "resnet") for arm in group[kind]],
        profiles=[
            Profile("quick", iterations=196, seeds=(0,), evaluations=1, dataset="auto"),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=64, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "N1",
                source="notes-B",
                text="Batch normalization improves optimization: the training error ends lower with it.",
                test=[
                    lower("train_error", f"{kind}-20", than=f"{kind}-20-no-bn{rate}")
                    for kind in ("plain", "resnet")
                    for rate in ("", "-slow")
                ],
                note="Compared at the published rate and at the lower rate of the slow arms, which nets without it tolerate.",
            ),
            Claim(
                "N2",
                source="notes-B",
                text="Batch normalization behaves differently in training and in evaluation; the others do not.",
                test=[
                    *[above("mode_change", f"{kind}-20", 1.0, unit="%") for kind in ("plain", "resnet")],
                    *[below("mode_change", arm.name, 0.1, unit="%") for arm in without_statistics],
                ],
                note="The share of test images whose predicted class changes with the mode, at the batch size of the training.",
            ),
            Claim(
                "N3",
                source="notes-B",
                text="At batch size 4, group normalization holds and batch normalization suffers.",
                test=[
                    part
                    for kind in ("plain", "resnet")
                    for part in (
                        higher("test_error", f"{kind}-20-batch-4", than=f"{kind}-20"),
                        not_higher("test_error", f"{kind}-20-group-batch-4", than=f"{kind}-20-group", margin=1.0),
                        contrast(
                            "test_error",
                            {
                                f"{kind}-20-batch-4": 1,
                                f"{kind}-20": -1,
                                f"{kind}-20-group-batch-4": -1,
                                f"{kind}-20-group": 1,
                            },
                            sign=1,
                            statement=f"test error: {kind}-20 loses more to the small batch than {kind}-20-group",
                        ),
                    )
                ],
                needs_paper_budget=True,
                note=(
                    "Holds: ends less than a point above the same net at batch size 128, after equally many images. In a "
                    "short budget, the small batch gains from its many more steps with every normalization."
                ),
            ),
            Claim(
                "N4",
                source="notes-B",
                text="Batch normalization removes internal covariate shift, the notes' explanation of why it works.",
                test=[
                    lower(metric, f"{kind}-20-slow", than=f"{kind}-20-no-bn-slow", unit="σ")
                    for kind in ("plain", "resnet")
                    for metric in ("input_mean_shift", "input_std_shift")
                ],
                note=(
                    "If it does, the mean and standard deviation of each layer's input move less from one twentieth of the "
                    "training to the next than without it, in units of that layer's standard deviation. Both nets train at a "
                    "rate that they tolerate, because a net that diverges or stops learning is not informative. The test is "
                    "necessary for the explanation. It does not show that the shift is why training is easier."
                ),
            ),
        ],
        answers=[
            "After {steps} steps, plain-20 has {plain-20.train_error} % training error with batch normalization and "
            "{plain-20-no-bn.train_error} % without; resnet-20 has {resnet-20.train_error} % with and "
            "{resnet-20-no-bn.train_error} % without.",
            "At the lower rates, plain-20 has {plain-20-slow.train_error} % training error with batch normalization and "
            "{plain-20-no-bn-slow.train_error} % without; resnet-20 has {resnet-20-slow.train_error} % with and "
            "{resnet-20-no-bn-slow.train_error} % without.",
            "Between training and evaluation mode, {plain-20.mode_change} % of plain-20's predictions change with batch "
            "normalization; {plain-20-layer.mode_change} % with layer; {plain-20-instance.mode_change} % with instance; "
            "{plain-20-group.mode_change} % with group normalization.",
            "At batch size 4, after {steps} steps, plain-20 has {plain-20-batch-4.test_error} % test error with batch and "
            "{plain-20-group-batch-4.test_error} % with group normalization.",
            "From one twentieth of the training to the next, the means of plain-20's layer inputs move by "
            "{plain-20-slow.input_mean_shift} σ with batch normalization and {plain-20-no-bn-slow.input_mean_shift} σ without.",
        ],
        figures=[
            error_curves({"plain nets, batch 128": at_128["plain"], "residual nets, batch 128": at_128["resnet"]}),
            errors_by_arm(
                {
                    "plain-20, batch 128": at_128["plain"],
                    "resnet-20, batch 128": at_128["resnet"],
                    "plain-20, rate 0.01": slow["plain"],
                    "resnet-20, rate 0.003": slow["resnet"],
                    "plain-20, batch 4": at_4["plain"],
                    "resnet-20, batch 4": at_4["resnet"],
                }
            ),
            input_shifts(
                {
                    "plain nets": at_128["plain"],
                    "residual nets": at_128["resnet"],
                    "plain nets, rate 0.01": slow["plain"],
                    "residual nets, rate 0.003": slow["resnet"],
                }
            ),
        ],
        published={},
        published_note="The lecture shows no numbers for these nets.",
        columns=(
            *ERRORS,
            Column("mode_change", "mode change %", 1),
            Column("input_mean_shift", "mean shift", 3),
            Column("input_std_shift", "std shift", 3),
        ),
        deviations=[
            "The nets are plain-20 and resnet-20 of He15. Only the normalization changes.",
            "Layer normalization is over the channels and pixels of an image, with a scale and shift per channel. "
            "Group normalization has 8 groups, because the nets have 16 to 64 channels. Instance normalization has a scale and "
            "shift.",
            "At batch size 4 the learning rate is 0.1 · 4/128, and there are 32 times as many steps.",
            "The slow arms train at 0.01 (plain nets) and 0.003 (residual nets), the highest of a few rates tried that a net "
            "without normalization tolerates. All other arms train at He15's rate. No rate is searched for.",
            "A run that diverges counts with the error of guessing.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
