"""State dicts: safetensors files, digests, and the key names of other projects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

# Key names of DDP, DataParallel and torch.compile, and of other CIFAR ResNets.
_KEY_MAP = ((r"^(module\.|_orig_mod\.)+", ""), (r"^linear\.", "fc."), (r"\.shortcut\.", ".downsample."))


def map_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` with this project's keys: without prefixes of wrappers, `linear` → `fc`, `shortcut` → `downsample`."""
    mapped = {}
    for key, tensor in state.items():
        for pattern, replacement in _KEY_MAP:
            key = re.sub(pattern, replacement, key)
        mapped[key] = tensor
    return mapped


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of a state dict, over name, dtype, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def save_weights(net: nn.Module, path: Path) -> None:
    """Write parameters and buffers to a safetensors file, atomically. Raises OSError."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in net.state_dict().items()}
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(save(state))
    temporary.replace(path)
