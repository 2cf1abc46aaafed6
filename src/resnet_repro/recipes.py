"""Published ways to train, under the short names of their sources."""

from __future__ import annotations

from resnet_repro.experiment import Recipe

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
