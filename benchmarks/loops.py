"""The training loops that runs are compared with: `python benchmarks/loops.py {bare,customary} NET STEPS CACHE THREADS`.

Prints one number: training images per second, without the first `WARM_UP` steps.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.arrays import Arrays, load
from resnet_repro.data.catalogue import dataset
from resnet_repro.data.stream import Normalization
from resnet_repro.hardware import resolve_precision
from resnet_repro.models import build

WARM_UP = 10


def network(name: str) -> nn.Module:
    kind, depth = name.split("-")
    return build(cifar_arm(kind, int(depth), HE15_CIFAR).model, 10, seed=0)


def optimizer(net: nn.Module) -> torch.optim.Optimizer:
    recipe = HE15_CIFAR
    return torch.optim.SGD(
        net.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def bare(net: nn.Module, arrays: Arrays, steps: int) -> float:
    """Plain PyTorch on prepared, normalized batches, in the run's precision and layout, without logging.

    Returns training images per second.
    """
    device = torch.device("cpu")
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalize = Normalization.of(arrays.train, device)
    batches: list[tuple[Tensor, Tensor]] = []
    for i in range(8):
        part = slice(i * HE15_CIFAR.batch_size, (i + 1) * HE15_CIFAR.batch_size)
        images = torch.from_numpy(arrays.train.images[part].copy()).to(device)
        batches.append((normalize(images), torch.from_numpy(arrays.train.labels[part].astype("int64")).to(device)))
    update = optimizer(net)
    bf16 = resolve_precision("auto", device.type) == "bf16"
    begin = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            _wait(device)
            begin = time.perf_counter()
        images, labels = batches[step % len(batches)]
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(net(images), labels)
        update.zero_grad()
        loss.backward()
        update.step()
    _wait(device)
    return steps * HE15_CIFAR.batch_size / (time.perf_counter() - begin)


class _Images(torch.utils.data.Dataset):
    """CIFAR-10 as in torchvision's tutorial: single PIL images, transforms on the CPU."""

    def __init__(self, arrays: Arrays) -> None:
        from torchvision import transforms

        self.images, self.labels = arrays.train.images, arrays.train.labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        image: Any = self.transform(Image.fromarray(self.images[index].transpose(1, 2, 0)))
        return image, int(self.labels[index])


def customary(net: nn.Module, arrays: Arrays, steps: int) -> float:
    """The loop of most reproductions: float32, NCHW, a DataLoader with two workers, `loss.item()` in each step.

    Returns training images per second.
    """
    device = torch.device("cpu")
    net = net.to(device)
    loader = torch.utils.data.DataLoader(_Images(arrays), HE15_CIFAR.batch_size, shuffle=True, num_workers=2)
    update = optimizer(net)
    begin = 0.0
    for step, (images, labels) in enumerate(loader):
        if step == WARM_UP:
            begin = time.perf_counter()
        if step == WARM_UP + steps:
            break
        loss = F.cross_entropy(net(images.to(device)), labels.to(device))
        update.zero_grad()
        loss.backward()
        update.step()
        loss.item()
    return steps * HE15_CIFAR.batch_size / (time.perf_counter() - begin)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main(arguments: list[str]) -> None:
    variant, name, steps, cache, threads = arguments
    torch.set_num_threads(int(threads))
    arrays = load(dataset("cifar10"), Path(cache))
    assert arrays is not None, f"CIFAR-10 not found in {cache}"
    loop = {"bare": bare, "customary": customary}[variant]
    print(loop(network(name), arrays, int(steps)))


if __name__ == "__main__":
    main(sys.argv[1:])
