"""What the layers of trained networks hold of the class and of the input.  blog-A 4.2 and 4.5.

    make features                  reads the runs of make degradation; about 14 minutes on two CPU cores
    make features PROFILE=paper    reads the runs of make degradation PROFILE=paper
Expected: the error of linear probes falls with depth. How much of the input image survives is open.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import above, below, lower
from resnet_repro.config.arm import Start
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.representations import feature_maps, first_filters, probes_and_recovery


def features() -> Experiment:
    nets = [(kind, layers) for kind in ("plain", "resnet") for layers in (20, 56)]
    trained = [
        cifar_arm(
            *net,
            HE15_CIFAR,
            name=f"{net[0]}-{net[1]}-trained",
            length=0,
            start=Start(f"{net[0]}-{net[1]}", "copy", experiment="degradation"),
            watch=("features",),
        )
        for net in nets
    ]
    initial = [
        cifar_arm(*net, HE15_CIFAR, name=f"{net[0]}-{net[1]}-initial", length=0, watch=("features",)) for net in nets
    ]

    return Experiment(
        name="features",
        title="Features: what the layers hold",
        question=(
            "Do layers go from simple to class-specific? Does a deep plain net lose the input image? Do shortcuts carry it on?"
        ),
        source="blog-A 4.2 and 4.5",
        dataset="cifar10",
        arms=[*trained, *initial],
        profiles=[
            Profile("quick", iterations=391, seeds=(0,), evaluations=1, dataset="auto"),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=1, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "Z1",
                source="blog-A 4.2",
                text="Layers go from simple to class-specific: the error of a linear probe falls with depth.",
                test=[
                    comparison
                    for arm in trained
                    for comparison in (
                        above("probe_drop", arm.name, 0.0, unit="points"),
                        below("probe_trend", arm.name, 0.0, unit="(rank correlation)"),
                    )
                ],
                note=(
                    "The mean probe error is lower in the last third of the layers than in the first, and error and depth are "
                    "negatively correlated. Deeper layers have more channels, which also helps a probe; compare with the same "
                    "nets at initialization."
                ),
            ),
            Claim(
                "Z2",
                source="blog-A 4.5",
                text="In a deep plain net, the input image is lost; shortcuts carry it on.",
                test=[
                    lower("recovered", "plain-56-initial", than="resnet-56-initial", unit="(R²)"),
                    lower("recovered", "plain-56-trained", than="resnet-56-trained", unit="(R²)"),
                ],
                note="The R² of a ridge regression that recovers the input, averaged over the last third of the layers.",
            ),
        ],
        answers=[
            "After {steps} steps of training, linear probes gain {plain-20-trained.probe_drop} points from the first third of "
            "plain-20's layers to the last; {plain-56-trained.probe_drop} in plain-56; {resnet-20-trained.probe_drop} in "
            "resnet-20; {resnet-56-trained.probe_drop} in resnet-56.",
            "From the last third, a regression recovers the input image with an R² of {plain-56-trained.recovered} in plain-56 "
            "and {resnet-56-trained.recovered} in resnet-56; {plain-20-trained.recovered} in plain-20; "
            "{resnet-20-trained.recovered} in resnet-20.",
            "At initialization, that R² is {plain-56-initial.recovered} in plain-56 and {resnet-56-initial.recovered} in "
            "resnet-56; {plain-20-initial.recovered} in plain-20; {resnet-20-initial.recovered} in resnet-20.",
        ],
        figures=[probes_and_recovery(trained, initial), first_filters(trained), feature_maps([trained[1], trained[3]])],
        published={},
        published_note="The source shows no numbers.",
        columns=(
            Column("test_error", "test %"),
            Column("probe_drop", "probe drop"),
            Column("probe_trend", "probe trend"),
            Column("recovered", "recovered R²"),
        ),
        deviations=[
            "The measurements are ours: the source describes what layers hold but measures nothing.",
            "Probes: logistic regression on the standardized channel means; 10,000 training images, all test images.",
            "Recovery: ridge regression from the standardized maps, averaged to 8×8, to the input averaged to 8×8; 5,000 "
            "training images, the penalty chosen on 1,000 others, R² on 2,000 test images. Features are clipped to their range "
            "in the 5,000.",
            "Layers are measured after the first convolution and after every block of two.",
        ],
    )
