"""Published ways to train, under the short names of their sources."""

from __future__ import annotations

from dataclasses import replace

from resnet_repro.experiment import Recipe, WarmUp

HE15_CIFAR = Recipe(
    name="he15-cifar",
    source="He15 section 4.2",
    iterations=64_000,
    batch_size=128,
    learning_rate=0.1,
    milestones=(32_000, 48_000),
    divide_by=10,
    momentum=0.9,
    weight_decay=1e-4,
    padding=4,
    flip=True,
)

# From 110 layers on, He15 starts with a rate of 0.01 until the training error is under 80 %.
HE15_CIFAR_WARM_UP = replace(HE15_CIFAR, name="he15-cifar with warm-up", warm_up=WarmUp(0.01, until_error=80.0))

# 50 epochs of 40,000 images. TensorFlow 1's Adam with its default moments; no weight decay, no augmentation.
IMPL_D = Recipe(
    name="impl-d",
    source="impl-D",
    iterations=20_000,
    batch_size=100,
    learning_rate=0.005,
    milestones=(),
    divide_by=1,
    momentum=0.9,
    weight_decay=0.0,
    padding=0,
    flip=False,
    optimizer="adam",
    scaling="unit",
    validation_images=10_000,
)
