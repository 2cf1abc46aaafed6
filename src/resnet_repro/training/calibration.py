"""Time a few training steps of a network on this machine, to estimate how long its runs will take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import torch

from resnet_repro.config.settings import FEWEST_CAPTURED, RunSettings
from resnet_repro.hardware import autocast
from resnet_repro.models import build
from resnet_repro.models.heads import training_loss
from resnet_repro.training.captured import EAGER_STEPS, cuda_graph
from resnet_repro.training.classifier import Classifier

MOST_STEPS = 7  # timed steps, after one that is not


def seconds_per_image(
    settings: RunSettings,
    classes: int,
    shape: tuple[int, int, int],
    device: torch.device,
    threads: int,
    images: int,
    seconds: float,
) -> list[float]:
    """The seconds that a few timed steps of a run take for an image: two numbers for each on a CPU, one on other devices.

    On a CPU the second is the time that passed, and the first what an idle machine would have taken, by the time that this
    process had the cores.
    Forward, backward and update as in training, on random images of `shape` (C, H, W); on a GPU as one CUDA graph if the
    run has one. For features that are computed once: forward passes. No run and no random number of one is touched.
    images: of a batch, at most the recipe's. seconds: after which no further step is taken; the first two always are.
    """
    begin = time.perf_counter()
    size = max(2, min(images, settings.arm.recipe.batch_size))  # batch normalization cannot train on one image
    with _threads(threads if device.type == "cpu" else None):
        step = _step_of(settings, classes, shape, device, size)
        step()
        _wait(device)
        timed: list[float] = []
        for number in range(MOST_STEPS):
            if number and time.perf_counter() - begin > seconds:
                break
            start, busy = time.perf_counter(), time.process_time()
            step()
            _wait(device)
            passed, busy = time.perf_counter() - start, time.process_time() - busy
            timed += [min(passed, busy / threads) / size] if device.type == "cpu" else []
            timed.append(passed / size)
    return timed


def _step_of(
    settings: RunSettings, classes: int, shape: tuple[int, int, int], device: torch.device, size: int
) -> Callable[[], object]:
    """The step as a function, with its warm-up behind it."""
    with torch.random.fork_rng(devices=[]):
        net = build(settings.arm.model, classes, settings.seed)
        generator = torch.Generator().manual_seed(0)
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = torch.randn(size, *shape, generator=generator).to(device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(classes, (size,), generator=generator).to(device)
    if settings.arm.features == "once":
        net.eval()

        def forward() -> None:
            with torch.no_grad(), autocast(device.type, settings.precision):
                net(batch)

        return forward
    net.train()
    optimizer = Classifier(net, settings.arm.recipe, max(1, settings.iterations)).configure_optimizers()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device.type, settings.precision):
            loss, _ = training_loss(net(batch), labels)
        loss.backward()
        optimizer.step()

    if device.type == "cuda" and settings.stop_at >= FEWEST_CAPTURED:
        for _ in range(EAGER_STEPS):
            step()
        with contextlib.suppress(RuntimeError):  # such a run takes its steps eagerly, too
            return cuda_graph(step)
    return step


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextlib.contextmanager
def _threads(number: int | None):
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
