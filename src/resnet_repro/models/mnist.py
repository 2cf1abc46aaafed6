"""Networks of blog-E for MNIST: a multilayer perceptron, a small convolutional net, LeNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.initialization import torch_initialize
from resnet_repro.parsing import choice

Output = Literal["logits", "probabilities"]


class MnistNet(nn.Module):
    """Network of `mnist_net`: `layers`, and a softmax if output is "probabilities".

    Input (N, 1, 28, 28) float, output (N, classes) float32: logits or probabilities. The source passes probabilities to
    the loss, which expects logits.
    """

    def __init__(self, layers: nn.Sequential, output: Output) -> None:
        super().__init__()
        self.layers, self.output = layers, output

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(x).float()
        return out.softmax(1) if self.output == "probabilities" else out


def _mlp(classes: int, pooling: bool) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.Sigmoid(), nn.Linear(256, classes))


def _cnn(classes: int, pooling: bool) -> nn.Sequential:
    side = 5 if pooling else 24
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),  # (N, 4, 26, 26)
        nn.ReLU(),
        *_pool(pooling),  # (N, 4, 13, 13)
        nn.Conv2d(4, 8, 3),  # (N, 8, 24, 24), or (N, 8, 11, 11)
        nn.ReLU(),
        *_pool(pooling),  # (N, 8, 5, 5)
        nn.Flatten(),
        nn.Linear(8 * side**2, 48),
        nn.ReLU(),
        nn.Linear(48, classes),
    )


def _lenet(classes: int, pooling: bool) -> nn.Sequential:
    side = 1 if pooling else 17
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),  # (N, 6, 24, 24)
        nn.Tanh(),
        *_pool(pooling),  # (N, 6, 12, 12)
        nn.Conv2d(6, 16, 5),  # (N, 16, 8, 8), or (N, 16, 20, 20)
        nn.Tanh(),
        *_pool(pooling),  # (N, 16, 4, 4)
        nn.Conv2d(16, 120, 4),  # (N, 120, 1, 1), or (N, 120, 17, 17)
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(120 * side**2, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


def _pool(pooling: bool) -> list[nn.Module]:
    return [nn.AvgPool2d(2)] if pooling else []


LAYERS: dict[str, Callable[[int, bool], nn.Sequential]] = {"mlp": _mlp, "cnn": _cnn, "lenet": _lenet}
POOLS = {"mlp": False, "cnn": False, "lenet": True}  # as in the source


def mnist_net(
    kind: str, output: Output = "logits", pooling: bool | None = None, classes: int = 10, seed: int = 0
) -> MnistNet:
    """Return a net of blog-E with PyTorch's default initialization from `seed`.

    kind: "mlp" (203,530 parameters for ten classes), "cnn" (222,058) or "lenet" (44,426). output: "logits", or
    "probabilities" as in the source; it does not change the weights.
    pooling: 2×2 average pooling after the first two convolutions. None: as in the source, in LeNet alone. The other way
    round, LeNet has 2,947,466 parameters and the CNN 10,474.
    Raises UserError for unknown kinds and outputs, and for a perceptron with pooling.
    """
    layers = LAYERS[choice(kind, LAYERS, "kind")]
    pooling = POOLS[kind] if pooling is None else pooling
    if kind == "mlp" and pooling:
        raise UserError("the mlp has no maps to pool: expected pooling for cnn or lenet")
    net = MnistNet(layers(classes, pooling), choice(output, get_args(Output), "output"))
    torch_initialize(net, seed)
    return net
