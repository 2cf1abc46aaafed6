"""Do gradients vanish, explode or lose their direction in deep plain nets?  blog-A, blog-C; Yang 2019; Balduzzi 2017.

    make gradients                  untrained nets of 20 to 56 layers, three seeds: 10 minutes on two CPU cores
    make gradients PROFILE=paper    also 110 layers, and four nets over 2,000 steps, eight seeds: a core-day
Expected at initialization: in plain nets with batch normalization the gradient norm grows by about 1.2 per layer towards the
input, as mean-field theory predicts (1.21). Shortcuts and the absence of batch normalization prevent it.
"""

from math import log10

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import above, below, lower, trend
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR, HE15_CIFAR_WITHOUT_BN
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.agreement import agreement_by_depth
from resnet_repro.figures.curves import curves
from resnet_repro.figures.growth import growth_by_layer, norms_after_steps
from resnet_repro.figures.surface import curvature_along, landscapes

DEPTHS = (20, 32, 44, 56, 110)
WATCH = ("growth", "agreement")
# Gradient descent with momentum β at rate η is stable on a quadratic loss with a curvature of at most 2 (1 + β) / η.
STABLE = 2 * (1 + HE15_CIFAR.momentum) / HE15_CIFAR.learning_rate
EXPLODES, STEADY = log10(1.1), log10(1.05)  # decades per layer
LESS_AGREEMENT = 0.01  # of the mean cosine, from each depth to the next


def gradients() -> Experiment:
    plain, residual, without_bn = (
        [
            cifar_arm(kind, depth, recipe, name=f"{kind}-{depth}{suffix}-untrained", norm=norm, length=0, watch=WATCH)
            for depth in DEPTHS
        ]
        for kind, recipe, norm, suffix in (
            ("plain", HE15_CIFAR, "batch", ""),
            ("resnet", HE15_CIFAR, "batch", ""),
            ("plain", HE15_CIFAR_WITHOUT_BN, "none", "-no-bn"),
        )
    )
    trained = [
        cifar_arm(kind, depth, HE15_CIFAR, name=f"{kind}-{depth}-watched", watch=(*WATCH, "curvature", "landscape"))
        for kind in ("plain", "resnet")
        for depth in (20, 56)
    ]
    deepest = [arms[-1].name for arms in (plain, residual, without_bn)]
    untrained = {"plain": plain, "residual": residual, "plain, no normalization": without_bn}
    names = {kind: [arm.name for arm in arms] for kind, arms in untrained.items()}

    return Experiment(
        name="gradients",
        title="Gradients: vanishing, exploding or shattered?",
        question=(
            "In deep plain nets with batch normalization, do the first gradients vanish or explode towards the input? Do "
            "shortcuts prevent it, does it last, and do the gradients of different images still agree?"
        ),
        source="blog-A, blog-C; G. Yang et al. 2019; D. Balduzzi et al. 2017",
        dataset="cifar10",
        arms=[*plain, *residual, *without_bn, *trained],
        profiles=[
            Profile(
                "quick",
                iterations=391,
                seeds=(0, 1, 2),
                evaluations=2,
                dataset="auto",
                arms=tuple(arm.name for arm in (*plain, *residual, *without_bn) if arm.name not in deepest),
            ),
            Profile("paper", iterations=2_000, seeds=tuple(range(8)), evaluations=4, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "E1",
                source="this project, on blog-C and Yang 2019",
                text="In plain nets with batch normalization, the first gradients explode towards the input.",
                test=[
                    above(f"growth_{stage}", arm.name, EXPLODES, unit="decades")
                    for arm in plain[:-1]
                    for stage in (1, 2)
                ],
                seeds=8,
                note="Explode: from each layer to the one before it the norm grows by more than a tenth, in stages 1 and 2.",
            ),
            Claim(
                "E1-110",
                source="this project, on blog-C and Yang 2019",
                text="So do those of a plain net of 110 layers.",
                test=[above(f"growth_{stage}", deepest[0], EXPLODES, unit="decades") for stage in (1, 2)],
                seeds=8,
            ),
            Claim(
                "E2",
                source="this project, on blog-A and He15 §3.2",
                text="With shortcuts there is no explosion in stages 2 and 3.",
                test=[
                    below(f"growth_{stage}", arm.name, STEADY, unit="decades")
                    for arm in residual[:-1]
                    for stage in (2, 3)
                ],
                seeds=8,
                note=(
                    "None: growth of less than a twentieth per layer in stages 2 and 3. The first stage is left out: its "
                    "blocks add to a signal of the same size, which alone lets gradients grow by a few percent."
                ),
            ),
            Claim(
                "E3",
                source="this project, on blog-C and Yang 2019",
                text=(
                    "Without batch normalization, gradients of plain nets neither explode nor vanish at initialization, in "
                    "stages 1 and 2."
                ),
                test=[
                    comparison
                    for arm in without_bn[:-1]
                    for stage in (1, 2)
                    for comparison in (
                        below(f"growth_{stage}", arm.name, EXPLODES, unit="decades"),
                        above(f"growth_{stage}", arm.name, -EXPLODES, unit="decades"),
                    )
                ],
                seeds=8,
                note="With He's initialization. Neither: growth between 1/1.1 and 1.1 per layer in stages 1 and 2.",
            ),
            Claim(
                "E4",
                source="this project, on Yang 2019",
                text="After some steps of training the explosion is gone.",
                test=[below(f"later_growth_{stage}", "plain-56-watched", STEADY, unit="decades") for stage in (1, 2)],
                seeds=8,
                note="By the median growth over the measurements after the first tenth of the steps.",
            ),
            Claim(
                "E5",
                source="this project, on Balduzzi 2017",
                text=(
                    "At initialization, the gradients of different images agree ever less with depth in plain nets, and not in "
                    "residual ones."
                ),
                test=[
                    trend("agreement_1", names["plain"][:-1], -1, "per depth", threshold=-LESS_AGREEMENT),
                    trend("agreement_1", names["residual"][:-1], 1, "per depth", threshold=-LESS_AGREEMENT),
                ],
                seeds=8,
                note=(
                    "By the mean cosine between the gradients of 64 images in the first stage, from 20 to 56 layers: it falls "
                    f"by more than {LESS_AGREEMENT:g} from each depth to the next, or does not. All images get the same label, "
                    "and the statistics of batch normalization count as constants. At first images had their own labels, and "
                    "the claim was called contradicted; then statistics depended on all images. Each makes the mean cosine of "
                    "an untrained net about zero, whatever the net: the second measured -0.009 in plain-56 and -0.006 in "
                    "resnet-56, one seed. The threshold is that of the first version."
                ),
            ),
            Claim(
                "E5-less",
                source="this project, on Balduzzi 2017",
                text="At initialization, the gradients of different images agree less in plain nets than in residual ones.",
                test=[
                    lower(f"agreement_{stage}", deep_plain, than=deep_residual, unit="")
                    for deep_plain, deep_residual in zip(names["plain"][:-1], names["residual"][:-1], strict=True)
                    for stage in (1, 2)
                ],
                seeds=8,
                note=(
                    "At each of four depths, in stages 1 and 2. Written after a look at one seed of the nets of 20 and 56 "
                    "layers."
                ),
            ),
            Claim(
                "E6",
                source="this project, after H. Li et al. 2018",
                text="At the start, the loss of plain-56 is curved too sharply for the published rate, that of resnet-56 not.",
                test=[
                    above("first_curvature", "plain-56-watched", STABLE, unit=""),
                    below("first_curvature", "resnet-56-watched", STABLE, unit=""),
                ],
                seeds=3,
                note=(
                    f"Too sharply: the largest eigenvalue of the Hessian is above {STABLE:g}, where gradient descent at rate "
                    "0.1 and momentum 0.9 diverges on a quadratic loss."
                ),
            ),
        ],
        answers=[
            "At initialization, the gradient norm of plain-56 grows per layer towards the input by a factor of "
            "{plain-56-untrained.growth_1:decades} in stage 1 and {plain-56-untrained.growth_2:decades} in stage 2; in "
            "resnet-56 by {resnet-56-untrained.growth_1:decades} and {resnet-56-untrained.growth_2:decades}; without batch "
            "normalization by {plain-56-no-bn-untrained.growth_1:decades} and {plain-56-no-bn-untrained.growth_2:decades}.",
            "After {plain-56-watched.steps} steps, it grows in plain-56 by {plain-56-watched.growth_1:decades} per layer of "
            "stage 1.",
            "Before the first step, the largest eigenvalue of the Hessian of the loss is {plain-56-watched.first_curvature} in "
            f"plain-56 and {{resnet-56-watched.first_curvature}} in resnet-56; at the published rate the limit is {STABLE:g}.",
            "The mean cosine between the gradients of two images is {plain-20-untrained.agreement_1} in stage 1 of an "
            "untrained plain-20 and {plain-56-untrained.agreement_1} in plain-56; {resnet-20-untrained.agreement_1} in "
            "resnet-20 and {resnet-56-untrained.agreement_1} in resnet-56.",
        ],
        figures=[
            growth_by_layer(untrained),
            agreement_by_depth(untrained),
            norms_after_steps(trained),
            curvature_along(trained, STABLE),
            landscapes(trained),
            curves(
                "errors",
                {"trained for the length of the runs": trained},
                dashed="running_train_error",
                solid="test_error",
                label="error (%)",
            ),
        ],
        published={},
        published_note="The sources show no numbers.",
        columns=(
            Column("growth_1", "growth 1, log10", 3),
            Column("growth_2", "growth 2, log10", 3),
            Column("growth_3", "growth 3, log10", 3),
            Column("later_growth_1", "later growth 1, log10", 3),
            Column("agreement_1", "agreement 1", 3),
            Column("agreement_3", "agreement 3", 3),
            Column("curvature", "curvature", 1),
        ),
        deviations=[
            "The experiment is ours. The posts explain degradation by gradients without measuring them.",
            "Gradients are those of the loss on 128 (growth) or 64 (agreement) fixed training images without augmentation, "
            "with respect to the weights of the convolutions, normalized by the statistics of these images; for agreement, "
            "all images get the same label, and the statistics count as constants.",
            "Untrained nets are scored on 500 images of each split.",
            "Growth is the slope of the logarithm of the norm within a stage. The number of channels changes between stages, "
            "and with it the size of the weights.",
            "The Hessian and the landscape are those of the loss on 256 fixed training images, normalized in batches of 128.",
            "Mean-field theory is about wide fully connected nets with large batches.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
