"""What has verifiably arrived of a run at a W&B server: `upload.json` in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from resnet_repro.files import read_json, typed, write_json
from resnet_repro.records.layout import RECEIPT

Ending = Literal["finished", "failed", "interrupted", "running"]


class Receipt(msgspec.Struct, frozen=True):
    """An upload that the server has confirmed."""

    server: str
    """Base URL of the server's API."""
    project: str
    """Project, as entity/project."""
    id: str
    """Id of the run at W&B."""
    rows: int
    """Rows of the tables that have arrived."""
    ending: Ending
    """State of the run when it was uploaded."""
    result: str = ""
    """Digest of the weights of a finished run."""
    summary: str = ""
    """Digest of the summary of a finished run."""
    url: str = ""
    """Address of the run."""
    project_url: str = ""
    """Address of the project."""

    def covers(self, other: Receipt) -> bool:
        """Whether nothing of `other` is left to send."""
        what = ("server", "project", "id", "rows", "ending", "result", "summary")
        return all(getattr(self, name) == getattr(other, name) for name in what)


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt in a run's folder; None if there is none, or none that can be read."""
    try:
        data = read_json(folder / RECEIPT)
        return typed(data, Receipt) if data is not None else None
    except ValueError:  # UserError and msgspec's error: the upload is repeated, and the server knows what it has
        return None


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Store the receipt. Raises OSError."""
    write_json(folder / RECEIPT, msgspec.to_builtins(receipt))
