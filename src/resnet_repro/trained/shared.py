"""The trained weights that the repository holds: one run for each network, the folder `weights/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from resnet_repro.design.registry import PUBLISHED, REFERENCE, REPOSITORY
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.weights import load_strictly, state_sha256
from resnet_repro.records.record import Record, read_record

RECORD_OF = "record"  # entry of a file's header: folder of its record below the reference records
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Repository:
    """A clone of the repository: its weights, and the records that vouch for them."""

    root: Path = REPOSITORY
    """By default the clone that this package is imported from."""

    @property
    def weights(self) -> Path:
        """Folder of the weights."""
        return self.root / PUBLISHED.relative_to(REPOSITORY)

    @property
    def records(self) -> Path:
        """Folder of the reference records."""
        return self.root / REFERENCE.relative_to(REPOSITORY)

    def file(self, name: str) -> Path:
        """File of the weights of a network."""
        return self.weights / f"{name}{SUFFIX}"

    def names(self) -> list[str]:
        """Names of the networks with weights."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.weights.glob(f"*{SUFFIX}"))


def load_pretrained(name: str, repository: str | Path | None = None) -> nn.Module:
    """Return a trained network of the folder `weights/`, e.g. "resnet-20", in evaluation mode on the CPU.

    Its budget, error and data are in `weights/README.md`; pixels are normalized as in its training.
    repository: a clone of the repository; by default the one that this package is imported from.
    Raises UserError for a name without weights, and for weights that are not those of their reference record.
    """
    record, state = read_shared(name, Repository() if repository is None else Repository(Path(repository)))
    net = build(record.settings.arm.model, record.dataset.classes, record.seed)
    load_strictly(net, state, name)
    return net.eval()


def read_shared(name: str, repository: Repository) -> tuple[Record, dict[str, Tensor]]:
    """Return the record and the weights of a network. Raises UserError as `load_pretrained`."""
    path = repository.file(name)
    known = repository.names()
    if not known:
        raise UserError(
            f"no weights for {name}: {repository.weights} holds none, as they are part of the repository and not of the "
            "installed package; expected a clone, installed with pip install -e ."
        )
    if name not in known:
        raise UserError(f"no weights for {name}: expected one of {', '.join(known)}")
    try:
        with safe_open(path, "pt") as file:
            place = (file.metadata() or {}).get(RECORD_OF, "")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it with git checkout") from error
    folder = repository.records / place
    if not place or not folder.resolve().is_relative_to(repository.records.resolve()):
        raise UserError(f"{path} names no reference record: write it again with resnet-repro pick-weights")
    record = read_record(folder)
    if state_sha256(state) != record.weights_sha256:
        raise UserError(
            f"{path} does not hold the weights of its record {folder} (their digest differs): restore both with git checkout"
        )
    return record, state
