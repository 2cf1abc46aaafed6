"""Does the starting point do the shortcut's work?  He15 sections 1 and 3.1; the question is this project's.

    make beginnings                  240 steps of eleven nets, one seed: 20 minutes on two CPU cores
    make beginnings PROFILE=paper    2,000 steps, three seeds: 8 core-hours
Expected: unknown. If a deep plain net that begins as the identity trains as the shallow one does, then it is the starting point
that matters, and not the path through the shortcuts. The nets built in `construction` speak against it.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import between, contrast, higher, lower, same
from resnet_repro.config.arm import Start
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR_AT_ONCE
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.layers import gradient_norms
from resnet_repro.figures.points import errors_by_arm

RECIPE = HE15_CIFAR_AT_ONCE
STARTS = ("identity", "dirac", "orthogonal")
SCALES = (0.0, 0.1)  # of the last batch normalization of each residual block; 1 is the usual one
PERTURBATION = 0.1  # of the added layers of a built net
SEEDS = 3  # planned
SMALLEST = 1.0  # points of training error: the smallest difference of interest
EXPLODES = 1.0  # decades between the first and the last third of the layers, as in claim D5-start


def beginnings() -> Experiment:
    shallow, he = (cifar_arm("plain", depth, RECIPE) for depth in (20, 56))
    special = [cifar_arm("plain", 56, RECIPE, init=start) for start in STARTS]
    built = [
        cifar_arm("plain", 20, RECIPE, name="plain-20-on", start=Start(shallow.name, "copy")),
        cifar_arm("plain", 56, RECIPE, name="plain-56-built-on", start=Start(shallow.name, "deepen")),
        cifar_arm(
            "plain",
            56,
            RECIPE,
            name="plain-56-perturbed-on",
            start=Start(shallow.name, "deepen", perturbation=PERTURBATION),
        ),
    ]
    residual = [cifar_arm("resnet", 56, RECIPE, last_scale=scale) for scale in SCALES]
    residual.append(cifar_arm("resnet", 56, RECIPE))
    plain = [shallow, he, *special]

    return Experiment(
        name="beginnings",
        title="Beginnings: does the starting point do the shortcut's work?",
        question=(
            "A plain net can begin as the identity, as residual nets nearly do. Does it then train like a shallow net, or like "
            "a residual one?"
        ),
        source="this project, on He15, sections 1 and 3.1; Xiao et al. 2018; Goyal et al. 2017",
        dataset="cifar10",
        arms=[*plain, *built, *residual],
        profiles=[
            Profile("quick", iterations=240, seeds=(0,), evaluations=2, dataset="auto"),
            Profile("paper", iterations=2_000, seeds=(0, 1, 2), evaluations=4, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "J1",
                seeds=SEEDS,
                source="this project, on He15 §1 and §3.1",
                text="A plain-56 that begins as the identity within its stages trains as plain-20 does.",
                test=[same("train_error", "plain-56-identity", as_="plain-20", by=SMALLEST)],
                note=(
                    "As plain-20: within a point of training error at the end. A contradiction can be in either direction; the "
                    "effect shows which."
                ),
            ),
            Claim(
                "J1-gradient",
                seeds=SEEDS,
                source="this project, on Yang 2019",
                text="Its first gradients neither explode nor vanish towards the input.",
                test=[between("gradient_decay_start", "plain-56-identity", -EXPLODES, EXPLODES, unit="decades")],
                note=(
                    "By less than a factor of ten between the first and the last third of the layers. He's initialization has "
                    "more (D5-start). This checks the treatment: the net does begin where gradients pass."
                ),
            ),
            Claim(
                "J2",
                seeds=SEEDS,
                source="this project, on He15 §1",
                text="From the identity, plain-56 ends with a lower training error than from He's initialization.",
                test=[lower("train_error", "plain-56-identity", than="plain-56")],
            ),
            Claim(
                "J3",
                seeds=SEEDS,
                source="this project, on Xiao et al. 2018",
                text="Beginning with orthogonal kernels helps plain-56 as well.",
                test=[lower("train_error", "plain-56-orthogonal", than="plain-56")],
                note=(
                    "Xiao et al. train very deep nets with such kernels, but with tanh and without batch normalization. They "
                    "do not claim it for these nets."
                ),
            ),
            Claim(
                "J4",
                seeds=SEEDS,
                source="this project, on He15 §3.1",
                text="No start does the work of the shortcuts: resnet-56 ends with a lower training error than every plain-56.",
                test=[
                    contrast(
                        "train_error",
                        {arm.name: 1, "resnet-56": -1},
                        1,
                        f"training error: {arm.name} − resnet-56",
                        threshold=SMALLEST,
                    )
                    for arm in (he, *special)
                ],
                note="Lower: by more than a point of training error.",
            ),
            Claim(
                "J5",
                seeds=SEEDS,
                source="this project, on He15 §1",
                text=(
                    "The net built from a trained plain-20 ends worse than plain-20 trained as long, also if its added layers "
                    "are not exactly the identity."
                ),
                test=[higher("train_error", "plain-56-perturbed-on", than="plain-20-on")],
                note=(
                    "K3 tests the exact identity, which is a special point: added kernels have one entry per channel that is "
                    "not zero. Both nets descend from the same trained net in each seed and so are paired."
                ),
            ),
            Claim(
                "J6",
                seeds=SEEDS,
                source="this project, on Goyal et al. 2017, section 5.1",
                text="A scale of zero in the last batch normalization of each block makes the start of the training easier.",
                test=[lower("mean_running_error", "resnet-56-last-0", than="resnet-56")],
                note=(
                    "By the mean error on the training batches over all steps, which is lower if a net learns sooner. Goyal et "
                    "al. say it of all nets, for large batches above all; here batches have 128 images."
                ),
            ),
            Claim(
                "J7",
                seeds=SEEDS,
                source="this project, on Goyal et al. 2017",
                text="A small scale is enough for that: zero is no special point.",
                test=[lower("mean_running_error", "resnet-56-last-0.1", than="resnet-56")],
            ),
        ],
        answers=[
            "After {steps} steps, plain-56 that begins as the identity has {plain-56-identity.train_error} % training error, "
            "from He's initialization {plain-56.train_error} %, with orthogonal kernels {plain-56-orthogonal.train_error} %; "
            "plain-20 has {plain-20.train_error} % and resnet-56 {resnet-56.train_error} %.",
            "At the first step, the first third of the layers has {plain-56-identity.gradient_decay_start:decades} times the "
            "gradient of the last third if plain-56 begins as the identity, "
            "{plain-56-orthogonal.gradient_decay_start:decades} times with orthogonal kernels, and "
            "{plain-56.gradient_decay_start:decades} times from He's initialization.",
            "Built from a trained plain-20 and trained on, plain-56 has {plain-56-built-on.train_error} % training error, with "
            "perturbed added layers {plain-56-perturbed-on.train_error} %, and plain-20 trained as long "
            "{plain-20-on.train_error} %.",
            "With a first scale of 0 at the end of its blocks, resnet-56 has {resnet-56-last-0.train_error} % training error, "
            "with 0.1 {resnet-56-last-0.1.train_error} %, with 1 {resnet-56.train_error} %.",
        ],
        figures=[
            curves(
                "errors",
                {
                    "plain nets from the start": plain,
                    "built from a trained plain-20": built,
                    "residual nets, by the first scale of their blocks": residual,
                },
                dashed="running_train_error",
                solid="test_error",
                label="error (%)",
            ),
            gradient_norms([he, *special, residual[-1], residual[0]]),
            errors_by_arm(
                {
                    "plain nets from the start": plain,
                    "built from a trained plain-20, trained on": built,
                    "residual nets": residual,
                }
            ),
        ],
        published={},
        published_note="No source has these nets.",
        columns=(
            Column("train_error", "train %"),
            Column("test_error", "test %"),
            Column("mean_running_error", "mean running %"),
            Column("gradient_decay_start", "first gradient, log10", 2),
        ),
        deviations=[
            "The experiment is ours: He15 argues with nets that pass their input on, but trains none.",
            "All nets train at He15's rate of 0.1 from the first step on, also in short schedules, since the question is "
            "whether a good start survives it.",
            "Special starts replace the kernels of the 3×3 convolutions that keep the number of channels: 52 of 55. The first "
            "convolution, the two that begin a stage with twice the channels, and the linear layer have He's initialization, "
            "with the same draws in all nets of a seed.",
            "Identity: kernels pass each channel through, and batch normalization has a scale of 1 and a shift of "
            "1/√(π − 1) = 0.683, the mean of a rectified normal variable in units of its standard deviation. A stage then "
            "passes its input on, up to a factor per channel. Dirac has the same kernels with the usual shift of 0: batch "
            "normalization and ReLU then set the values below a channel's mean to zero, layer after layer, so it is not the "
            "identity. It shows what the kernels alone do. On 100 training images and two seeds, each channel's correlation "
            "between input and output of an untrained stage was at least 0.97 with the shift. Without it, its mean was 0.6 in "
            "the first stage, where 6 % of the values were not zero.",
            "Orthogonal: the middle of each kernel is a random orthogonal matrix, the rest is zero (delta-orthogonal, Xiao et "
            "al. 2018). So it differs from the identity start in a rotation of the channels, and in the shift.",
            "The net built from plain-20 has added layers whose batch normalization undoes itself, as in construction. "
            "Perturbed: a tenth of the net's own kernels from He's initialization is added to the identity. The trained nets "
            "of this group have twice the steps of the others.",
            "A residual net has its last scales set to 0 or 0.1 in all blocks; Goyal et al. do so in bottleneck nets.",
            "A run that diverges counts with the error of guessing.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
    )
