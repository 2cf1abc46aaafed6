"""What all networks here have in common, for whoever looks into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

Key = TypeVar("Key")


@contextmanager
def in_mode(net: nn.Module, training: bool) -> Iterator[None]:
    """Inside, `net` is in training or evaluation mode; afterwards in the mode that it was in."""
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
    """Inside, each forward pass of one of `modules` calls look(key, module, its first input, its output)."""

    def hook_of(key: Key) -> Callable:
        return lambda module, inputs, output: look(key, module, inputs[0], output)

    handles = [module.register_forward_hook(hook_of(key)) for key, module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def main_path_convolutions(net: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """Names and modules of the convolutions on the main path, in the order the signal meets them."""
    return [(name, module) for name, module in main_path(net) if isinstance(module, nn.Conv2d)]


def main_path_layers(net: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """The same with the linear layers: all layers with weights on the main path."""
    return [(name, module) for name, module in main_path(net) if isinstance(module, nn.Conv2d | nn.Linear)]


def gradient_layers(net: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """The layers whose gradients are recorded: the convolutions, as He15 looks at them.

    In nets with several linear layers on the main path those are recorded too, since they are where such a net is deep.
    """
    layers = main_path_layers(net)
    linear = sum(isinstance(layer, nn.Linear) for _, layer in layers)
    return layers if linear > 1 else [(name, layer) for name, layer in layers if isinstance(layer, nn.Conv2d)]


def main_path(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Names and modules, the net itself first, without shortcuts (`downsample`) and auxiliary heads (`heads`)."""
    return [(name, m) for name, m in net.named_modules() if not {"downsample", "heads"} & set(name.split("."))]


def responding_modules(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name of the convolution, the module whose output is its response), in the signal's order.

    He15 figure 7: the response is taken after batch normalization, before the nonlinearity and the addition. Where a
    network has `norm_follows = False`, or no normalization, it is the output of the convolution itself.
    """
    follows = getattr(net, "norm_follows", True)
    modules = dict(net.named_modules())
    found = []
    for name, conv in main_path_convolutions(net):
        head, _, last = name.rpartition(".")
        norm = modules.get(f"{head}.{last.replace('conv', 'bn')}".lstrip(".")) if follows else None
        found.append((name, conv if norm is None or isinstance(norm, nn.Identity) else norm))
    return found


def parameter_summary(net: nn.Module) -> list[tuple[str, int, int]]:
    """(part, trainable, frozen) parameters of each part of the network at the top, and of the whole as "total"."""
    parts: dict[str, list[int]] = {}
    for name, parameter in net.named_parameters():
        counts = parts.setdefault(name.partition(".")[0], [0, 0])
        counts[0 if parameter.requires_grad else 1] += parameter.numel()
    total = [sum(counts[kind] for counts in parts.values()) for kind in (0, 1)]
    return [(part, counts[0], counts[1]) for part, counts in {**parts, "total": total}.items()]
