"""Published training recipes, named after their sources."""

from __future__ import annotations

from dataclasses import replace

from resnet_repro.config.arm import Compressed, Recipe, WarmUp

# The warm-up that He15 uses for its deepest nets, with a fixed length. In a compressed schedule a rate of 0.1 shows the
# opposite of the paper: resnet-56 stays at chance level for hundreds of steps.
SLOW_START = Compressed("he15-cifar compressed", WarmUp(0.01, steps=400))

HE15_CIFAR = Recipe(
    name="he15-cifar",
    source="He15 section 4.2",
    iterations=64_000,
    batch_size=128,
    learning_rate=0.1,
    milestones=(32_000, 48_000),
    divide_by=10,
    weight_decay=1e-4,
    padding=4,
    flip=True,
    compressed=SLOW_START,
)

# What the paper leaves open on the batch normalization of its CIFAR nets, for the deviations of experiments.
HE15_BATCH_STATISTICS = (
    "The paper trains each batch of 128 images on two GPUs, so that its batch normalization sees 64 images at a time. "
    "Here, the statistics are those of all 128, except in arms named over-64."
)
HE15_NORMALIZATION = (
    "Batch normalization adds 1e-5 to the variance, its running averages move by a tenth at each step, and scoring uses "
    "these averages. Convolutions have no biases. The paper names none of these."
)

# For experiments that study the effect of the published rate, also in compressed schedules.
HE15_CIFAR_AT_ONCE = replace(HE15_CIFAR, compressed=None)

# A prefix in steps: includes the first division of the rate at 32,000, and time for the errors to settle.
PAST_FIRST_DIVISION = 34_000

# For 110 and more layers, He15 starts with a rate of 0.01 until the training error is below 80 %.
HE15_CIFAR_WARM_UP = replace(HE15_CIFAR, name="he15-cifar with warm-up", warm_up=WarmUp(0.01, until_error=80.0))

# A net without batch normalization cannot be trained at the published rate.
HE15_CIFAR_WITHOUT_BN = replace(HE15_CIFAR_AT_ONCE, name="he15-cifar at rate 0.01", learning_rate=0.01)

# 90 epochs of 1,281,167 images (5,005 steps each), divided at thirds: the usual schedule for He15's "divided by 10 when the
# error plateaus".
HE15_IMAGENET = replace(
    HE15_CIFAR_AT_ONCE,
    name="he15-imagenet",
    source="He15 section 3.4",
    iterations=450_450,
    batch_size=256,
    milestones=(150_150, 300_300),
    scaling="imagenet",
    scale=(256, 480),
    color=0.1,
    ten_crop=True,
)

# 50 epochs of 45,000 images, as in the source's notebook. Adam of TensorFlow 1 with default moments, no weight decay, no
# augmentation. The notebook sets the rate to 0.003 before its published run; the post says 0.005.
IMPL_D = Recipe(
    name="impl-d notebook",
    source="impl-D",
    iterations=22_500,
    batch_size=100,
    learning_rate=0.003,
    optimizer="adam",
    scaling="none",
    order="fixed",
    validation_images=5_000,
)

# 10 epochs of 60,000 images. The last batch of an epoch is smaller.
BLOG_E_MNIST = Recipe(
    name="blog-e-mnist",
    source="blog-E",
    iterations=4_690,
    batch_size=128,
    learning_rate=1e-4,
    optimizer="adam",
    scaling="unit",
)

# 100 epochs. The source specifies Adam, cross-entropy and augmentation; the other values are ours.
BLOG_A_FASHION = Recipe(
    name="blog-a-fashion",
    source="blog-A",
    iterations=46_900,
    batch_size=128,
    learning_rate=1e-3,
    padding=4,
    flip=True,
    optimizer="adam",
    scaling="standard",
)

BLOG_A_NOT_AUGMENTED = replace(BLOG_A_FASHION, name="blog-a-fashion without augmentation", padding=0, flip=False)

# 40 epochs of 45,000 images. The learning rate is searched for each activation.
FOUR_LAYERS = Recipe(
    name="four-layers",
    source="Krizhevsky 2012, figure 1",
    iterations=14_080,
    batch_size=128,
    learning_rate=0.01,
    validation_images=5_000,
)

# 10 epochs of 10,000 images, which are resized and not augmented. The recipe "as written" in the source lacks the
# normalization that the ImageNet weights require; "corrected" has it.
BLOG_E_TRANSFER = Recipe(
    name="blog-e-transfer as written",
    source="blog-E",
    iterations=790,
    batch_size=128,
    learning_rate=1e-4,
    optimizer="adam",
    scaling="unit",
    train_images=10_000,
)
BLOG_E_TRANSFER_CORRECTED = replace(BLOG_E_TRANSFER, name="blog-e-transfer corrected", scaling="imagenet")

# Trains the backbone on other images if no pretrained weights are available: He15's CIFAR recipe.
PRETRAINING = replace(HE15_CIFAR_AT_ONCE, name="pretraining", source="ours, after He15 section 4.2", scaling="imagenet")

# Trains a backbone on half of the classes of CIFAR-100: about 40 epochs of 25,000 images, divided as in He15's CIFAR recipe.
PRETRAINING_ON_HALF = replace(
    PRETRAINING, name="pretraining on half of the classes", iterations=8_000, milestones=(4_000, 6_000)
)
