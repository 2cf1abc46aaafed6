"""Whether a device computes right gradients: one step of a small net, compared with the CPU in float64.

The net has what training has: convolutions, batch normalization and shortcuts, in channels-last layout. Several releases of
PyTorch computed wrong gradients of such nets on Apple's GPUs without an error (pytorch/pytorch#134580, #175189): of batch
normalization, and so of all layers before it. A run would train on, and its result would count.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_repro.errors import UserError, in_a_line
from resnet_repro.hardware import autocast, device_name
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.heads import training_loss

# Largest norm of a difference, relative to the norm of what it is compared with. Measured on a CPU: 2e-6 in float32, 0.17 in
# bf16, where the first layers add up the roundings of all others. A gradient twice as large as it should be gives 1.
ALLOWED = {"fp32": 3e-4, "bf16": 0.5}
UNCHECKED = ("cpu",)  # the reference; `resnet-repro check` compares it, too
DEPTH, IMAGES, SIDE, CLASSES = 8, 16, 16, 10


@dataclass(frozen=True)
class Deviation:
    """What differs most between two computations of the same step."""

    quantity: str
    """E.g. "gradient of layer1.0.conv1.weight"."""
    size: float
    """Norm of the difference, relative to that of the reference; infinite for values that are not finite."""


Computed = dict[str, Tensor]
"""{quantity: values} of a step, in float64 on the CPU."""
Pass = Callable[[nn.Module, Tensor, Tensor, str], None]
"""Forward and backward pass of a net on images (N, C, H, W), labels (N,) and a precision. Adds to the gradients."""


def eager_pass(net: nn.Module, images: Tensor, labels: Tensor, precision: str) -> None:
    """A pass as training takes it without graph or compiler."""
    with autocast(images.device.type, precision):
        loss, _ = training_loss(net(images), labels)
    loss.backward()


def computed_on(device: torch.device, precision: str, take: Pass = eager_pass) -> Computed:
    """The gradients and batch statistics of a step on a device, in channels-last layout. precision: "fp32" or "bf16".

    Raises RuntimeError if the device cannot take it.
    """
    net, images, labels = _problem()
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    return _step(net, images, labels.to(device), precision, take)


def reference() -> Computed:
    """The same step on the CPU, in float64 and the plain layout."""
    net, images, labels = _problem()
    return _step(net.double(), images.double(), labels, "fp32", eager_pass)


def worst(computed: Computed, expected: Computed) -> Deviation:
    """The largest deviation between two computations of a step."""
    deviations = []
    for quantity, right in expected.items():
        difference = float((computed[quantity] - right).norm() / right.norm())
        deviations.append(Deviation(quantity, difference if difference == difference else float("inf")))
    return max(deviations, key=lambda deviation: deviation.size)


def trouble(device: torch.device, precision: str) -> str | None:
    """What is wrong with the gradients of a device at a precision, in a sentence with the remedy; None if they are right."""
    where = f"{device} ({_name(device)}, torch {torch.__version__})"
    remedy = "use DEVICES=cpu" if device.type != "cpu" else "install the versions in constraints.txt"
    try:
        deviation = worst(computed_on(device, precision), reference())
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return (
            f"{where} cannot take a training step of a small net with batch normalization in channels-last layout "
            f"({in_a_line(error)}): {remedy}, or another version of torch"
        )
    if deviation.size <= ALLOWED[precision]:
        return None
    return (
        f"{where} computes wrong gradients in {precision}: {deviation.quantity} deviates from the CPU by "
        f"{deviation.size:.2g} times its norm, expected at most {ALLOWED[precision]:g}: {remedy}, or another version of torch"
    )


def ensure_right_gradients(device: torch.device, precision: str) -> None:
    """Check a device before its first run, in float32 and in the run's precision. The CPU is not checked.

    A device that passes is not checked again under this version of torch on this host. No random numbers of the run are
    drawn. Raises UserError if the device computes wrong gradients.
    """
    if device.type in UNCHECKED:
        return
    mark = _mark(device, precision)
    if mark is not None and mark.exists():
        return
    for checked in dict.fromkeys(("fp32", precision)):
        if problem := trouble(device, checked):
            raise UserError(problem)
    if mark is not None:
        with contextlib.suppress(OSError):  # without the mark, the next run checks again, which takes a second
            mark.parent.mkdir(parents=True, exist_ok=True)
            temporary = mark.with_name(f".{mark.name}-{secrets.token_hex(4)}")
            temporary.write_text(
                f"{device} {_name(device)}, torch {torch.__version__}, {precision}\n", encoding="utf-8"
            )
            temporary.replace(mark)


def _mark(device: torch.device, precision: str) -> Path | None:
    """The file that marks this device as checked; None without a home directory."""
    key = (platform.node(), platform.platform(), str(device), _name(device), torch.__version__, torch.version.cuda)
    name = hashlib.sha256(repr((*key, precision, tuple(ALLOWED.items()))).encode()).hexdigest()[:16]
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return cache / "resnet-repro" / "devices" / name


def _name(device: torch.device) -> str:
    return device_name(device.type, device.index or 0)


def _problem() -> tuple[nn.Module, Tensor, Tensor]:
    """The net, images (N, 3, H, W) and labels (N,), drawn on the CPU. The global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        generator = torch.Generator().manual_seed(2015)
        net = cifar_net("resnet", DEPTH, classes=CLASSES)
        images = torch.randn(IMAGES, 3, SIDE, SIDE, generator=generator)
        labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
    return net.train(), images, labels


def _step(net: nn.Module, images: Tensor, labels: Tensor, precision: str, take: Pass) -> Computed:
    images = images.detach().requires_grad_()
    with _without_tf32():
        take(net, images, labels, precision)
    gradients = {f"gradient of {name}": p.grad for name, p in net.named_parameters()}
    gradients["gradient of the images"] = images.grad
    statistics = {name: buffer for name, buffer in net.named_buffers() if buffer.is_floating_point()}
    values = {**gradients, **statistics}
    return {name: value.detach().cpu().double() for name, value in values.items() if value is not None}


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute in float32 as runs do, with TF32 switched off."""
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul
