"""What normalization does for training, and which kind holds at a batch of four.  notes-B.

    make normalization                  half an epoch, one seed: about 26 minutes on two CPU cores
    make normalization PROFILE=paper    64,000 steps of batch 128, and as many images in batches of 4: a GPU's work
Expected: with batch normalization both nets train faster; at batch 4 it loses more than group normalization.
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
# The rate goes with the batch (P. Goyal et al., 2017), the number of steps against it: as many images are seen.
HE15_BATCH_4 = replace(HE15_CIFAR_AT_ONCE, name="he15-cifar at batch 4", batch_size=4, learning_rate=0.1 * 4 / 128)
# Without normalization the published rate makes a net diverge or stop learning, and 0.01 the residual one, whose first
# loss is ten times that of guessing: each branch adds its variance.
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
            "Does batch normalization make training easier, and by what? Which normalizations depend on the batch, and "
            "what is left of them at a batch of four?"
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
                note="Without it at the same rate, and at the lower one of the arms named slow, which such nets stand.",
            ),
            Claim(
                "N2",
                source="notes-B",
                text="Batch normalization behaves differently in training and in evaluation, the others do not.",
                test=[
                    *[above("mode_change", f"{kind}-20", 1.0, unit="%") for kind in ("plain", "resnet")],
                    *[below("mode_change", arm.name, 0.1, unit="%") for arm in without_statistics],
                ],
                note="Percent of test images whose predicted class changes with the mode, at the batch that was trained with.",
            ),
            Claim(
                "N3",
                source="notes-B",
                text="At a batch of four group normalization holds, where batch normalization suffers.",
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
                    "Holds: ends no more than a point above the same net at batch 128, having seen as many images. In a "
                    "short budget the small batch gains by its many more steps, whatever normalizes it."
                ),
            ),
            Claim(
                "N4",
                source="notes-B",
                text="Batch normalization removes internal covariate shift, by which the notes explain that it works.",
                test=[
                    lower(metric, f"{kind}-20-slow", than=f"{kind}-20-no-bn-slow", unit="σ")
                    for kind in ("plain", "resnet")
                    for metric in ("input_mean_shift", "input_std_shift")
                ],
                note=(
                    "If it does, mean and standard deviation of each layer's input move less from one twentieth of "
                    "the training to the next than without it, in units of the layer's own standard deviation. Both at a rate "
                    "that they stand, since a net that diverges or stops learning says nothing about it. "
                    "The explanation needs this; that it is the reason why training is easier does not follow from it."
                ),
            ),
        ],
        answers=[
            "After {steps} steps plain-20 has {plain-20.train_error} % training error with batch normalization and "
            "{plain-20-no-bn.train_error} % without; resnet-20 has {resnet-20.train_error} % with and "
            "{resnet-20-no-bn.train_error} % without.",
            "At the lower rates plain-20 has {plain-20-slow.train_error} % training error with batch normalization and "
            "{plain-20-no-bn-slow.train_error} % without; resnet-20 has {resnet-20-slow.train_error} % with and "
            "{resnet-20-no-bn-slow.train_error} % without.",
            "Between training and evaluation {plain-20.mode_change} % of plain-20's predicted classes change with batch "
            "normalization; {plain-20-layer.mode_change} % with layer; {plain-20-instance.mode_change} % with instance; "
            "{plain-20-group.mode_change} % with group normalization.",
            "At a batch of four, after {steps} steps, plain-20 has {plain-20-batch-4.test_error} % test error with batch and "
            "{plain-20-group-batch-4.test_error} % with group normalization.",
            "From one twentieth of the training to the next the means of plain-20's layer inputs move by "
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
            "The nets are plain-20 and resnet-20 of He15, with nothing changed but the normalization.",
            "Layer normalization is over channels and pixels of an image, with a scale and shift for each channel. Group "
            "normalization has 8 groups, since the nets have 16 to 64 channels. Instance normalization has a scale and shift.",
            "At a batch of 4 the learning rate is 0.1 · 4/128 and there are 32 times as many steps.",
            "The learning rate is He15's for all but the arms named slow: 0.01 for plain nets and 0.003 for residual ones, the "
            "most of a few tried that a net without normalization stands. None is searched for.",
            "A run that diverges counts with the error of guessing.",
            "Arithmetic is bf16 autocast where the hardware has it, with float32 weights.",
        ],
    )
