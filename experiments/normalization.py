"""What normalization does for training, why, and which kinds depend on the batch.  notes-B; Santurkar 2018; Wu 2018.

    make normalization                    half an epoch and the search for the rates, one seed: 12 minutes on two CPU cores
    make normalization ITERATIONS=2000    enough for all claims but N3, which needs ITERATIONS=8000 and three arms
Expected: with batch normalization both nets train better, also if random moments after it undo what it does to the moments.
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import above, contrast, count_is, higher, lower, not_higher
from resnet_repro.config.arm import Arm, Search
from resnet_repro.config.families import cifar_arm, counted_arm
from resnet_repro.config.recipes import HE15_CIFAR_AT_ONCE
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import error_curves, input_shifts
from resnet_repro.figures.points import errors_by_arm

KINDS = ("plain", "resnet")
NORMS = ("batch", "layer", "instance", "group")
RATES = (0.003, 0.01, 0.03, 0.1)
SEARCHED = replace(HE15_CIFAR_AT_ONCE, name="he15-cifar with a searched rate", validation_images=5_000)
# Nets without normalization get what they need to live: biases, and residual branches that begin at zero (SkipInit).
WITHOUT = {
    "plain": {"norm": "none", "bias": True},
    "resnet": {"norm": "none", "bias": True, "branch_scale": 0.0},
}
OVER = 4  # images


def candidates(net: str, kind: str, **options) -> list[Arm]:
    """Half of the training at each rate, scored on the validation images."""
    return [
        cifar_arm(
            kind,
            20,
            replace(SEARCHED, name=f"{HE15_CIFAR_AT_ONCE.name} at rate {rate:g}", learning_rate=rate),
            name=f"{net}-rate-{rate:g}",
            control=True,
            share=0.5,
            **options,
        )
        for rate in RATES
    ]


def searched(net: str, kind: str, among: list[Arm], **options) -> Arm:
    """The whole training, at the rate of the best candidate."""
    arm = cifar_arm(kind, 20, SEARCHED, name=f"{net}-searched", watch=("inputs",), **options)
    return replace(arm, search=Search(tuple(candidate.name for candidate in among)))


def normalization() -> Experiment:
    published = {
        kind: [cifar_arm(kind, 20, HE15_CIFAR_AT_ONCE, norm=norm, watch=("inputs", "modes")) for norm in NORMS]
        for kind in KINDS
    }
    over = cifar_arm("resnet", 20, HE15_CIFAR_AT_ONCE, statistics_over=OVER)
    with_bn = {kind: candidates(f"{kind}-20", kind) for kind in KINDS}
    without = {kind: candidates(f"{kind}-20-no-bn", kind, **WITHOUT[kind]) for kind in KINDS}
    best = {
        kind: [
            searched(f"{kind}-20", kind, with_bn[kind]),
            searched(f"{kind}-20-no-bn", kind, without[kind], **WITHOUT[kind]),
        ]
        for kind in KINDS
    }
    noisy = searched("plain-20-noisy", "plain", with_bn["plain"], norm="noisy")
    best["plain"].append(noisy)
    counted = [
        counted_arm(f"{arm.name}-counted", "cifar.cifar_net", (3, 32, 32), 10, control=True, **arm.model.options)
        for arms in published.values()
        for arm in arms[1:]
    ]

    return Experiment(
        name="normalization",
        title="Normalization: none, batch, layer, instance, group",
        question=(
            "Does batch normalization make training easier? Does it do so by keeping the moments of layer inputs in place? "
            "Which normalizations depend on the batch?"
        ),
        source="notes-B (EECS 498 lecture 7); Santurkar et al. 2018; Wu & He 2018",
        dataset="cifar10",
        arms=[
            *[arm for kind in KINDS for arm in published[kind]],
            over,
            *[arm for kind in KINDS for arm in best[kind]],
            *[arm for kind in KINDS for arm in (*with_bn[kind], *without[kind])],
        ],
        networks=counted,
        profiles=[
            Profile("quick", iterations=196, seeds=(0,), evaluations=1, dataset="auto"),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=64, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "N1",
                source="notes-B",
                text="Batch normalization improves optimization: the training error ends lower with it.",
                test=[lower("train_error", f"{kind}-20-searched", than=f"{kind}-20-no-bn-searched") for kind in KINDS],
                note=(
                    "Each net trains at its best rate of four. Without normalization the convolutions have biases, and the "
                    "residual branches begin at zero (SkipInit), so that these nets train, too."
                ),
            ),
            Claim(
                "N2",
                source="notes-B",
                text="Batch normalization behaves differently in training and in evaluation.",
                test=[above("mode_change", f"{kind}-20", 1.0, unit="%") for kind in KINDS],
                note="The share of test images whose predicted class changes with the mode, in batches of 128.",
            ),
            Claim(
                "N2-others",
                source="notes-B",
                text="Layer, instance and group normalization behave equally in training and in evaluation.",
                test=[count_is("running_statistics", network.name, 0) for network in counted],
                note="True by construction: they keep no statistics of other images. So it is counted and not measured.",
            ),
            Claim(
                "N3",
                source="Wu & He 2018, section 4.1",
                text="With statistics over four images batch normalization suffers; group normalization does not need them.",
                test=[
                    higher("test_error", f"resnet-20-over-{OVER}", than="resnet-20"),
                    higher("test_error", f"resnet-20-over-{OVER}", than="resnet-20-group"),
                ],
                note=(
                    "All three nets take the same steps of 128 images; only the statistics are over groups of four. "
                    "Published: with 4 images per GPU ResNet-50 has 27.3 % error on ImageNet with batch normalization, 3.7 "
                    "points more than with 32 and 3.1 more than with group normalization."
                ),
            ),
            Claim(
                "N4",
                source="notes-B",
                text="With batch normalization, the mean and standard deviation of layer inputs move less.",
                test=[
                    lower(metric, f"{kind}-20-searched", than=f"{kind}-20-no-bn-searched", unit="σ")
                    for kind in KINDS
                    for metric in ("input_mean_shift", "input_std_shift")
                ],
                note=(
                    "From one twentieth of the training to the next, in units of the layer's standard deviation, with each "
                    "net at its best rate. Batch normalization fixes the moments of its own output, so this says little "
                    "about the cause of N1: see N4-cause."
                ),
            ),
            Claim(
                "N4-noisy",
                source="Santurkar et al. 2018, section 2.2",
                text=(
                    "With random moments after it, batch normalization moves the layer inputs more than no normalization, "
                    "and the net still trains as well as without these moments."
                ),
                test=[
                    higher("input_mean_shift", noisy.name, than="plain-20-no-bn-searched", unit="σ"),
                    higher("input_std_shift", noisy.name, than="plain-20-no-bn-searched", unit="σ"),
                    not_higher("train_error", noisy.name, than="plain-20-searched", margin=1.0),
                ],
                note="As well: less than a point of training error above, if at all. The first two parts check the treatment.",
            ),
            Claim(
                "N4-cause",
                source="notes-B",
                text=(
                    "Batch normalization improves optimization because it keeps the moments in place: once they move again, "
                    "more than half of its advantage is gone."
                ),
                test=[
                    lower("train_error", "plain-20-searched", than="plain-20-no-bn-searched"),
                    contrast(
                        "train_error",
                        {noisy.name: 1, "plain-20-searched": -0.5, "plain-20-no-bn-searched": -0.5},
                        1,
                        f"train error of {noisy.name} above the middle between plain-20-searched and plain-20-no-bn-searched",
                    ),
                ],
                note=(
                    "Decides only if the first two parts of N4-noisy hold: the moments do move. A contradiction of the "
                    "second part is strong. Support is weak, because noise can hurt by itself."
                ),
            ),
        ],
        answers=[
            "At the best of four rates, after {steps} steps, plain-20 has {plain-20-searched.train_error} % training error "
            "with batch normalization and {plain-20-no-bn-searched.train_error} % without; resnet-20 has "
            "{resnet-20-searched.train_error} % with and {resnet-20-no-bn-searched.train_error} % without.",
            "From one twentieth of the training to the next, the means of plain-20's layer inputs move by "
            "{plain-20-searched.input_mean_shift} σ with batch normalization, {plain-20-no-bn-searched.input_mean_shift} σ "
            "without, and {plain-20-noisy-searched.input_mean_shift} σ with random moments after it, with which plain-20 "
            "ends at {plain-20-noisy-searched.train_error} % training error.",
            "Between training and evaluation mode, {plain-20.mode_change} % of plain-20's predictions change with batch "
            "normalization; {plain-20-layer.mode_change} % with layer; {plain-20-instance.mode_change} % with instance; "
            "{plain-20-group.mode_change} % with group normalization.",
            "With statistics over four images, resnet-20 has {resnet-20-over-4.test_error} % test error after {steps} steps; "
            "over 128, {resnet-20.test_error} %; with group normalization, {resnet-20-group.test_error} %.",
        ],
        figures=[
            error_curves({"plain nets, best rate": best["plain"], "residual nets, best rate": best["resnet"]}),
            errors_by_arm(
                {
                    "plain-20, best rate": best["plain"],
                    "resnet-20, best rate": best["resnet"],
                    "plain-20, rate 0.1": published["plain"],
                    "resnet-20, rate 0.1": [*published["resnet"], over],
                }
            ),
            input_shifts({"plain nets, best rate": best["plain"], "residual nets, best rate": best["resnet"]}),
        ],
        published={},
        published_note="notes-B shows no numbers for these nets.",
        columns=(
            *ERRORS,
            Column("mode_change", "mode change %", 1),
            Column("input_mean_shift", "mean shift", 3),
            Column("input_std_shift", "std shift", 3),
        ),
        deviations=[
            "The nets are plain-20 and resnet-20 of He15. Only the normalization changes, and what a net without it needs.",
            "The best rate is the one of 0.003, 0.01, 0.03 and 0.1 with the lowest validation error after half of the "
            "training, which is the part at the full rate. It is searched for each seed, with and without normalization "
            "alike. 5,000 training images are held out for it; no searched net is trained on them.",
            "Nets without normalization have biases in their convolutions. Their residual branches end in a learned factor "
            "that begins at 0: SkipInit (De and Smith 2020). Weights are drawn as He15 does.",
            "Random moments: at every step each channel's output of a batch normalization is multiplied by a number from "
            "U(0.75, 1.25) and shifted by one from U(-0.5, 0.5), the same for all images. They are a function of the seed and "
            "the step. Santurkar et al. draw noise for each activation and image, from a distribution with non-zero mean and "
            "non-unit variance that changes at every step. Nets are scored without the random moments. plain-20-noisy-searched "
            "trains at the rate found for plain-20-searched.",
            "Wu and He put four images on each GPU. Here the batch of 128 is divided into groups of four for the statistics "
            "alone; running statistics are averaged over the groups, once per step.",
            "Layer normalization is over the channels and pixels of an image, with a scale and shift per channel. "
            "Group normalization has 8 groups, because the nets have 16 to 64 channels. Instance normalization has a scale and "
            "shift. Arms without “searched” in their name train at He15's rate.",
            "A run that diverges counts with the error of guessing.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
