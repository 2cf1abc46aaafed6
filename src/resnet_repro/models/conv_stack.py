"""Plain stacks of convolutions without normalization, with a choice of activation and depth."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.models.four_layers import ACTIVATIONS
from resnet_repro.models.initialization import he_initialize, xavier_initialize
from resnet_repro.parsing import choice

CHANNELS, STAGES = 32, 4


class ConvStack(nn.Module):
    """Four stages of 3×3 convolutions with 32 channels, each followed by 2×2 max pooling; then a linear layer.

    The activation follows every convolution. Input (N, 3, 32, 32) float, output logits (N, classes) float32.
    """

    def __init__(self, depth: int, activation: str, classes: int) -> None:
        super().__init__()
        self.activation = activation
        self.convs = nn.ModuleList(
            nn.Conv2d(CHANNELS if layer else 3, CHANNELS, 3, padding=1) for layer in range(depth)
        )
        self.fc = nn.Linear(CHANNELS * 2 * 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        act, per_stage = ACTIVATIONS[self.activation], len(self.convs) // STAGES
        for layer, conv in enumerate(self.convs, start=1):
            x = act(conv(x))
            if layer % per_stage == 0:
                x = F.max_pool2d(x, 2)  # after the last one (N, 32, 2, 2)
        return self.fc(x.flatten(1)).float()


def conv_stack(depth: int, activation: str, classes: int = 10, seed: int = 0) -> ConvStack:
    """Return a stack of `depth` convolutions, initialized from `seed`, with zero biases.

    activation: "relu" with He initialization; "tanh" or "sigmoid" with uniform Xavier initialization. Xavier's halves the
    variance of the signal at every ReLU, so that a deep net would not start.
    Raises UserError for other activations, and for a depth that is not a multiple of 4.
    """
    choice(activation, ACTIVATIONS, "activation")
    if depth < STAGES or depth % STAGES:
        raise UserError(f"invalid depth {depth}: expected a multiple of {STAGES}")
    net = ConvStack(depth, activation, classes)
    initialize = he_initialize if activation == "relu" else xavier_initialize
    initialize(net, seed)
    return net
