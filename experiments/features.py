"""What the layers of trained networks hold of the class and of the input, and what a block is worth.  blog-A; Veit 2016.

    make features                  reads the runs of make degradation; about 20 minutes on two CPU cores
    make features PROFILE=paper    reads the runs of make degradation PROFILE=paper
Expected: the error of linear probes falls with depth, and residual nets survive the loss of a block. How much of the input
image survives is open.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import above, below, lower
from resnet_repro.config.arm import Start
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.representations import errors_without_blocks, feature_maps, first_filters, probes_and_recovery

CALIBRATED_ON = 12_800  # images: 100 batches of 128


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
    # The weights of the trained arms again, with the measurements that came later.
    dissected = [
        cifar_arm(
            *net,
            HE15_CIFAR,
            name=f"{net[0]}-{net[1]}-dissected",
            length=0,
            start=Start(f"{net[0]}-{net[1]}", "copy", experiment="degradation"),
            watch=("probes", "blocks"),
        )
        for net in nets
    ]
    untrained = [
        cifar_arm(
            *net,
            HE15_CIFAR,
            name=f"{net[0]}-{net[1]}-untrained",
            length=0,
            calibrated_on=CALIBRATED_ON,
            watch=("features", "probes"),
        )
        for net in nets
    ]

    return Experiment(
        name="features",
        title="Features: what the layers hold",
        question=(
            "Do layers go from simple to class-specific? Does a deep plain net lose the input image, and do shortcuts carry it "
            "on? What is a single block worth?"
        ),
        source="blog-A 4.2 and 4.5; Veit et al. 2016",
        dataset="cifar10",
        arms=[*trained, *dissected, *untrained],
        profiles=[
            Profile("quick", iterations=391, seeds=(0,), evaluations=1, dataset="auto"),
            Profile("paper", iterations=64_000, seeds=(0, 1, 2, 3, 4), evaluations=1, dataset="cifar10"),
        ],
        claims=[
            Claim(
                "Z1",
                source="blog-A 4.2",
                text=(
                    "Layers go from simple to class-specific: the error of a linear probe falls with depth, more than "
                    "before training."
                ),
                test=[
                    comparison
                    for net in dissected
                    for comparison in (
                        below("probe_slope", net.name, 0.0, unit="points"),
                        lower("probe_slope", net.name, than=net.name.replace("dissected", "untrained")),
                    )
                ],
                note=(
                    "The slope of the line through probe error and depth, from the first convolution to the last block. Each "
                    "probe sees 16 random projections of the channel means, because deeper layers have more channels. The "
                    "nets before training are what depth and channels do alone."
                ),
            ),
            Claim(
                "Z2",
                source="blog-A 4.5",
                text="In a deep plain net, the input image is lost; shortcuts carry it on.",
                test=[
                    lower("recovered", "plain-56-trained", than="plain-20-trained", unit="(R²)"),
                    lower("recovered", "plain-56-trained", than="resnet-56-trained", unit="(R²)"),
                ],
                note=(
                    "The R² of a ridge regression that recovers the input, averaged over the last third of the layers. Lost in "
                    "the deep net: less is left than in the shallow one. A linear regression measures what a linear map finds; "
                    "the image may be there in another form. The comparison with plain-20 came after the first data, which had "
                    "plain-56 above plain-20."
                ),
            ),
            Claim(
                "Z3",
                source="Veit et al. 2016, section 4.1",
                text="A residual net survives the loss of a single block, a plain net does not.",
                test=[
                    below("block_share", "resnet-56-dissected", 10.0, unit="% of what it has learned"),
                    *[
                        above("block_share", f"plain-{n}-dissected", 50.0, unit="% of what it has learned")
                        for n in (20, 56)
                    ],
                ],
                note=(
                    "What a net has learned: the error of guessing minus its own. It survives if the median block, left out, "
                    "costs less than a tenth of that, and does not if it costs more than half; between the two it is damaged. "
                    "Blocks that change the size do not count; in a plain net a block is two convolutions. Veit et al. leave "
                    "out blocks of a net of 110 layers, most of which cost little, and layers of a VGG, each of which costs "
                    "nearly everything. resnet-20 has few such blocks in a stage: it is shown and not judged."
                ),
            ),
        ],
        answers=[
            "After {steps} steps of training, linear probes gain {plain-20-trained.probe_drop} points from the first third of "
            "plain-20's layers to the last; {plain-56-trained.probe_drop} in plain-56; {resnet-20-trained.probe_drop} in "
            "resnet-20; {resnet-56-trained.probe_drop} in resnet-56.",
            "From the last third, a regression recovers the input image with an R² of {plain-56-trained.recovered} in plain-56 "
            "and {resnet-56-trained.recovered} in resnet-56; {plain-20-trained.recovered} in plain-20; "
            "{resnet-20-trained.recovered} in resnet-20.",
            "Before training, that R² is {plain-56-untrained.recovered} in plain-56 and {resnet-56-untrained.recovered} in "
            "resnet-56; {plain-20-untrained.recovered} in plain-20; {resnet-20-untrained.recovered} in resnet-20.",
            "Leaving out the median block costs {resnet-56-dissected.block_loss} points of test error in resnet-56 and "
            "{plain-56-dissected.block_loss} in plain-56; {resnet-20-dissected.block_loss} in resnet-20 and "
            "{plain-20-dissected.block_loss} in plain-20.",
        ],
        figures=[
            probes_and_recovery(trained, untrained),
            errors_without_blocks(dissected),
            first_filters(trained),
            feature_maps([trained[1], trained[3]]),
        ],
        published={},
        published_note="The source shows no numbers.",
        columns=(
            Column("test_error", "test %"),
            Column("probe_slope", "probe slope", 1),
            Column("recovered", "recovered R²"),
            Column("block_loss", "without a block", 1),
            Column("block_share", "% of learned", 1),
        ),
        deviations=[
            "The measurements are ours: blog-A describes what layers hold but measures nothing.",
            "Untrained nets have He initialization. Their batch normalization takes its statistics from 12,800 training images "
            "in batches of 128, in training mode. With untouched statistics it would do nothing, and nobody trains such nets.",
            "Probes: logistic regression on the standardized channel means (left figure), or on 16 fixed random projections of "
            "them (claim Z1); 10,000 training images, all test images.",
            "Recovery: ridge regression from the standardized maps, averaged to 8×8, to the input averaged to 8×8; 5,000 "
            "training images, the penalty chosen on 1,000 others, R² on 2,000 test images. Features are clipped to their range "
            "in the 5,000.",
            "Layers are measured after the first convolution and after every block of two.",
            "Blocks are left out of the trained net without further training or measurement of statistics; 2,000 test "
            "images. A block that changes the size is replaced by its shortcut; in a plain net it stays. Veit et al. use a "
            "residual net of 110 layers.",
        ],
    )
