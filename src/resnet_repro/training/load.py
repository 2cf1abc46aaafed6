"""Load the networks of finished runs."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.weights import state_sha256
from resnet_repro.records.layout import WEIGHTS
from resnet_repro.records.record import read_record


def load_run(folder: str | Path) -> nn.Module:
    """The trained network of a finished run, in evaluation mode on the CPU.

    Raises UserError if the folder holds no finished run, or if its weights cannot be read or do not match the record.
    """
    record = read_record(Path(folder))
    try:
        state = load_file(record.folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"weights in {folder} cannot be read ({error}): train the run again") from error
    if state_sha256(state) != record.weights_sha256:
        raise UserError(
            f"{record.folder / WEIGHTS} does not match its record: delete {record.folder} to train the run again"
        )
    net = build(record.settings.arm.model, record.dataset.classes, record.seed)
    net.load_state_dict(state)
    return net.eval()
