"""State dicts: safetensors files, digests, and the key names of other projects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from resnet_repro.config.arm import ModelSpec
from resnet_repro.errors import UserError
from resnet_repro.files import sync_to_disk
from resnet_repro.parsing import listed

# Names of other projects, and ours. DDP, DataParallel and torch.compile: module., _orig_mod. Hugging Face's transformers:
# embedder, encoder.stages. akamaster/pytorch_resnet_cifar10 and kuangliu/pytorch-cifar: linear, shortcut, and the former at
# some commits compressible_conv1. The names of chenyaofo/pytorch-cifar-models are torchvision's, as ours.
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
    (r"(^|\.)compressible_(?=conv\d\.|linear\.)", r"\1"),
    (r"^(linear|last_linear|classifier|head)\.", "fc."),
)
AVERAGED = "n_averaged"
COUNTER = ".num_batches_tracked"  # of batch normalization: it changes no output, and old files lack it
NAMED = 4  # keys of each kind that a message names
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


def misfits(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Describe which keys of `state` are missing, unexpected or of another shape than in `expected`; empty if none is.

    Batch counters may be missing.
    """
    shapes = [
        f"{key} is {_shape(state[key])}, not {_shape(tensor)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    kinds = {
        "missing": [key for key in expected if key not in state and not key.endswith(COUNTER)],
        "unexpected": [key for key in state if key not in expected],
        "of another shape:": shapes,
    }
    return "; ".join(f"{kind} {listed(keys, NAMED)}" for kind, keys in kinds.items() if keys)


def load_strictly(net: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy all tensors of `state` into `net`. Batch counters that `state` lacks stay as they are.

    origin: the source of `state`, for the message. Raises UserError that names the keys that do not fit.
    """
    expected = net.state_dict()
    if problems := misfits(expected, state):
        raise UserError(f"{origin} does not fit this network ({problems}): expected weights of the same architecture")
    net.load_state_dict({**expected, **state})


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"


def with_shortcuts_of(spec: ModelSpec, state: Mapping[str, Tensor]) -> ModelSpec:
    """Return a residual net of the CIFAR family with the shortcuts that `state` has weights for (He15 section 4.1).

    Projections where the size changes are option B, those in all blocks option C; option A has no weights. Other networks,
    and those with a stated option, are returned as they are.
    """
    if spec.builder != "cifar.cifar_net" or spec.options.get("kind") != "resnet" or "shortcut" in spec.options:
        return spec
    projected = {key.partition(".downsample.")[0] for key in state if ".downsample." in key}
    if not projected:
        return spec
    return replace(spec, options={**spec.options, "shortcut": "C" if "layer1.0" in projected else "B"})


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
    save_state(net.state_dict(), path)


def save_state(state: Mapping[str, Tensor], path: Path, facts: Mapping[str, str] | None = None) -> None:
    """Write a state dict to a safetensors file, atomically and so that it survives a crash. Raises OSError.

    facts: entry of the file's header. safetensors orders several entries at random, so that equal weights would give
    different bytes.
    """
    assert facts is None or len(facts) == 1, f"expected one entry of the header, not {sorted(facts)}"
    temporary = path.with_name(f".{path.name}.part")
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    try:
        temporary.write_bytes(save(tensors, metadata=None if facts is None else dict(facts)))
        sync_to_disk(temporary)  # a record that names the weights is synced, too
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
