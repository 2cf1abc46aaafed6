"""Residual networks gain from depth up to 110 layers, not at 1202.  He15 table 6 and section 4.2.

    make depth                  one epoch, one seed; a few steps of 1202 layers: about 12 minutes on two CPU cores
    make depth PREFIX=34000     past the first division of the rate; decides P1
    make depth PROFILE=paper    the published 64,000 steps, five seeds: days of GPU work
Expected after one epoch: test errors within about three points of each other, the deepest net last. One epoch is too short
to gain from depth.
Expected after 64,000 steps: 8.75, 7.51, 7.17, 6.97, 6.43 (6.61 ± 0.16 over five runs), 7.93 % test error for 20, 32, 44, 56,
110, 1202 layers.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import below, higher, not_higher, trend
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import (
    HE15_BATCH_STATISTICS,
    HE15_CIFAR,
    HE15_CIFAR_WARM_UP,
    HE15_NORMALIZATION,
    PAST_FIRST_DIVISION,
)
from resnet_repro.design.experiment import Experiment, Profile
from resnet_repro.figures.curves import error_curves
from resnet_repro.figures.points import errors_by_depth


def depth() -> Experiment:
    shallow = [cifar_arm("resnet", layers, HE15_CIFAR) for layers in (20, 32, 44, 56)]
    deep = [cifar_arm("resnet", layers, HE15_CIFAR_WARM_UP) for layers in (110, 1202)]
    # Measures what recomputation costs and saves at 1202 layers: the same net with all activations stored.
    stored = cifar_arm(
        "resnet", 1202, HE15_CIFAR_WARM_UP, name="resnet-1202-stored", control=True, activations="stored"
    )
    steps = {"resnet-1202": 8, "resnet-1202-stored": 4}

    return Experiment(
        name="depth",
        title="Depth: residual networks from 20 to 1202 layers",
        question="Does the error of residual nets fall from 20 to 110 layers? Can 1202 layers be trained, and do they help?",
        source="He15, section 4.2 and table 6",
        dataset="cifar10",
        arms=[*shallow, *deep, stored],
        profiles=[
            Profile("quick", iterations=391, seeds=(0,), evaluations=4, dataset="auto", stretches=steps),
            Profile(
                "paper",
                iterations=64_000,
                seeds=(0, 1, 2, 3, 4),
                evaluations=64,
                dataset="cifar10",
                arms=tuple(arm.name for arm in (*shallow, *deep)),
            ),
        ],
        claims=[
            Claim(
                "P1",
                measured=True,
                source="He15 table 6, blog-C",
                text="The test error falls from 20 to 110 layers.",
                test=[trend("test_error", [arm.name for arm in (*shallow, deep[0])], -1, published=-0.48)],
                needs_paper_budget=True,
                from_prefix=PAST_FIRST_DIVISION,
                note="Judged by the mean change in error from each depth to the next.",
            ),
            Claim(
                "P2",
                measured=True,
                source="He15 §4.2",
                text="1202 layers train without difficulty, to a training error below 0.1 %.",
                test=[below("train_error", "resnet-1202", 0.1, unit="%")],
                needs_paper_budget=True,
            ),
            Claim(
                "P3",
                measured=True,
                source="He15 §4.2, table 6; blog-C",
                text="1202 layers have a higher test error than 110, because they overfit.",
                test=[
                    higher("test_error", "resnet-1202", than="resnet-110", published=1.32),
                    not_higher("train_error", "resnet-1202", than="resnet-110", margin=0.5),
                ],
                needs_paper_budget=True,
                note="Overfit: its training error exceeds that of 110 layers by less than half a point, if at all.",
            ),
        ],
        answers=[
            "After {steps} steps, the test error is {resnet-20.test_error} % at 20 layers; {resnet-32.test_error} at 32; "
            "{resnet-44.test_error} at 44; {resnet-56.test_error} at 56; {resnet-110.test_error} at 110.",
            "resnet-1202 has {resnet-1202.train_error} % training and {resnet-1202.test_error} % test error; resnet-110 "
            "{resnet-110.train_error} % and {resnet-110.test_error} %.",
            "A step of training takes {resnet-1202.step_seconds} s and {resnet-1202.peak_memory_gib} GiB with 1202 layers; "
            "{resnet-110.step_seconds} s and {resnet-110.peak_memory_gib} GiB with 110.",
        ],
        figures=[
            errors_by_depth([*shallow, *deep]),
            error_curves({"up to 56 layers": shallow, "110 layers": deep[:1]}),
        ],
        published={
            "resnet-20": {"test_error": 8.75},
            "resnet-32": {"test_error": 7.51},
            "resnet-44": {"test_error": 7.17},
            "resnet-56": {"test_error": 6.97},
            "resnet-110": {"test_error": 6.43},
            "resnet-1202": {"test_error": 7.93},
        },
        published_note=(
            "Published values after 64,000 steps: He15 table 6. For resnet-110 it is the best of five runs; their mean is "
            "6.61 ± 0.16."
        ),
        deviations=[
            "The warm-up of the published schedule ends at the first reading of the running training error below 80 %. A "
            "reading covers a hundredth of the budget and at most 100 steps. The paper does not say how it measured the error. "
            "The milestones do not move with the warm-up. On CIFAR-100 the limit is 88 %, the same share of the error of "
            "guessing.",
            "resnet-1202 recomputes its activations block by block if storing them would take more than 4 GiB on a CPU or "
            "half of a device's memory. The gradients are the same, the memory is smaller, and a step takes longer.",
            "Compressed schedules (quick and ITERATIONS=) begin with 400 steps at a rate of 0.01, except in runs whose recipe "
            "above has no such start, which are older. The paper profile and prefixes follow the published schedule.",
            "Outside the paper profile, resnet-1202 trains for 8 steps and is not scored; only its time and memory are "
            "measured. resnet-1202-stored is not in the paper: it is the same net without recomputation.",
            HE15_BATCH_STATISTICS,
            HE15_NORMALIZATION,
            "SGD uses plain momentum, not Nesterov's, and weight decay applies to all parameters. The paper does not say.",
            "The per-pixel mean is subtracted, as published. Pixels are then divided by the standard deviation of all pixels.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights. The paper used float32.",
        ],
    )
