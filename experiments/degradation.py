"""Plain networks get worse with depth, residual networks do not.  He15 sections 1 and 4.2, figures 1, 6 and 7.

    make degradation                  one epoch, one seed: about 8 minutes on two CPU cores
    make degradation PREFIX=34000     past the first division of the rate: decides all claims; ten core-hours a seed
    make degradation PROFILE=paper    the published 64,000 steps, five seeds: a GPU's work
Expected after one epoch: training error 58, 80, 49, 49 % for plain-20, plain-56, resnet-20, resnet-56.
Expected after 64,000 steps: plain-20 9.7, plain-56 13.2, resnet-20 8.8, resnet-56 7.0 % test error.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import below, higher, lower
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR, PAST_FIRST_DIVISION
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import error_curves
from resnet_repro.figures.layers import gradient_norms, layer_responses


def degradation() -> Experiment:
    plain = [cifar_arm("plain", depth, HE15_CIFAR) for depth in (20, 56)]
    residual = [cifar_arm("resnet", depth, HE15_CIFAR) for depth in (20, 56)]
    # What vanishing gradients look like: the deep plain net without batch normalization. A tenth of the schedule shows
    # it, and costs little.
    without_bn = cifar_arm("plain", 56, HE15_CIFAR, norm="none", control=True, share=0.1)

    return Experiment(
        name="degradation",
        title="Degradation: deeper plain networks train worse",
        question=(
            "Does a plain network of 56 layers end with the higher training error, though it could represent all that "
            "one of 20 layers can? Do shortcuts mend it? Are vanishing gradients the cause?"
        ),
        source="He15, sections 1 and 4.2, figures 1, 6 and 7",
        dataset="cifar10",
        arms=[*plain, *residual, without_bn],
        profiles=[
            Profile("quick", iterations=391, seeds=(0,), evaluations=4, dataset="auto"),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=64, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "D1",
                source="He15 §1, §4.2",
                text="The deeper plain net has the higher training error, so its failure is no overfitting.",
                test=[higher("train_error", "plain-56", than="plain-20")],
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D2",
                source="He15 §4.2, blog-A, blog-C",
                text="The deeper plain net has the higher test error.",
                test=[higher("test_error", "plain-56", than="plain-20")],
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D3",
                source="He15 §4.2",
                text="With shortcuts depth helps: resnet-56 has the lower training and test error.",
                test=[
                    lower("train_error", "resnet-56", than="resnet-20"),
                    lower("test_error", "resnet-56", than="resnet-20"),
                ],
                needs_paper_budget=True,
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D4",
                source="He15 §4.2, blog-C",
                text="Each residual net beats its plain twin.",
                test=[
                    lower("test_error", "resnet-20", than="plain-20"),
                    lower("test_error", "resnet-56", than="plain-56"),
                ],
                from_prefix=PAST_FIRST_DIVISION,
            ),
            Claim(
                "D5",
                source="blog-A, partly blog-E; denied by He15 §4.1 and blog-C",
                text="Vanishing gradients are the cause of the degradation.",
                test=[
                    below("gradient_decay", "plain-56", -1.0, unit="decades"),
                    lower("early_gradient", "plain-56", than="plain-56-no-bn", unit="decades"),
                ],
                note=(
                    "If they were, the first third of plain-56's layers would receive less than a tenth of the gradient "
                    "of the last third over the training, and over its first tenth no more than the first third of the "
                    "same net without batch normalization."
                ),
            ),
            Claim(
                "D6",
                source="He15 §4.2, figure 7",
                text="Residual nets have the smaller layer responses.",
                test=[
                    lower("mean_response", "resnet-20", than="plain-20", unit="(std)"),
                    lower("mean_response", "resnet-56", than="plain-56", unit="(std)"),
                ],
                needs_paper_budget=True,
                from_prefix=PAST_FIRST_DIVISION,
            ),
        ],
        answers=[
            "After {steps} steps plain-56 has {plain-56.train_error} % training error, plain-20 {plain-20.train_error} %; "
            "with shortcuts they have {resnet-56.train_error} and {resnet-20.train_error} %.",
            "On the test images plain-56 errs on {plain-56.test_error} % and plain-20 on {plain-20.test_error} %; resnet-56 on "
            "{resnet-56.test_error} % and resnet-20 on {resnet-20.test_error} %.",
            "Over the training the first third of the layers has {plain-56.gradient_decay:decades} times the gradient of the "
            "last third in plain-56; {resnet-56.gradient_decay:decades} times in resnet-56.",
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
            "Published after 64,000 steps: residual nets from He15 table 6; plain nets read from the curves of figure 6, "
            "their training error the running one, the mean of its last ten points; responses read from figure 7."
        ),
        deviations=[
            "Momentum is plain, not Nesterov's: the paper does not say.",
            "Weight decay acts on all parameters, those of batch normalization included: the paper does not say.",
            "The per-pixel mean is subtracted as published; pixels are then divided by one number, the standard deviation "
            "of all of them. The paper names no scale, and without batch normalization the scale matters.",
            "All 50,000 training images are trained on; the paper's split of 45,000 and 5,000 served its choice of schedule.",
            "He initialization with the fan-in of each layer, for the linear layer too; its bias starts at zero.",
            "Shortcuts of option A pad the missing channels half before and half after: the paper does not say where.",
            "Arithmetic is bf16 autocast where the hardware has it, with float32 weights; the paper's was float32.",
            "Compressed schedules, those of quick and ITERATIONS=, begin with 400 steps at a rate of 0.01; paper and prefixes "
            "are as published.",
            "plain-56-no-bn is ours, for claim D5. It trains for a tenth of the schedule.",
        ],
    )
