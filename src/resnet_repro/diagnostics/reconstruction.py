"""Measurement on reconstructions: what the stack's input is worth as its output."""

from __future__ import annotations

import torch
from torch import nn

from resnet_repro.diagnostics.diagnostic import Diagnostic
from resnet_repro.models.inspect import in_mode
from resnet_repro.models.reconstruction import Reconstruction, ReconstructionNet

IMAGES = 2_000


class InputError(Diagnostic):
    """The relative error of a stack that passes its input on unchanged.

    input_relative_mse: mean squared difference of target and input, divided by the variance of the target, on the first
    2,000 test images. 0 for the target "identity".
    """

    @torch.inference_mode()
    def finish(self, net: nn.Module) -> dict[str, float]:
        assert isinstance(net, ReconstructionNet), f"{type(net).__name__} reconstructs nothing"
        total, count = 0.0, 0
        with in_mode(net, training=False), self.context.autocast():
            for images, _ in self.context.data.batches("test", IMAGES):
                x, target = net.fixed(images)
                total += float(Reconstruction(x, target, net.fixed.variance).relative_error()) * len(images)
                count += len(images)
        return {"input_relative_mse": total / count}
