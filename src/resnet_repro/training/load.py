"""Networks of finished runs, loaded again."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from resnet_repro.config.settings import RunSettings
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.weights import state_sha256


def load_run(folder: str | Path) -> nn.Module:
    """The trained network of a finished run's folder, in evaluation mode on the CPU.

    Raises UserError where the folder holds no finished run or the weights do not fit.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / "record.json").read_text())
        settings, classes = RunSettings.from_json(record["settings"]), record["dataset"]["classes"]
        state = load_file(folder / "weights.safetensors")
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder} holds no finished run that can be read ({error}): train it first") from error
    if state_sha256(state) != record["weights_sha256"]:
        raise UserError(f"{folder}/weights.safetensors is not what its record names: delete the folder and train again")
    net = build(settings.arm.model, classes, settings.seed)
    net.load_state_dict(state)
    return net.eval()
