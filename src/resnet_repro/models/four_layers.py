"""Four-layer convolutional net for CIFAR-10, similar to Krizhevsky 2012 figure 1, with a choice of activation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.initialization import xavier_initialize
from resnet_repro.parsing import choice

ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
CHANNELS, HIDDEN = 32, 256


class FourLayers(nn.Module):
    """conv 5×5, 32 - pool - conv 5×5, 32 - pool - FC 256 - FC classes; max pooling 3×3 of stride 2.

    The activation follows every layer except the last; dropout precedes each linear layer.
    Input (N, 3, 32, 32) float, output logits (N, classes) float32.
    """

    def __init__(self, activation: str, dropout: float, classes: int) -> None:
        super().__init__()
        self.activation = activation
        self.conv1 = nn.Conv2d(3, CHANNELS, 5, padding=2)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 5, padding=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(CHANNELS * 8 * 8, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        out = self.pool(act(self.conv1(x)))  # (N, 32, 16, 16)
        out = self.pool(act(self.conv2(out)))  # (N, 32, 8, 8)
        out = act(self.fc1(self.dropout(out.flatten(1))))
        return self.fc2(self.dropout(out)).float()


def four_layers(activation: str, dropout: float = 0.0, classes: int = 10, seed: int = 0) -> FourLayers:
    """Return the net with uniform Xavier initialization from `seed` and zero biases.

    The initialization is the same for all activations, so that nets differ in nothing else; it suits all of them at this
    depth. activation: "relu", "tanh" or "sigmoid". dropout: probability in [0, 1) that a unit is dropped.
    Raises UserError for other values.
    """
    choice(activation, ACTIVATIONS, "activation")
    if not 0 <= dropout < 1:
        raise UserError(f"invalid dropout {dropout}: expected a probability in [0, 1)")
    net = FourLayers(activation, dropout, classes)
    xavier_initialize(net, seed)
    return net
