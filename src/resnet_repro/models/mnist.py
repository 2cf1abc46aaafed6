"""Networks of blog-E for MNIST: a multilayer perceptron, a small convolutional net, LeNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

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


def _mlp(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.Sigmoid(), nn.Linear(256, classes))


def _cnn(classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),  # (N, 4, 26, 26)
        nn.ReLU(),
        nn.Conv2d(4, 8, 3),  # (N, 8, 24, 24)
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4608, 48),
        nn.ReLU(),
        nn.Linear(48, classes),
    )


def _lenet(classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),  # (N, 6, 24, 24)
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),  # (N, 16, 8, 8)
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 4),  # (N, 120, 1, 1)
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


LAYERS: dict[str, Callable[[int], nn.Sequential]] = {"mlp": _mlp, "cnn": _cnn, "lenet": _lenet}


def mnist_net(kind: str, output: Output = "logits", classes: int = 10, seed: int = 0) -> MnistNet:
    """Return a net of blog-E with PyTorch's default initialization from `seed`.

    kind: "mlp" (203,530 parameters for ten classes), "cnn" (222,058) or "lenet" (44,426). output: "logits", or
    "probabilities" as in the source; it does not change the weights. Raises UserError for unknown kinds and outputs.
    """
    layers = LAYERS[choice(kind, LAYERS, "kind")]
    net = MnistNet(layers(classes), choice(output, get_args(Output), "output"))
    torch_initialize(net, seed)
    return net
