"""Plain and residual ImageNet networks of 18 and 34 layers.  He15 section 4.1, table 2, figure 4.

    make plain-vs-resnet                                          CIFAR-10 at 64×64, one epoch: 21 minutes on two CPU cores
    make plain-vs-resnet PROFILE=paper DATASET=path/to/imagenet   90 epochs at 224×224: days on eight GPUs
Expected after 90 epochs, ten crops: plain-18 27.94, resnet-18 27.88, plain-34 28.54, resnet-34 24.52 % top-1 error.
"""

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import closer, contrast, higher, lower
from resnet_repro.config.families import imagenet_arm
from resnet_repro.config.recipes import HE15_IMAGENET
from resnet_repro.design.experiment import ERRORS, Column, Experiment, Profile
from resnet_repro.figures.curves import error_curves
from resnet_repro.figures.published import HE15_FIGURE_4


def plain_vs_resnet() -> Experiment:
    plain, residual = ([imagenet_arm(kind, depth, HE15_IMAGENET) for depth in (18, 34)] for kind in ("plain", "resnet"))
    return Experiment(
        name="plain-vs-resnet",
        title="Plain against residual networks of 18 and 34 layers",
        question="On larger images, does the deeper plain net train worse and the deeper residual net train better?",
        source="He15 section 4.1, table 2, figure 4; blog-C",
        dataset="imagenet",
        arms=[*plain, *residual],
        profiles=[
            Profile("quick", iterations=196, seeds=(0,), evaluations=2, dataset="auto", resolution=64),
            Profile(
                "paper", iterations=None, seeds=(0, 1, 2, 3, 4), evaluations=90, dataset="imagenet", resolution=224
            ),
        ],
        claims=[
            Claim(
                "I1",
                measured=True,
                source="He15, blog-C",
                text="plain-34 trains to a higher error than plain-18.",
                test=[higher("train_error", "plain-34", than="plain-18")],
                needs_paper_budget=True,
            ),
            Claim(
                "I2",
                measured=True,
                source="He15, blog-C",
                text="resnet-34 trains to a lower error than resnet-18.",
                test=[lower("train_error", "resnet-34", than="resnet-18")],
                needs_paper_budget=True,
            ),
            Claim(
                "I3",
                measured=True,
                source="He15",
                text="resnet-34 beats plain-34 by more than resnet-18 beats plain-18; at 18 layers the two end close.",
                test=[
                    lower("test_error_10crop", "resnet-34", than="plain-34", published=-3.51),
                    contrast(
                        "test_error_10crop",
                        {"plain-34": 1, "resnet-34": -1, "plain-18": -1, "resnet-18": 1},
                        sign=1,
                        statement="ten-crop test error: the gain from shortcuts at 34 layers minus the gain at 18 layers",
                    ),
                    *closer(
                        "test_error_10crop", "plain-18", "resnet-18", than_gap=("plain-34", "resnet-34"), fraction=0.25
                    ),
                ],
                needs_paper_budget=True,
                note=(
                    "By the error over ten crops, as in table 2. Close: the difference at 18 layers is less than a quarter "
                    "of the difference at 34 layers."
                ),
            ),
            Claim(
                "I3-sooner",
                measured=True,
                source="He15",
                text="At 18 layers, the residual net converges sooner.",
                test=[lower("mean_running_error", "resnet-18", than="plain-18")],
                needs_paper_budget=True,
                note="Sooner: its running training error is lower on average over the training.",
            ),
        ],
        answers=[
            "After {steps} steps plain-34 has {plain-34.train_error} % training error, plain-18 {plain-18.train_error} %; with "
            "shortcuts they have {resnet-34.train_error} and {resnet-18.train_error} %.",
            "On the test images plain-34 errs on {plain-34.test_error} % and plain-18 on {plain-18.test_error} %; resnet-34 on "
            "{resnet-34.test_error} % and resnet-18 on {resnet-18.test_error} %.",
            "On ten crops of the test images plain-34 errs on {plain-34.test_error_10crop} % and plain-18 on "
            "{plain-18.test_error_10crop} %; resnet-34 on {resnet-34.test_error_10crop} % and resnet-18 on "
            "{resnet-18.test_error_10crop} %.",
        ],
        figures=[error_curves({"plain": plain, "residual": residual}, HE15_FIGURE_4)],
        published={
            "plain-18": {"test_error_10crop": 27.94},
            "resnet-18": {"test_error_10crop": 27.88},
            "plain-34": {"test_error_10crop": 28.54},
            "resnet-34": {"test_error_10crop": 24.52},
        },
        published_note=(
            "Published: top-1 error on ImageNet's validation images, ten crops. He15 table 2 (resnet-18 with option A); "
            "He15 table 3 for resnet-34 with option B."
        ),
        deviations=[
            "The learning rate is divided after 30 and 60 of 90 epochs, the customary reading of “when the error plateaus”.",
            "On class folders of your own, the paper profile trains for as many epochs as on ImageNet, not as many steps.",
            "Shortcuts that change the size are projections (option B). Table 2 of the paper uses option A.",
            "Channels are scaled by ImageNet's mean and standard deviation. The paper subtracts the mean of each pixel.",
            "Crops are cut out of the picture before they are scaled. Up to rounding to whole pixels, the view is the same.",
            "Images held in memory, such as CIFAR's, are padded by 4 pixels and cropped instead of scaled at random. They are "
            "then resized on the device.",
            "Batch normalization uses the device's part of the batch. The first device's running statistics are kept.",
            "The test images are the validation folder, as in the paper. Nothing is selected on them.",
            "Arithmetic is bf16 autocast if the hardware supports it, with float32 weights.",
        ],
        columns=[*ERRORS, Column("test_error_10crop", "10-crop %")],
        spread=True,
        folders=True,
    )
