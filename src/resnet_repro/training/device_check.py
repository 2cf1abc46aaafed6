"""Steps as training takes them on a device, compared with the CPU: eager, as a CUDA graph, and compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import in_a_line
from resnet_repro.hardware import has_bf16
from resnet_repro.models.norms import BatchNorm
from resnet_repro.training.captured import cuda_graph
from resnet_repro.training.compilation import has_compiler, use_own_cache
from resnet_repro.training.gradient_check import (
    ALLOWED,
    Computed,
    computed_on,
    eager_pass,
    reference,
    trouble,
    worst,
)

WARM_UP = 3  # eager passes before a capture, in which libraries choose their algorithms


@dataclass(frozen=True)
class Compared:
    """The result of a comparison."""

    subject: str
    text: str
    """A sentence."""
    is_right: bool
    only_slower: bool = False
    """Whether runs do without what failed, and are right but slower."""


def captured_pass(net: nn.Module, images: Tensor, labels: Tensor, precision: str) -> None:
    """A pass as a replayed CUDA graph. Raises RuntimeError if it cannot be captured."""
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in range(WARM_UP):
        eager_pass(net, images, labels, precision)
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)
    images.grad = None
    cuda_graph(lambda: eager_pass(net, images, labels, precision))()


def compared(device: torch.device) -> list[Compared]:
    """Compare the steps that training takes on a device with those of the CPU in float64. Takes seconds."""
    right = reference()
    found = []
    precisions = ["fp32", "bf16"] if has_bf16(device.type, (device.index or 0,)) else ["fp32"]
    for precision in precisions:
        subject = f"gradients, {device}, {precision}"
        try:
            problem = trouble(device, precision)
        except torch.OutOfMemoryError:
            problem = f"{device} has no free memory for a small net: end other processes on it, or use another device"
        if problem:
            found.append(Compared(subject, problem, False))
            continue
        deviation = worst(computed_on(device, precision), right)
        text = f"as on the CPU in float64 within {deviation.size:.1g} of their norm (allowed: {ALLOWED[precision]:g})"
        found.append(Compared(subject, text, True))
    if device.type == "cuda" and found[0].is_right:
        found.append(_compared_with_eager("CUDA graph", device, lambda: computed_on(device, "fp32", captured_pass)))
    return found


def compared_compiled(device: torch.device) -> list[Compared]:
    """Compare a step of a small compiled net with an eager one, if training may compile steps on this device."""
    if device.type == "mps" or not has_compiler():
        return []
    use_own_cache()
    compiled = _compared_with_eager(
        "compiled steps",
        device,
        lambda: _fragment(device, lambda net: torch.compile(net, dynamic=False)),
        lambda: _fragment(device),
    )
    torch._dynamo.reset()
    return [compiled]


def _compared_with_eager(
    name: str, device: torch.device, compute: Callable[[], Computed], eager: Callable[[], Computed] | None = None
) -> Compared:
    subject = f"{name}, {device}"
    try:
        expected = eager() if eager else computed_on(device, "fp32")
        deviation = worst(compute(), expected)
    except Exception as error:  # noqa: BLE001  compilers and drivers raise any kind
        return Compared(
            subject, f"cannot be used ({in_a_line(error)}); runs take eager steps, which are slower", False, True
        )
    if deviation.size > ALLOWED["fp32"]:
        text = (
            f"{deviation.quantity} deviates from that of an eager step by {deviation.size:.2g} times its norm, expected at "
            f"most {ALLOWED['fp32']:g}: install the versions in constraints.txt"
        )
        return Compared(subject, text, False)
    return Compared(subject, f"as eager steps within {deviation.size:.1g} of the gradients' norm", True)


class _Fragment(nn.Module):
    """A convolution with batch normalization and a shortcut: few kernels, which compile in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(8, 8, 3, padding=1, bias=False), BatchNorm(8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.bn(self.conv(x)) + x).mean((2, 3)))


def _fragment(device: torch.device, wrap: Callable[[nn.Module], Callable] = lambda net: net) -> Computed:
    """The gradients of a fragment of a net on a device, in channels-last layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, images = _Fragment(), torch.randn(16, 8, 16, 16)
        labels = torch.randint(10, (16,))
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    F.cross_entropy(wrap(net)(images), labels.to(device)).backward()
    return {
        f"gradient of {name}": parameter.grad.cpu().double()
        for name, parameter in net.named_parameters()
        if parameter.grad is not None
    }
