"""Is degradation an artefact of the learning rate?  He15 sections 4.1 and 4.2; the question is this project's.

    make rates                  100 steps at each of four rates, 400 at the best one, one seed: 20 minutes on two CPU cores
    make rates PROFILE=paper    2,000 steps at each rate, 8,000 at the best one, three seeds: 20 core-hours
Expected: at lower rates, or with a warm-up, the deep plain net trains better than at the published rate of 0.1. The question is
how much of its distance to the shallow net is left at the best rate of each.
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import contrast, higher, lower
from resnet_repro.config.arm import Arm, Recipe, Search
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR_AT_ONCE, HE15_CIFAR_WARM_UP
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.rates import NetAtRates, errors_by_rate

NETS = (("plain", 20), ("plain", 56), ("resnet", 20), ("resnet", 56))
PUBLISHED = HE15_CIFAR_AT_ONCE.learning_rate
RATES = (0.003, 0.01, 0.03, PUBLISHED)
LONG = 4  # times as long as the runs that compare the rates
WARMED_UP = replace(HE15_CIFAR_WARM_UP, compressed=None)
AT_BEST = replace(HE15_CIFAR_AT_ONCE, name="he15-cifar at the best rate")
LEFT = 1 / 3  # of the gap at the published rate
SEEDS = 3  # planned
COSTS = 1.0  # points of training error: the smallest difference of interest


def at_rate(rate: float) -> Recipe:
    """He15's recipe with another first rate, which is divided at the same parts of the schedule."""
    if rate == PUBLISHED:
        return HE15_CIFAR_AT_ONCE
    return replace(HE15_CIFAR_AT_ONCE, name=f"he15-cifar at rate {rate:g}", learning_rate=rate)


def at_rates(kind: str, depth: int) -> list[Arm]:
    """A net at each rate. At the published one it has the name of the net."""
    names = {rate: None if rate == PUBLISHED else f"{kind}-{depth}-rate-{rate:g}" for rate in RATES}
    return [cifar_arm(kind, depth, at_rate(rate), name=name) for rate, name in names.items()]


def at_best(kind: str, depth: int, among: list[Arm]) -> Arm:
    """A longer training at the rate that gave the lowest training error."""
    arm = cifar_arm(kind, depth, AT_BEST, name=f"{kind}-{depth}-best", length=LONG)
    return replace(arm, search=Search(tuple(candidate.name for candidate in among), "train_error"))


def gap(suffix: str, weight: float) -> dict[str, float]:
    """Weights of the training errors in a multiple of plain-56 minus plain-20."""
    return {f"plain-56{suffix}": weight, f"plain-20{suffix}": -weight}


def rates() -> Experiment:
    by_rate = {net: at_rates(*net) for net in NETS}
    best = {net: at_best(*net, by_rate[net]) for net in NETS}
    warmed_up = {net: cifar_arm(*net, WARMED_UP, name=f"{net[0]}-{net[1]}-warm-up") for net in NETS}
    published = {
        net: cifar_arm(*net, HE15_CIFAR_AT_ONCE, name=f"{net[0]}-{net[1]}-long", length=LONG)
        for net in NETS
        if net[0] == "plain"
    }
    searched = [arm for arms in by_rate.values() for arm in arms]
    long = [*published.values(), *best.values()]
    shown = {f"{kind}-{depth}": (kind, depth) for kind, depth in NETS}

    return Experiment(
        name="rates",
        title="Is degradation an artefact of the learning rate?",
        question=(
            "Does the deep plain net still train worse than the shallow one if each is trained at its own best learning rate? "
            "How much of the gap at the published rate is left?"
        ),
        source="this project, on He15, section 4.2",
        dataset="cifar10",
        arms=[*searched, *warmed_up.values(), *long],
        profiles=[
            Profile(
                "quick",
                iterations=100,
                seeds=(0,),
                evaluations=1,
                dataset="auto",
                arms=tuple(arm.name for arm in (*searched, *published.values(), *(best[net] for net in published))),
            ),
            Profile("paper", iterations=2_000, seeds=(0, 1, 2), evaluations=4, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "G1",
                seeds=SEEDS,
                source="this project, on He15 §4.1 and §4.2",
                text="At each net's own best rate, the deep plain net still ends with the higher training error.",
                test=[higher("train_error", "plain-56-best", than="plain-20-best")],
                note=(
                    "Best: the one of four rates with the lowest training error after a quarter of these steps. The errors are "
                    "of the longer training at that rate, which no choice has seen."
                ),
            ),
            Claim(
                "G2",
                seeds=SEEDS,
                source="this project, on He15 §4.1 and §4.2",
                text=(
                    "At each net's own best rate, less than a third of the gap between plain-56 and plain-20 at the published "
                    "rate is left."
                ),
                test=[
                    contrast(
                        "train_error",
                        {**gap("-long", LEFT), **gap("-best", -1)},
                        1,
                        "training error: a third of (plain-56-long − plain-20-long) − (plain-56-best − plain-20-best)",
                    )
                ],
                note=(
                    "Both gaps are after equally many steps. A third is this project's threshold: with less left, the rate "
                    "explains more than two thirds of the degradation."
                ),
            ),
            Claim(
                "G3",
                seeds=SEEDS,
                source="this project, on He15 §4.2",
                text="Shortcuts help the deep net also if the plain and the residual one train at their own best rates.",
                test=[lower("train_error", "resnet-56-best", than="plain-56-best")],
            ),
            Claim(
                "G4",
                seeds=SEEDS,
                source="this project, on He15 §4.2",
                text="At each net's own best rate, the deeper residual net ends with the lower training error.",
                test=[lower("train_error", "resnet-56-best", than="resnet-20-best")],
                note=(
                    "He15's nets show it after 64,000 steps. In schedules of an eighth of that at the published rate from the "
                    "first step, resnet-56 ended with the higher error."
                ),
            ),
            Claim(
                "G5",
                seeds=SEEDS,
                source="this project",
                text="The published rate instead of a tenth of it costs the deep plain net more than the deep residual one.",
                test=[
                    contrast(
                        "train_error",
                        {"plain-56": 1, "plain-56-rate-0.01": -1, "resnet-56": -1, "resnet-56-rate-0.01": 1},
                        1,
                        "training error: (plain-56 − plain-56-rate-0.01) − (resnet-56 − resnet-56-rate-0.01)",
                        threshold=COSTS,
                    )
                ],
                note="More: by over a point of training error. The four runs of a seed have the same first weights and images.",
            ),
            Claim(
                "G6",
                seeds=SEEDS,
                source="this project, on He15 §4.2",
                text="The paper's warm-up removes more than half of the gap between plain-56 and plain-20 at that rate.",
                test=[
                    contrast(
                        "train_error",
                        {**gap("", 0.5), **gap("-warm-up", -1)},
                        1,
                        "training error: half of (plain-56 − plain-20) − (plain-56-warm-up − plain-20-warm-up)",
                    )
                ],
                note="He15 warms up resnet-110 only, because a rate of 0.1 is slightly too large for it to start converging.",
            ),
        ],
        answers=[
            "After {plain-56-best.steps} steps at its own best rate, plain-56 has {plain-56-best.train_error} % training error "
            "and plain-20 {plain-20-best.train_error} %; at the published rate, plain-56-long has "
            "{plain-56-long.train_error} % and plain-20-long {plain-20-long.train_error} %.",
            "At their best rates, resnet-56 has {resnet-56-best.train_error} % and resnet-20 {resnet-20-best.train_error} %.",
            "After {plain-56.steps} steps, plain-56 has {plain-56.train_error} % training error at the published rate and "
            "{plain-56-rate-0.01.train_error} % at a tenth of it; resnet-56 {resnet-56.train_error} % and "
            "{resnet-56-rate-0.01.train_error} %; with the paper's warm-up plain-56 has {plain-56-warm-up.train_error} %.",
        ],
        figures=[
            errors_by_rate(
                {
                    name: NetAtRates(by_rate[net], warmed_up[net], best[net], published.get(net))
                    for name, net in shown.items()
                },
                PUBLISHED,
            ),
            curves(
                "errors",
                {
                    "at the published rate": [arm for arm in searched if arm.recipe.learning_rate == PUBLISHED],
                    "at the published rate after a warm-up": [*warmed_up.values()],
                    "longer, plain nets at the published and the best rate": [
                        *published.values(),
                        *(best[net] for net in published),
                    ],
                    "longer, each net at its best rate": [*best.values()],
                },
                dashed="running_train_error",
                solid="test_error",
                label="error (%)",
            ),
        ],
        published={},
        published_note="The paper trains at one rate.",
        columns=(Column("train_error", "train %"), Column("test_error", "test %")),
        deviations=[
            "The experiment is ours: He15 trains all nets at a first rate of 0.1, and warms up those of 110 and more layers.",
            "The schedule is He15's in at most a thirty-second of its steps (2,000), and in four times as many for the longer "
            "runs (8,000), which grades count as four schedules: the rate is divided by 10 after a half and after three "
            "quarters of the steps. The experiment varies the first rate.",
            "Other experiments begin short schedules with 400 steps at a rate of at most 0.01. Here no arm does: each rate, "
            "also 0.1, holds from the first step on. Arms named warm-up have the paper's warm-up: 0.01 until the training "
            "error is below 80 %, as the mean over a hundredth of the steps. It does not move the divisions of the rate.",
            "The best rate is the one of 0.003, 0.01, 0.03 and 0.1, without warm-up, with the lowest training error in the "
            "shorter runs. It is chosen for each net and seed. For four times as many steps, another rate may be the best one.",
            "A run that diverges counts with the error of guessing.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
