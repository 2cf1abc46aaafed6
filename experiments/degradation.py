"""Plain networks get worse with depth, residual networks do not.  He15 sections 1 and 4.2, figures 1, 6 and 7.

    make degradation                  one epoch, one seed: about 8 minutes on two CPU cores
    make degradation PREFIX=34000     past the first division of the rate; decides all claims: ten core-hours a seed
    make degradation PROFILE=paper    the published 64,000 steps, five seeds: needs a GPU
    make degradation ITERATIONS=2000 SEEDS=0-2 ARMS=plain-20,plain-56,plain-20-5k,plain-56-5k,plain-20-15k,plain-56-15k
                                      smaller training sets, for D7: three core-hours
Expected after one epoch: 58, 80, 49, 49 % training error for plain-20, plain-56, resnet-20, resnet-56.
Expected after 64,000 steps: 9.7, 13.2, 8.8, 7.0 % test error for the same nets.
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Comparison, above, below, contrast, higher, lower, same
from resnet_repro.config.arm import Arm
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_BATCH_STATISTICS, HE15_CIFAR, HE15_NORMALIZATION, PAST_FIRST_DIVISION
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import error_curves
from resnet_repro.figures.layers import gradient_norms, layer_responses

SAME_DECAY = 0.3  # decades: smallest difference of interest between the gradient decays of two nets
SMALLER_GAP = 1.0  # points of test error: smallest change of interest of the gap between plain-56 and plain-20


def on_fewer_images(depth: int, images: int) -> Arm:
    """A plain net trained on the first `images` training images."""
    recipe = replace(HE15_CIFAR, train_images=images)
    return cifar_arm("plain", depth, recipe, name=f"plain-{depth}-{images // 1000}k", control=True)


def decays_more(metric: str) -> Comparison:
    """The gradient decays more in plain-56 than in resnet-56, by at least the smallest difference of interest."""
    statement = f"{metric.replace('_', ' ')}: plain-56 ÷ resnet-56"
    return contrast(metric, {"plain-56": 1, "resnet-56": -1}, -1, statement, -SAME_DECAY, "decades")


def degradation() -> Experiment:
    plain = [cifar_arm("plain", depth, HE15_CIFAR) for depth in (20, 56)]
    residual = [cifar_arm("resnet", depth, HE15_CIFAR) for depth in (20, 56)]
    # Gradients without batch normalization, for the figure. A tenth of the schedule is enough.
    without_bn = cifar_arm("plain", 56, HE15_CIFAR, norm="none", control=True, share=0.1)
    fewer = [on_fewer_images(depth, images) for images in (5_000, 15_000) for depth in (20, 56)]
    # As on He15's two GPUs. They decide no claim.
    over_64 = [
        cifar_arm(kind, depth, HE15_CIFAR, statistics_over=64, control=True)
        for kind in ("plain", "resnet")
        for depth in (20, 56)
    ]
    whole = tuple(arm.name for arm in (*plain, *residual, without_bn))

    return Experiment(
        name="degradation",
        title="Degradation: deeper plain networks train worse",
        question=(
            "Does a plain network of 56 layers end with a higher training error than one of 20 layers, although it can "
            "represent every function that the smaller one can? Do shortcuts fix this? Are vanishing gradients the cause?"
        ),
        source="He15, sections 1 and 4.2, figures 1, 6 and 7",
        dataset="cifar10",
        arms=[*plain, *residual, without_bn, *fewer, *over_64],
        profiles=[
            Profile("quick", iterations=391, seeds=(0,), evaluations=4, dataset="auto", arms=whole),
            Profile(
                "paper",
                iterations=64_000,
                seeds=(0, 1, 2, 3, 4),
                evaluations=64,
                dataset="cifar10",
                arms=(*whole, *(arm.name for arm in fewer)),
            ),
        ],
        claims=[
            Claim(
                "D1",
                measured=True,
                source="He15 §1, §4.2, blog-A, blog-C; denied by blog-E, which names overfitting as a cause",
                text="The deeper plain net has the higher training error, so its failure is not overfitting.",
                test=[higher("train_error", "plain-56", than="plain-20", published=4.5)],
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D2",
                measured=True,
                source="He15 §4.2, blog-A, blog-C, blog-E",
                text="The deeper plain net has the higher test error.",
                test=[higher("test_error", "plain-56", than="plain-20", published=3.54)],
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D3",
                measured=True,
                source="He15 §4.2",
                text="With shortcuts, depth helps: resnet-56 has the lower training and test error.",
                test=[
                    lower("train_error", "resnet-56", than="resnet-20", published=-0.78),
                    lower("test_error", "resnet-56", than="resnet-20", published=-1.78),
                ],
                needs_paper_budget=True,
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D4",
                measured=True,
                source="He15 §4.2, blog-C",
                text="Each residual net beats its plain twin.",
                test=[
                    lower("test_error", "resnet-20", than="plain-20", published=-0.94),
                    lower("test_error", "resnet-56", than="plain-56", published=-6.26),
                ],
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D5",
                source="blog-A, partly blog-E; denied by He15 §4.1 and blog-C",
                text="Vanishing gradients are the cause of the degradation.",
                test=[
                    below("gradient_decay", "plain-56", -1.0, unit="decades"),
                    decays_more("gradient_decay"),
                ],
                note=(
                    "If they were, the first third of plain-56's layers would receive less than a tenth of the gradient of "
                    "the last third, averaged over the training, and the decay would be larger by at least 0.3 decades than "
                    "in resnet-56, which learns far better. The second comparison replaces one with plain-56-no-bn; it was "
                    "chosen after three seeds at 8,000 steps were seen."
                ),
            ),
            Claim(
                "D5-start",
                source="this project, on blog-A and blog-C",
                text="At the first step the gradient of plain-56 does not vanish towards the input but explodes.",
                test=[above("gradient_decay_start", "plain-56", 1.0, unit="decades")],
                note="Explodes: more than ten times as large in the first third of the layers as in the last third. Written "
                "after three seeds at 8,000 steps were seen.",
            ),
            Claim(
                "D5-plateau",
                source="this project, on blog-A",
                text="From 2.5 to 10 % of the schedule the gradient vanishes in plain-56 more than in resnet-56.",
                test=[decays_more("gradient_decay_plateau")],
                note=(
                    "Over 8,000 steps at the published rate, plain-56 has more than 60 % training error for this part. Over"
                    " 64,000 steps the part lies after its standstill. Written after three seeds at 8,000 steps were seen."
                ),
            ),
            Claim(
                "D5-rest",
                source="this project, on blog-A",
                text="After an eighth of the schedule the gradient decays as much in plain-56 as in resnet-56.",
                test=[same("gradient_decay_rest", "plain-56", as_="resnet-56", by=SAME_DECAY, unit="decades")],
                note="As much: within 0.3 decades. Written after three seeds at 8,000 steps were seen.",
            ),
            Claim(
                "D6",
                measured=True,
                source="He15 §4.2, figure 7",
                text="Residual nets have smaller layer responses than plain nets.",
                test=[
                    lower("mean_response", "resnet-20", than="plain-20", unit="(std)", published=-0.2),
                    lower("mean_response", "resnet-56", than="plain-56", unit="(std)", published=-0.39),
                ],
                needs_paper_budget=True,
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D7",
                source="blog-E",
                text="Lack of data causes the degradation: with more data the deep plain net falls behind less.",
                test=[
                    contrast(
                        "train_error",
                        {"plain-56": 1, "plain-20": -1, "plain-56-5k": -1, "plain-20-5k": 1},
                        sign=-1,
                        threshold=-SMALLER_GAP,
                        statement="training error: (plain-56 − plain-20) − (plain-56-5k − plain-20-5k)",
                    )
                ],
                note=(
                    "Degradation is a gap in training error. All arms take the same number of steps. The arms with 15,000 "
                    "images show the course between. Until these runs began, test errors were to be compared, in which "
                    "overfitting counts."
                ),
            ),
            Claim(
                "D8",
                source="blog-A",
                text="Handing the input on to the next layer solves the vanishing gradient.",
                test=[
                    contrast(
                        "gradient_decay",
                        {"resnet-56": 1, "plain-56": -1},
                        sign=1,
                        threshold=SAME_DECAY,
                        statement="gradient decay: resnet-56 ÷ plain-56",
                        unit="decades",
                    )
                ],
                note=(
                    "Solved: averaged over the training, the gradient reaches the first third of the layers at least twice as "
                    "strongly, relative to the last third, as in the plain net."
                ),
            ),
        ],
        answers=[
            "After {steps} steps plain-56 has {plain-56.train_error} % training error, plain-20 {plain-20.train_error} %; "
            "with shortcuts they have {resnet-56.train_error} and {resnet-20.train_error} %.",
            "On the test images plain-56 errs on {plain-56.test_error} % and plain-20 on {plain-20.test_error} %; resnet-56 on "
            "{resnet-56.test_error} % and resnet-20 on {resnet-20.test_error} %.",
            "Over the training the first third of the layers has {plain-56.gradient_decay:decades} times the gradient of the "
            "last third in plain-56; {resnet-56.gradient_decay:decades} times in resnet-56.",
            "With 5,000, 15,000 and 50,000 training images, plain-56 has {plain-56-5k.test_error}, {plain-56-15k.test_error} "
            "and {plain-56.test_error} % test error; plain-20 has {plain-20-5k.test_error}, {plain-20-15k.test_error} and "
            "{plain-20.test_error} %.",
        ],
        figures=[
            error_curves({"plain nets": plain, "residual nets": residual}),
            gradient_norms([*plain, *residual, without_bn]),
            layer_responses([*plain, *residual]),
        ],
        columns=(*ERRORS, Column("mean_response", "response")),
        published={
            "plain-20": {"test_error": 9.69, "train_error": 1.3, "mean_response": 1.82},
            "plain-56": {"test_error": 13.23, "train_error": 5.8, "mean_response": 1.52},
            "resnet-20": {"test_error": 8.75, "mean_response": 1.62},
            "resnet-56": {"test_error": 6.97, "mean_response": 1.13},
        },
        published_note=(
            "Published values after 64,000 steps. Errors of residual nets: He15 table 6. Errors of plain nets: read from "
            "figure 6; the training error is the mean of the last ten points of the running error. Responses: figure 7."
        ),
        deviations=[
            HE15_BATCH_STATISTICS,
            HE15_NORMALIZATION,
            "SGD uses plain momentum, not Nesterov's. The paper does not say which.",
            "Weight decay applies to all parameters, including those of batch normalization. The paper does not say.",
            "The per-pixel mean is subtracted, as published. Pixels are then divided by one number, the standard deviation "
            "of all pixels. The paper names no scale. Without batch normalization, the scale matters.",
            "Training uses all 50,000 training images. The paper chose its schedule on a split of 45,000 and 5,000.",
            "He initialization uses each layer's fan-in, also for the linear layer. The bias starts at zero.",
            "Option A shortcuts pad half of the missing channels before and half after the others. The paper does not say.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights. The paper used float32.",
            "Compressed schedules (quick and ITERATIONS=) begin with 400 steps at a rate of 0.01, except in runs whose recipe "
            "above has no such start, which are older. The paper profile and prefixes follow the published schedule.",
            "plain-56-no-bn is not in the paper. It shows the gradients of a net without batch normalization, trains for a "
            "tenth of the schedule and decides no claim.",
            "The arms named over-64 compute batch statistics over groups of 64 images, as on the paper's two GPUs. They run on "
            "request (ARMS=) and decide no claim.",
            "The arms with 5,000 and 15,000 training images are not in the paper. They serve claim D7.",
        ],
    )
