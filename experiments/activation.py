"""ReLU, tanh and sigmoid, with and without dropout, each at its best learning rate.  blog-E; Krizhevsky 2012 figure 1.

    make activation                  eight epochs and the search for the rates, one seed: 20 minutes on two CPU cores
    make activation PROFILE=paper    40 epochs, five seeds: needs a GPU
    make activation PROFILE=paper SEEDS=0-4 ARMS=relu-fast,tanh-fast    for R1: four core-hours
    make activation PROFILE=paper SEEDS=0-2 ARMS=relu-4,relu-8,relu-16,tanh-4,tanh-8,tanh-16,sigmoid-4,sigmoid-8,sigmoid-16
                                     for R2-deep and R2-learns: one core-hour
Expected from the paper: ReLU reaches 25 % training error about six times sooner than tanh.
"""

from dataclasses import replace
from math import log2

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Comparison, above, below, contrast, lower, trend
from resnet_repro.config.arm import Arm, ModelSpec, Recipe, Search
from resnet_repro.config.recipes import FOUR_LAYERS
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.layers import gradient_norms_along
from resnet_repro.figures.points import errors_by_arm

ACTIVATIONS = ("relu", "tanh", "sigmoid")
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
DROPOUT = 0.5

# The comparison of speeds: rates near the fastest one, and readings often enough to see a net that is six times faster.
FAST_RATES = (0.003, 0.01, 0.02, 0.03, 0.05, 0.1)
READ_EVERY = 10  # steps; 25 % counts as the mean of five readings, so 50 steps are the least that can be measured

DEPTHS = (4, 8, 16)
STACK_RATES = {"relu": 0.01, "tanh": 0.03, "sigmoid": 0.1}  # the best ones of the four-layer net
STACK_LENGTH = 0.1  # of the schedule: four epochs
LEARNS = 75.0  # in percent of the error of guessing


def at_rate(rate: float) -> Recipe:
    return replace(FOUR_LAYERS, name=f"{FOUR_LAYERS.name} at rate {rate:g}", learning_rate=rate)


def candidate(activation: str, rate: float) -> Arm:
    """A quarter of the training at one rate, scored on the validation images."""
    model = ModelSpec("four_layers.four_layers", {"activation": activation})
    return Arm(f"{activation}-rate-{rate:g}", model, at_rate(rate), control=True, share=0.25)


def searched(activation: str, dropout: float = 0.0) -> Arm:
    """The whole training, at the rate of the activation's best candidate."""
    model = ModelSpec("four_layers.four_layers", {"activation": activation, "dropout": dropout})
    search = Search(tuple(f"{activation}-rate-{rate:g}" for rate in RATES))
    return Arm(f"{activation}-dropout" if dropout else activation, model, FOUR_LAYERS, search=search)


def fast_candidate(activation: str, rate: float) -> Arm:
    """A quarter of the training at one rate, with frequent readings of the running error."""
    return replace(candidate(activation, rate), name=f"{activation}-fast-rate-{rate:g}", read_every=READ_EVERY)


def fastest(activation: str) -> Arm:
    """A quarter of the training, at the rate of the candidate that reaches 25 % training error first."""
    model = ModelSpec("four_layers.four_layers", {"activation": activation})
    search = Search(tuple(fast_candidate(activation, rate).name for rate in FAST_RATES), "doublings_to_25")
    return Arm(f"{activation}-fast", model, FOUR_LAYERS, control=True, share=0.25, search=search, read_every=READ_EVERY)


def stack(activation: str, depth: int) -> Arm:
    """A stack of convolutions without normalization."""
    model = ModelSpec("conv_stack.conv_stack", {"depth": depth, "activation": activation})
    return Arm(f"{activation}-{depth}", model, at_rate(STACK_RATES[activation]), length=STACK_LENGTH)


def sooner(than: float, sign: int) -> Comparison:
    """ReLU reaches 25 % more (sign 1) or less (sign -1) than `than` times sooner than tanh."""
    return contrast(
        "doublings_to_25",
        {"tanh-fast": 1, "relu-fast": -1},
        sign=sign,
        threshold=log2(than),
        statement="steps to 25 % running training error: tanh-fast ÷ relu-fast",
        unit="doublings",
        published=log2(6),
    )


def activation() -> Experiment:
    plain = [searched(name) for name in ACTIVATIONS]
    dropped = [searched(name, DROPOUT) for name in ACTIVATIONS]
    candidates = [candidate(name, rate) for name in ACTIVATIONS for rate in RATES]
    fast = [fastest(name) for name in ("relu", "tanh")]
    fast_candidates = [fast_candidate(name, rate) for name in ("relu", "tanh") for rate in FAST_RATES]
    stacks = [stack(name, depth) for name in ACTIVATIONS for depth in DEPTHS]

    return Experiment(
        name="activation",
        title="Activations: ReLU, tanh, sigmoid, and dropout",
        question="How much sooner does a net learn with ReLU? Does sigmoid starve its early layers? What does dropout do?",
        source="blog-E on AlexNet; Krizhevsky 2012, figure 1",
        dataset="cifar10",
        arms=[*plain, *dropped, *stacks, *fast, *candidates, *fast_candidates],
        profiles=[
            # Without the comparison of speeds: a quarter of two epochs is too short to reach 25 %.
            Profile(
                "quick",
                iterations=2_816,
                seeds=(0,),
                evaluations=4,
                dataset="auto",
                arms=tuple(arm.name for arm in (*plain, *dropped, *stacks, *candidates)),
            ),
            Profile("paper", iterations=14_080, seeds=(0, 1, 2, 3, 4), evaluations=40, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "R1",
                measured=True,
                source="Krizhevsky 2012, figure 1",
                text="With ReLU, 25 % training error is reached six times sooner than with tanh.",
                test=[sooner(4, 1), sooner(9, -1)],
                seeds=5,
                needs_paper_budget=True,
                note="Six times: within a factor of 1.5 either way, from 4 to 9. A doubling is twice as many steps. Each net "
                "has the rate at which it is the fastest.",
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
                "R2-deep",
                source="blog-E",
                text="In a deep net, sigmoid starves the early layers of gradient, the more the deeper it is; ReLU does not.",
                test=[
                    comparison
                    for metric in ("gradient_decay_start", "gradient_decay_rest")
                    for comparison in (
                        below(metric, "sigmoid-16", -1.0, unit="decades"),
                        above(metric, "relu-16", -1.0, unit="decades"),
                        trend(metric, [f"sigmoid-{depth}" for depth in DEPTHS], -1, unit="decades per step"),
                    )
                ],
                note="Starved: the first third of the layers has less than a tenth of the last third's gradient, at the first "
                "step and after an eighth of the training. A step of the trend is a doubling of the depth.",
            ),
            Claim(
                "R2-learns",
                source="blog-E",
                text="With ReLU a deep net learns; with sigmoid it does not.",
                test=[
                    below("train_error_of_guessing", "sigmoid-4", LEARNS, unit="%"),
                    below("train_error_of_guessing", "relu-16", LEARNS, unit="%"),
                    above("train_error_of_guessing", "sigmoid-16", LEARNS, unit="%"),
                ],
                needs_paper_budget=True,
                note="Learns: the training error ends below three quarters of the error of guessing. Deep: 16 layers, without "
                "normalization; four layers learn with sigmoid, too.",
            ),
            Claim(
                "R3",
                source="blog-E",
                text="Dropout prevents overfitting: it narrows the gap between test and training error, and the test error is "
                "lower.",
                test=[
                    lower(metric, f"{name}-dropout", than=name)
                    for metric in ("generalization_gap", "test_error")
                    for name in ACTIVATIONS
                ],
                needs_paper_budget=True,
                note="The gap: test error minus training error after the last step, both in evaluation mode. The comparison of "
                "test errors was added after three seeds were seen.",
            ),
        ],
        answers=[
            "25 % training error is reached after {relu-fast.doublings_to_25:doublings} steps with ReLU and after "
            "{tanh-fast.doublings_to_25:doublings} steps with tanh, "
            "{tanh-fast.doublings_to_25 - relu-fast.doublings_to_25:doublings} times as many.",
            "Over the training, the first layer has {sigmoid.gradient_decay:decades} times the gradient of the last layer with "
            "sigmoid and {relu.gradient_decay:decades} times with ReLU.",
            "In a stack of 16 convolutions, the first third of the layers begins with "
            "{sigmoid-16.gradient_decay_start:decades} times the gradient of the last third with sigmoid and "
            "{relu-16.gradient_decay_start:decades} times with ReLU; the training error ends at {sigmoid-16.train_error} and "
            "{relu-16.train_error} %.",
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
            gradient_norms_along([*plain, *(arm for arm in stacks if arm.name.endswith("-16"))]),
            errors_by_arm(
                {
                    "without dropout": plain,
                    "with dropout": dropped,
                    "fastest rates, a quarter of the steps": fast,
                    "stacks of convolutions": stacks,
                }
            ),
        ],
        published={},
        published_note="Published: only the ratio of claim R1.",
        columns=(
            *ERRORS,
            Column("validation_error", "val. %"),
            Column("generalization_gap", "gap"),
            Column("gradient_decay", "decay, log10"),
        ),
        deviations=[
            "The net is ours: two 5×5 convolutions of 32 channels, each followed by 3×3 max pooling with stride 2, then a "
            "linear layer of 256 units and one to the classes. The paper names four layers but no sizes.",
            "Each activation's learning rate is the one of five with the lowest validation error after a quarter of the "
            "training, searched for each seed. It is then constant; dropout arms use the same rate. relu-fast and tanh-fast, "
            "which serve R1, take the one of six rates that reaches 25 % training error first, as in the paper. They train for "
            "a quarter of the schedule.",
            "25 % is reached when the mean of five readings of the running training error is at most 25 %, counted at the "
            "last of the five. In relu-fast and tanh-fast, a reading covers 10 steps, so that 50 steps are the least that can "
            "be measured; in other arms it covers 100.",
            "relu-4 to sigmoid-16 are stacks of 4, 8 and 16 convolutions (3×3, 32 channels, four stages with 2×2 max pooling) "
            "without normalization, trained for a tenth of the schedule at the rates that suit the four-layer net. blog-E "
            "speaks of deep nets and names none. ReLU stacks use He initialization, the others Xavier's: a deep ReLU stack "
            "with Xavier's would not start.",
            "5,000 training images are held out for the search. No net is trained on them.",
            "SGD with momentum 0.9 and batch 128, no weight decay and no augmentation: the paper says “no regularization of "
            "any kind”. All three activations use Xavier initialization in the four-layer net.",
            "Dropout drops half of the inputs of both linear layers.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
