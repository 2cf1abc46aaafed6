"""Plain networks get worse with depth, residual networks do not.  He15 sections 1 and 4.2, figures 1, 6 and 7.

    make degradation                  one epoch, one seed: about 8 minutes on two CPU cores
    make degradation PREFIX=34000     past the first division of the rate; decides all claims: ten core-hours a seed
    make degradation PROFILE=paper    the published 64,000 steps, five seeds: needs a GPU
Expected after one epoch: 58, 80, 49, 49 % training error for plain-20, plain-56, resnet-20, resnet-56.
Expected after 64,000 steps: 9.7, 13.2, 8.8, 7.0 % test error for the same nets.
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
    # Control for D5: plain-56 without batch normalization. A tenth of the schedule is enough to compare gradients.
    without_bn = cifar_arm("plain", 56, HE15_CIFAR, norm="none", control=True, share=0.1)

    return Experiment(
        name="degradation",
        title="Degradation: deeper plain networks train worse",
        question=(
            "Does a plain network of 56 layers end with a higher training error than one of 20 layers, although it can "
            "represent every function that the smaller one can? Do shortcuts fix this? Are vanishing gradients the cause?"
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
                text="The deeper plain net has the higher training error, so its failure is not overfitting.",
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
                text="With shortcuts, depth helps: resnet-56 has the lower training and test error.",
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
                    "If they were, the first third of plain-56's layers would receive less than a tenth of the gradient of "
                    "the last third, averaged over the training. Over the first tenth of the steps, it would also receive "
                    "less than the first third of the same net without batch normalization."
                ),
            ),
            Claim(
                "D6",
                source="He15 §4.2, figure 7",
                text="Residual nets have smaller layer responses than plain nets.",
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
            "Published values after 64,000 steps. Errors of residual nets: He15 table 6. Errors of plain nets: read from "
            "figure 6; the training error is the mean of the last ten points of the running error. Responses: figure 7."
        ),
        deviations=[
            "SGD uses plain momentum, not Nesterov's. The paper does not say which.",
            "Weight decay applies to all parameters, including those of batch normalization. The paper does not say.",
            "The per-pixel mean is subtracted, as published. Pixels are then divided by one number, the standard deviation "
            "of all pixels. The paper names no scale. Without batch normalization, the scale matters.",
            "Training uses all 50,000 training images. The paper chose its schedule on a split of 45,000 and 5,000.",
            "He initialization uses each layer's fan-in, also for the linear layer. The bias starts at zero.",
            "Option A shortcuts pad half of the missing channels before and half after the others. The paper does not say.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights. The paper used float32.",
            "Compressed schedules (quick and ITERATIONS=) begin with 400 steps at a rate of 0.01. The paper profile and "
            "prefixes follow the published schedule.",
            "plain-56-no-bn is not in the paper. It serves claim D5 and trains for a tenth of the schedule.",
        ],
    )
