"""A ResNet whose backbone was trained elsewhere, with a last layer of its own.  blog-E.

The source takes torchvision's ResNet-34 with ImageNet's weights and puts a new linear layer of 100 classes in place of
its last one. Its three slips can be had as options: the softmax before the cross-entropy, the frozen backbone whose batch
normalization stays in training mode; the third, no scaling of the pixels to ImageNet's, is the recipe's.
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
NAMED = 20  # keys of each kind that a message names
COUNTER = ".num_batches_tracked"


class TransferNet(ImageNetNet):
    """The network; see `transfer_net` for its arguments. Names are torchvision's, as in the net that it is made of.

    Input (N, 3, H, W) float, or features (N, 512 or 2048) as `features` gives them; output (N, classes) in float32.
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
        """As any module's, but that batch normalization of a frozen backbone with "running" statistics stays as it is."""
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
    """ResNet-`depth` of torchvision's layout, its backbone to be loaded, its last layer new.

    frozen: only the last layer is trained. statistics: what a frozen backbone's batch normalization uses in training
    mode, as written that of the "batch" (and its running statistics drift on), or the "running" one it came with.
    output: logits, or as written probabilities that the loss then takes for logits.
    Weights come from `seed`: He's initialization for the backbone, PyTorch's own for the last layer, the same whatever
    the options. Raises UserError for unknown options, and for running statistics where nothing is frozen.
    """
    choice(statistics, get_args(Statistics), "statistics")
    choice(output, get_args(Output), "output")
    if statistics == "running" and not frozen:
        raise UserError(
            "running statistics in training are for a frozen backbone: freeze it, or take those of the batch"
        )
    net = TransferNet(depth, frozen, statistics, output, classes)
    he_initialize(net, seed)
    torch_initialize(net.fc, seed)
    return net


def load_backbone(net: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy all tensors but the last layer's from `state`, in torchvision's names, into `net`.

    Counters of batches that `state` lacks stay as they are in `net`. Raises UserError as `check_backbone` does.
    """
    net.load_state_dict({**net.state_dict(), **check_backbone(net, state, origin)})


def check_backbone(net: nn.Module, state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The tensors of `state` but the last layer's, where they are those of the network without its last layer.

    Batch normalization's counters of batches may be missing, as in torchvision's older files: they change no output.
    Raises UserError naming the keys that are missing, unexpected or of another shape.
    """
    mine = {key: tensor for key, tensor in net.state_dict().items() if key.partition(".")[0] != HEAD}
    theirs = {key: tensor for key, tensor in state.items() if key.partition(".")[0] != HEAD}
    shapes = [
        f"{key} is {_shape(theirs[key])}, not {_shape(mine[key])}"
        for key in mine
        if key in theirs and theirs[key].shape != mine[key].shape
    ]
    problems = [
        f"{what} {', '.join(keys[:NAMED])}{f' and {len(keys) - NAMED} more' if len(keys) > NAMED else ''}"
        for what, keys in (
            ("missing", [key for key in mine if key not in theirs and not key.endswith(COUNTER)]),
            ("unexpected", [key for key in theirs if key not in mine]),
            ("of another shape:", shapes),
        )
        if keys
    ]
    if problems:
        raise UserError(
            f"{origin} does not hold the weights of this network ({'; '.join(problems)}): give those of the same "
            "architecture in torchvision's names"
        )
    return theirs


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
