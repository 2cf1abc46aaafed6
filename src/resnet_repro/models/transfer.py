"""ResNet with a pretrained backbone and a new last layer, as in blog-E.

The source uses torchvision's ResNet-34 with ImageNet weights and a new linear layer of 100 classes. Two of its three
mistakes are options here: a softmax before the cross-entropy, and batch normalization in training mode in the frozen
backbone. The third, pixels without ImageNet's normalization, is an option of the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.imagenet import Depth, ImageNetNet
from resnet_repro.models.initialization import he_initialize, torch_initialize
from resnet_repro.parsing import choice

Statistics = Literal["batch", "running"]
Output = Literal["logits", "probabilities"]
HEAD = "fc"
NAMED = 20  # keys of each kind that an error message names
COUNTER = ".num_batches_tracked"


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
    """Return the tensors of `state` except the last layer's, if they fit `net`.

    origin: the source of `state`, for error messages. Batch counters of batch normalization may be missing, as in older
    files of torchvision; they do not affect outputs. Raises UserError with the keys that are missing, unexpected or of
    another shape.
    """
    expected = {key: tensor for key, tensor in net.state_dict().items() if key.partition(".")[0] != HEAD}
    backbone = {key: tensor for key, tensor in state.items() if key.partition(".")[0] != HEAD}
    shapes = [
        f"{key} is {_shape(backbone[key])}, not {_shape(expected[key])}"
        for key in expected
        if key in backbone and backbone[key].shape != expected[key].shape
    ]
    problems = [
        f"{problem} {', '.join(keys[:NAMED])}{f' and {len(keys) - NAMED} more' if len(keys) > NAMED else ''}"
        for problem, keys in (
            ("missing", [key for key in expected if key not in backbone and not key.endswith(COUNTER)]),
            ("unexpected", [key for key in backbone if key not in expected]),
            ("of another shape:", shapes),
        )
        if keys
    ]
    if problems:
        raise UserError(
            f"{origin} does not fit this network ({'; '.join(problems)}): expected weights of the same architecture with "
            "torchvision's names"
        )
    return backbone


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"
