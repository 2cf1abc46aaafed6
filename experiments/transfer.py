"""Transfer learning against fine-tuning of a ResNet-34, as a post wrote it and corrected.  blog-E.

    make transfer                                 CIFAR-100 at 64×64, 6 of 10 epochs: 35 minutes on two CPU cores
    make transfer PROFILE=paper                   10 epochs at 224×224, five seeds: a GPU's work
    make transfer DATASET=path/to/folders         your own images, in class folders
Expected: with the backbone frozen the accuracy stays low, with all of it trained it is far better, at slower steps.
"""

from dataclasses import replace

from resnet_repro.claims.claim import Claim
from resnet_repro.claims.comparisons import Comparison, contrast, count_is, higher, lower, not_higher, published_ratio
from resnet_repro.config.arm import Arm, ModelSpec, Start
from resnet_repro.config.families import counted_arm, imagenet_arm
from resnet_repro.config.recipes import BLOG_E_TRANSFER, BLOG_E_TRANSFER_CORRECTED, PRETRAINING
from resnet_repro.design.experiment import Column, Experiment, Profile
from resnet_repro.figures.curves import curves
from resnet_repro.figures.points import errors_by_arm

BUILDER = "transfer.transfer_net"
BACKBONE = Start("pretrained", "backbone")
AS_WRITTEN = {"output": "probabilities"}
VERY_POOR = 75.0  # percent of the error of guessing
THE_SAME = 0.5  # points of error


def very_poor(arm: str) -> Comparison:
    """The arm's test error is near that of guessing."""
    statement = f"test error of {arm} > {VERY_POOR:g} % of that of guessing"
    return contrast("test_error_of_guessing", {arm: 1}, sign=1, threshold=VERY_POOR, statement=statement, unit="%")


def transfer() -> Experiment:
    pretrained = imagenet_arm("resnet", 34, PRETRAINING, name="pretrained", control=True, dataset="cifar10")
    as_written = [
        Arm(
            f"{name}-as-written",
            ModelSpec(BUILDER, {"depth": 34, **AS_WRITTEN, **options}),
            BLOG_E_TRANSFER,
            start=BACKBONE,
        )
        for name, options in (("frozen", {"frozen": True}), ("fine-tuned", {}))
    ]
    frozen = Arm(
        "frozen-corrected",
        ModelSpec(BUILDER, {"depth": 34, "frozen": True, "statistics": "running"}),
        BLOG_E_TRANSFER_CORRECTED,
        start=BACKBONE,
        features="once",
    )
    corrected = [
        frozen,
        Arm("fine-tuned-corrected", ModelSpec(BUILDER, {"depth": 34}), BLOG_E_TRANSFER_CORRECTED, start=BACKBONE),
    ]
    scratch = Arm("from-scratch", ModelSpec(BUILDER, {"depth": 34}), BLOG_E_TRANSFER_CORRECTED)
    plain_way = replace(frozen, name="frozen-corrected-each-step", features="each step")
    counted = [
        counted_arm(f"{name}-counted", BUILDER, (3, 224, 224), 100, control=True, depth=34, frozen=name == "frozen")
        for name in ("frozen", "fine-tuned")
    ]
    compared = [*as_written, *corrected, scratch]

    return Experiment(
        name="transfer",
        title="Transfer learning against fine-tuning",
        question="Is a frozen backbone with a new last layer enough, or must all of it be trained; do both beat a fresh start?",
        source="blog-E",
        dataset="cifar100",
        arms=[pretrained, *compared, plain_way],
        networks=counted,
        profiles=[
            Profile("quick", iterations=474, seeds=(0,), evaluations=4, dataset="auto", resolution=64),
            Profile(
                "paper",
                iterations=None,
                seeds=(0, 1, 2, 3, 4),
                evaluations=10,
                dataset="cifar100",
                resolution=224,
                substitutes=False,
            ),
        ],
        claims=[
            Claim(
                "T1",
                source="blog-E",
                text="Fine-tuning beats transfer.",
                test=[lower("test_error", "fine-tuned-as-written", than="frozen-as-written")],
                needs_paper_budget=True,
            ),
            Claim(
                "T2",
                source="blog-E",
                text="The accuracy of transfer is very poor.",
                test=[very_poor("frozen-as-written")],
                needs_paper_budget=True,
                note="Very poor: the test error is more than three quarters of that of guessing.",
            ),
            Claim(
                "T2c",
                source="this project",
                text="It is also after the three slips are mended.",
                test=[very_poor("frozen-corrected")],
                needs_paper_budget=True,
                note="The slips: a softmax before the cross-entropy, pixels not scaled as ImageNet's, batch normalization of "
                "the frozen backbone in training mode.",
            ),
            Claim(
                "T3",
                source="blog-E",
                text="Both beat training from scratch on 10,000 images.",
                test=[lower("test_error", arm.name, than="from-scratch") for arm in corrected],
                needs_paper_budget=True,
                note="Of the corrected arms, whose recipe is that of the control.",
            ),
            Claim(
                "T4",
                source="blog-E",
                text="With the backbone frozen 51,300 of 21,335,972 parameters are trained, a 416th.",
                test=[
                    count_is("trainable_parameters", "frozen-counted", 51_300),
                    count_is("trainable_parameters", "fine-tuned-counted", 21_335_972),
                    published_ratio("trainable_parameters", "fine-tuned-counted", of="frozen-counted", value=415.9),
                ],
            ),
            Claim(
                "T5",
                source="blog-E",
                text="A step of fine-tuning takes longer than one of transfer.",
                test=[higher("step_seconds", "fine-tuned-as-written", than="frozen-as-written", unit="s")],
                any_weights=True,
            ),
            Claim(
                "T6",
                source="this project",
                text="Features computed once give the same accuracy as computed at each step, in less time.",
                test=[
                    not_higher("test_error", "frozen-corrected", than="frozen-corrected-each-step", margin=THE_SAME),
                    not_higher("test_error", "frozen-corrected-each-step", than="frozen-corrected", margin=THE_SAME),
                    lower("training_seconds", "frozen-corrected", than="frozen-corrected-each-step", unit="s"),
                ],
                any_weights=True,
                note="The same: less than half a point apart. The time is that of the training, and of computing the features "
                "of training and test images; scoring is left out.",
            ),
        ],
        answers=[
            "As the source wrote them, after {steps} steps, fine-tuning has {fine-tuned-as-written.test_error} % test error "
            "and transfer {frozen-as-written.test_error} %.",
            "With the source's slips mended fine-tuning has {fine-tuned-corrected.test_error} % test error, transfer "
            "{frozen-corrected.test_error} % and a net from scratch {from-scratch.test_error} %.",
            "A step of fine-tuning takes {fine-tuned-as-written.step_seconds} s and one of transfer "
            "{frozen-as-written.step_seconds} s.",
            "Transfer trains {frozen-counted.trainable_parameters:count} of "
            "{fine-tuned-counted.trainable_parameters:count} parameters.",
        ],
        figures=[
            curves(
                "errors",
                {"as written": [*as_written, scratch], "corrected": [*corrected, scratch]},
                dashed="running_train_error",
                solid="test_error",
                label="error (%)",
            ),
            errors_by_arm(
                {"after the last step": [*compared, plain_way], "the substitute backbone, on CIFAR-10": [pretrained]}
            ),
        ],
        published={},
        published_note="The source gives no numbers that can be compared.",
        deviations=[
            "Weights are torchvision's of its first recipe (IMAGENET1K_V1); where they cannot be had, the backbone is trained "
            "on CIFAR-10 by He15's recipe, as long as the arms, and the report says so.",
            "Which 10,000 of the training images are used the source does not say: the first in the order of their digests.",
            "frozen-corrected computes the backbone's features once, of training and test images, and trains the last layer on "
            "them; the arm that computes them at each step stands beside it. Training seconds count the features.",
            "Of a data set of your own all training images are used, for as many epochs as the source's.",
            "Where a profile has fewer pixels, the images are scaled to them and the backbone sees smaller maps.",
            "Arithmetic is bf16 autocast where the hardware has it, with float32 weights.",
        ],
        columns=[
            Column("train_error", "train %"),
            Column("test_error", "test %"),
            Column("best_test_error", "best test %"),
            Column("step_seconds", "s/step", 4),
            Column("training_seconds", "training s", 1),
            Column("trainable_parameters", "trained", 0),
        ],
        folders=True,
    )
