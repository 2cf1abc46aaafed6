"""Weights on disk: safetensors files, their digest, and the names other projects use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from resnet_repro.errors import UserError
from resnet_repro.experiment import RunSettings

# What wrappers and other projects call the same things: DDP and DataParallel, torch.compile, and the CIFAR ResNets
# that name the last layer `linear` and a projection `shortcut`.
_KEY_MAP = ((r"^(module\.|_orig_mod\.)+", ""), (r"^linear\.", "fc."), (r"\.shortcut\.", ".downsample."))


def map_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under this project's names: wrappers' prefixes dropped, `linear` → `fc`, `shortcut` → `downsample`."""
    mapped = {}
    for key, tensor in state.items():
        for pattern, replacement in _KEY_MAP:
            key = re.sub(pattern, replacement, key)
        mapped[key] = tensor
    return mapped


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Digest of a state dict: sha256 over name, dtype, shape and bytes of every tensor, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def save_weights(net: nn.Module, path: Path) -> None:
    """Write parameters and buffers to a safetensors file, in one piece or not at all. Raises OSError."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in net.state_dict().items()}
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(save(state))
    temporary.replace(path)


def load_run(folder: str | Path) -> nn.Module:
    """The trained network of a finished run's folder, in evaluation mode on the CPU.

    Raises UserError where the folder holds no finished run or the weights do not fit.
    """
    from resnet_repro.models import build

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
