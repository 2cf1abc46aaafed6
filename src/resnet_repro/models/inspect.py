"""Access to layers, responses and parameters, common to all network families."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

Key = TypeVar("Key")


@contextmanager
def in_mode(net: nn.Module, training: bool) -> Iterator[None]:
    """Put `net` into training or evaluation mode inside the context, and restore its mode afterwards."""
    before = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(before)


@contextmanager
def forward_hooks(
    modules: Iterable[tuple[Key, nn.Module]], look: Callable[[Key, nn.Module, Tensor, Tensor], None]
) -> Iterator[None]:
    """Call look(key, module, first input, output) at each forward pass of one of `modules` inside the context."""

    def hook_of(key: Key) -> Callable:
        return lambda module, inputs, output: look(key, module, inputs[0], output)

    handles = [module.register_forward_hook(hook_of(key)) for key, module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def main_path_convolutions(net: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """Return names and modules of the convolutions on the main path, in forward order."""
    return [(name, module) for name, module in main_path(net) if isinstance(module, nn.Conv2d)]


def main_path_layers(net: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """Return names and modules of the convolutions and linear layers on the main path, in forward order."""
    return [(name, module) for name, module in main_path(net) if isinstance(module, nn.Conv2d | nn.Linear)]


def gradient_layers(net: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """Return the layers whose gradients are recorded: the convolutions on the main path, as in He15.

    In nets with several linear layers on the main path, the linear layers are recorded too.
    """
    layers = main_path_layers(net)
    linear = sum(isinstance(layer, nn.Linear) for _, layer in layers)
    return layers if linear > 1 else [(name, layer) for name, layer in layers if isinstance(layer, nn.Conv2d)]


def main_path(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return names and modules, the net itself first, without shortcuts (`downsample`) and auxiliary heads (`heads`)."""
    return [(name, m) for name, m in net.named_modules() if not {"downsample", "heads"} & set(name.split("."))]


def responding_modules(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name of a convolution, module with its response as output) for the main path, in forward order.

    The response is taken after batch normalization, before the nonlinearity and the addition (He15 figure 7). If the
    network has `norm_follows = False`, or no normalization, it is the output of the convolution.
    """
    norm_follows = getattr(net, "norm_follows", True)
    modules = dict(net.named_modules())
    responding = []
    for name, conv in main_path_convolutions(net):
        parent, _, last = name.rpartition(".")
        norm = modules.get(f"{parent}.{last.replace('conv', 'bn')}".lstrip(".")) if norm_follows else None
        responding.append((name, conv if norm is None or isinstance(norm, nn.Identity) else norm))
    return responding


def parameter_summary(net: nn.Module) -> list[tuple[str, int, int]]:
    """Return (name, trainable parameters, frozen parameters) of each top-level module, and of the net as "total"."""
    parts: dict[str, list[int]] = {}
    for name, parameter in net.named_parameters():
        counts = parts.setdefault(name.partition(".")[0], [0, 0])
        counts[0 if parameter.requires_grad else 1] += parameter.numel()
    total = [sum(counts[kind] for counts in parts.values()) for kind in (0, 1)]
    return [(part, counts[0], counts[1]) for part, counts in {**parts, "total": total}.items()]
