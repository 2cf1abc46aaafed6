"""State dicts: safetensors files, digests, and the key names of other projects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

# Key names of DDP, DataParallel and torch.compile, of other CIFAR ResNets, and of Hugging Face's transformers.
_LAYER = r"(^|\.)encoder\.stages\.(\d+)\.layers\."
_KEY_MAP: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^(module\.|_orig_mod\.)+", ""),
    (r"(^|\.)embedder\.embedder\.convolution\.", r"\1conv1."),
    (r"(^|\.)embedder\.embedder\.normalization\.", r"\1bn1."),
    (_LAYER, lambda found: f"{found[1]}layer{int(found[2]) + 1}."),
    (r"\.layer\.(\d+)\.convolution\.", lambda found: f".conv{int(found[1]) + 1}."),
    (r"\.layer\.(\d+)\.normalization\.", lambda found: f".bn{int(found[1]) + 1}."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample."),
    (r"^(linear|last_linear|classifier|head)\.", "fc."),
)
AVERAGED = "n_averaged"
_LAYERS = re.compile(r"(conv|bn|layer|stage|block|fc)?\d*")


def map_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` with this project's keys: without a prefix that all have, `linear` → `fc`, `shortcut` → `downsample`.

    The counter of torch's averaged models is left out.
    """
    state = {key: tensor for key, tensor in state.items() if key != AVERAGED}
    prefix = _common_prefix(list(state))
    mapped = {}
    for key, tensor in state.items():
        key = key.removeprefix(prefix)
        for pattern, replacement in _KEY_MAP:
            key = re.sub(pattern, replacement, key)
        mapped[key] = tensor
    return mapped


def _common_prefix(keys: Sequence[str]) -> str:
    """Return the names of modules that all keys begin with, e.g. "module.backbone."; never the name of a layer."""
    places = [key.split(".") for key in keys]
    common = ""
    for names in zip(*(place[:-2] for place in places), strict=False):  # the last two: layer and tensor
        if len(set(names)) > 1 or _LAYERS.fullmatch(names[0]):
            break
        common += f"{names[0]}."
    return common


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
