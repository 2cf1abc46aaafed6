"""ReLU, tanh and sigmoid, with and without dropout, each at its best learning rate.  blog-E; Krizhevsky 2012 figure 1.

    make activation                  eight epochs and the search for the rates, one seed: 17 minutes on two CPU cores
    make activation PROFILE=paper    40 epochs, five seeds: needs a GPU
Expected from the paper: ReLU reaches 25 % training error about six times sooner than tanh.
"""

from dataclasses import replace
from math import log2

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Comparison, above, below, contrast, lower
from resnet_repro.config.arm import Arm, ModelSpec, Search
from resnet_repro.config.recipes import FOUR_LAYERS
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.layers import gradient_norms_along
from resnet_repro.figures.points import errors_by_arm

ACTIVATIONS = ("relu", "tanh", "sigmoid")
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
DROPOUT = 0.5


def candidate(activation: str, rate: float) -> Arm:
    """A quarter of the training at one rate, scored on the validation images."""
    recipe = replace(FOUR_LAYERS, name=f"{FOUR_LAYERS.name} at rate {rate:g}", learning_rate=rate)
    model = ModelSpec("four_layers.four_layers", {"activation": activation})
    return Arm(f"{activation}-rate-{rate:g}", model, recipe, control=True, share=0.25)


def searched(activation: str, dropout: float = 0.0) -> Arm:
    """The whole training, at the rate of the activation's best candidate."""
    model = ModelSpec("four_layers.four_layers", {"activation": activation, "dropout": dropout})
    search = Search(tuple(f"{activation}-rate-{rate:g}" for rate in RATES))
    return Arm(f"{activation}-dropout" if dropout else activation, model, FOUR_LAYERS, search=search)


def sooner(than: float, sign: int) -> Comparison:
    """ReLU reaches 25 % more (sign 1) or less (sign -1) than `than` times sooner than tanh."""
    words = "more" if sign > 0 else "less"
    return contrast(
        "doublings_to_25",
        {"tanh": 1, "relu": -1},
        sign=sign,
        threshold=log2(than),
        statement=f"steps to 25 % running training error: tanh takes {words} than {than:g} times as many as relu",
        unit="doublings",
    )


def activation() -> Experiment:
    plain = [searched(name) for name in ACTIVATIONS]
    dropped = [searched(name, DROPOUT) for name in ACTIVATIONS]
    candidates = [candidate(name, rate) for name in ACTIVATIONS for rate in RATES]

    return Experiment(
        name="activation",
        title="Activations: ReLU, tanh, sigmoid, and dropout",
        question="How much sooner does a net learn with ReLU? Does sigmoid starve its early layers? What does dropout do?",
        source="blog-E on AlexNet; Krizhevsky 2012, figure 1",
        dataset="cifar10",
        arms=[*plain, *dropped, *candidates],
        profiles=[
            Profile("quick", iterations=2_816, seeds=(0,), evaluations=4, dataset="auto"),
            Profile("paper", iterations=14_080, seeds=(0, 1, 2, 3, 4), evaluations=40, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "R1",
                source="Krizhevsky 2012, figure 1; blog-E",
                text="With ReLU, 25 % training error is reached six times sooner than with tanh.",
                test=[sooner(4, 1), sooner(9, -1)],
                needs_paper_budget=True,
                note="Six times: within a factor of 1.5 either way, from 4 to 9. A doubling is twice as many steps.",
            ),
            Claim(
                "R2",
                source="blog-E",
                text="Sigmoid starves the early layers of gradient; ReLU does not.",
                test=[
                    below("gradient_decay", "sigmoid", -1.0, unit="decades"),
                    above("gradient_decay", "relu", -1.0, unit="decades"),
                    lower("gradient_decay", "sigmoid", than="relu", unit="decades"),
                ],
                note="Starved: the first layer has less than a tenth of the last layer's gradient, averaged over the training.",
            ),
            Claim(
                "R3",
                source="blog-E",
                text="Dropout narrows the gap between test and training error.",
                test=[lower("generalization_gap", f"{name}-dropout", than=name) for name in ACTIVATIONS],
                needs_paper_budget=True,
                note="The gap: test error minus training error after the last step, both in evaluation mode.",
            ),
        ],
        answers=[
            "25 % training error is reached after {relu.doublings_to_25:doublings} steps with ReLU and after "
            "{tanh.doublings_to_25:doublings} steps with tanh, "
            "{tanh.doublings_to_25 - relu.doublings_to_25:doublings} times as many.",
            "Over the training, the first layer has {sigmoid.gradient_decay:decades} times the gradient of the last layer with "
            "sigmoid and {relu.gradient_decay:decades} times with ReLU.",
            "After {steps} steps, dropout reduces the gap between test and training error from {relu.generalization_gap} to "
            "{relu-dropout.generalization_gap} points with ReLU, from {tanh.generalization_gap} to "
            "{tanh-dropout.generalization_gap} with tanh and from {sigmoid.generalization_gap} to "
            "{sigmoid-dropout.generalization_gap} with sigmoid.",
        ],
        figures=[
            curves(
                "errors",
                {"without dropout": plain, "with dropout": dropped},
                dashed="running_train_error",
                solid="test_error",
                label="error (%)",
            ),
            gradient_norms_along(plain),
            errors_by_arm({"without dropout": plain, "with dropout": dropped}),
        ],
        published={},
        published_note="Published: only the ratio of claim R1.",
        columns=(
            *ERRORS,
            Column("validation_error", "val. %"),
            Column("generalization_gap", "gap"),
            Column("gradient_decay", "decay"),
        ),
        deviations=[
            "The net is ours: two 5×5 convolutions of 32 channels, each followed by 3×3 max pooling with stride 2, then a "
            "linear layer of 256 units and one to the classes. The paper names four layers but no sizes.",
            "Each activation's learning rate is the one of five with the lowest validation error after a quarter of the "
            "training, searched for each seed. It is then constant; dropout arms use the same rate. The paper chose the rate "
            "at which each net trains fastest, which need not be the one with the lowest validation error.",
            "25 % is reached when the mean of five readings of the running training error is at most 25 %, counted at the "
            "last of the five. If both nets get there early, the measured ratio is slightly closer to one than the true ratio.",
            "5,000 training images are held out for the search. No net is trained on them.",
            "SGD with momentum 0.9 and batch 128, no weight decay and no augmentation: the paper says “no regularization of "
            "any kind”. All three activations use Xavier initialization.",
            "Dropout drops half of the inputs of both linear layers.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
