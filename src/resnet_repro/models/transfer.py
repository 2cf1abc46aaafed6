"""ResNet with a pretrained backbone and a new last layer, as in blog-E.

The source uses torchvision's ResNet-34 with ImageNet weights and a new linear layer of 100 classes. Two of its three
mistakes are options here: a softmax before the cross-entropy, and batch normalization in training mode in the frozen
backbone. The third, pixels without ImageNet's normalization, is an option of the recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.imagenet import Depth, ImageNetNet
from resnet_repro.models.initialization import he_initialize, torch_initialize
from resnet_repro.models.weights import COUNTER, NAMED, misfits
from resnet_repro.parsing import choice, plural

log = logging.getLogger(__name__)
Statistics = Literal["batch", "running"]
Output = Literal["logits", "probabilities"]
HEAD = "fc"
# Positions of the layers among the children of torchvision's networks.
SEQUENCE = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7", HEAD: "9"}


class TransferNet(ImageNetNet):
    """Network of `transfer_net`. Attribute names are torchvision's.

    Input (N, 3, H, W) float, or features (N, 512 or 2048) from `features`; output (N, classes) float32.
    """

    def __init__(self, depth: Depth, frozen: bool, statistics: Statistics, output: Output, classes: int) -> None:
        super().__init__("resnet", depth, "B", "3x3", classes)
        self.frozen, self.statistics, self.output = frozen, statistics, output
        if frozen:
            for name, parameter in self.named_parameters():
                parameter.requires_grad = name.partition(".")[0] == HEAD

    def forward(self, x: Tensor) -> Tensor:
        out = self.fc(x if x.ndim == 2 else self.features(x)).float()
        return out.softmax(1) if self.output == "probabilities" else out

    def train(self, mode: bool = True) -> TransferNet:
        """Set the mode. A frozen backbone with statistics "running" always stays in evaluation mode."""
        super().train(mode)
        if self.frozen and self.statistics == "running":
            for name, child in self.named_children():
                if name != HEAD:
                    child.eval()
        return self


def transfer_net(
    depth: Depth = 34,
    frozen: bool = False,
    statistics: Statistics = "batch",
    output: Output = "logits",
    classes: int = 100,
    seed: int = 0,
) -> TransferNet:
    """Return ResNet-`depth` in torchvision's layout, before its backbone is loaded with `load_backbone`.

    frozen: train only the last layer.
    statistics: statistics of batch normalization in a frozen backbone in training mode: "batch" as in the source, where the
        running statistics keep changing, or "running" for constant running statistics.
    output: "logits", or "probabilities" as in the source, which passes them to a loss that expects logits.

    Initialization from `seed`: He initialization for the backbone, PyTorch's default for the last layer. The options do
    not change it. Raises UserError for unknown options, and for running statistics without a frozen backbone.
    """
    choice(statistics, get_args(Statistics), "statistics")
    choice(output, get_args(Output), "output")
    if statistics == "running" and not frozen:
        raise UserError("statistics 'running' needs a frozen backbone: expected frozen=True, or statistics 'batch'")
    net = TransferNet(depth, frozen, statistics, output, classes)
    he_initialize(net, seed)
    torch_initialize(net.fc, seed)
    return net


def load_backbone(net: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy all tensors except the last layer's from `state`, with torchvision's names, into `net`.

    Batch counters that `state` lacks are not changed. origin and errors: see `check_backbone`.
    """
    net.load_state_dict({**net.state_dict(), **check_backbone(net, state, origin)})


def check_backbone(net: nn.Module, state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Return the tensors of `state` except the last layer's, if they fit `net`, with its names.

    All keys of the backbone may have a prefix, as in `backbone.conv1.weight`; keys without it, such as those of a head or
    a loss, are then left out. `nn.Sequential` of torchvision's layers is recognized as well.
    origin: the source of `state`, for error messages. Batch counters of batch normalization may be missing, as in older
    files of torchvision; they do not affect outputs. Raises UserError with the keys that are missing, unexpected or of
    another shape, and if several networks in `state` fit.
    """
    expected = {key: tensor for key, tensor in net.state_dict().items() if key.partition(".")[0] != HEAD}
    whole = _without_prefix(state, list(expected), origin)
    backbone = {key: tensor for key, tensor in whole.items() if key.partition(".")[0] != HEAD}
    if problems := misfits(expected, backbone):
        raise UserError(
            f"{origin} does not fit this network ({problems}): expected weights of the same architecture with "
            "torchvision's names"
        )
    return backbone


def _without_prefix(state: Mapping[str, Tensor], expected: Sequence[str], origin: str) -> Mapping[str, Tensor]:
    """Return `state` without the prefix of the keys in `expected`, and without the keys that do not have this prefix.

    If no prefix gives all keys, it is the one that gives the most, so that an error names the rest.
    """
    needed = [key for key in expected if not key.endswith(COUNTER)]
    found: dict[tuple[str, bool], int] = {}
    for in_sequence in (False, True):
        names = [_in_sequence(key) if in_sequence else key for key in needed]
        first = names[0]
        for prefix in {key.removesuffix(first) for key in state if key == first or key.endswith(f".{first}")}:
            count = sum(f"{prefix}{name}" in state for name in names)
            if count == len(names) or not in_sequence:
                found[prefix, in_sequence] = count
    complete = sorted(prefix or "no prefix" for (prefix, _), count in found.items() if count == len(needed))
    if len(complete) > 1:
        raise UserError(
            f"{origin} holds {len(complete)} networks of this architecture ({', '.join(complete[:NAMED])}): expected one"
        )
    if not found:
        return state
    prefix, in_sequence = max(found, key=lambda place: found[place])
    inner = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    if outside := [key for key in state if not key.startswith(prefix)]:
        log.info(f"{origin}: {plural(len(outside), 'tensor')} outside {prefix}* not used, e.g. {outside[0]}")
    layers = {number: name for name, number in SEQUENCE.items()} if in_sequence else {}
    renamed = ((*key.partition("."), tensor) for key, tensor in inner.items())
    return {f"{layers.get(layer, layer)}{dot}{rest}": tensor for layer, dot, rest, tensor in renamed}


def _in_sequence(key: str) -> str:
    """Return the key of a tensor in `nn.Sequential(*resnet.children())`."""
    layer, dot, rest = key.partition(".")
    return f"{SEQUENCE.get(layer, layer)}{dot}{rest}"
