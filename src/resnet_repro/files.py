"""JSON files and copies that survive a kill of the process. Does not import torch."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from resnet_repro.errors import UserError, os_reason

Typed = TypeVar("Typed")
_one_thread = threading.Lock()


def typed(data: object, kind: type[Typed]) -> Typed:
    """Decoded JSON as a value of a type. Raises msgspec.ValidationError, a ValueError.

    One thread at a time: msgspec 0.22 crashes the process if two threads use a type for the first time.
    """
    with _one_thread:
        return msgspec.convert(data, kind)


def write_json(path: Path, data: Mapping[str, Any], durable: bool = True) -> None:
    """Write a JSON file atomically: readers never see a partial file, not even after a crash. Raises OSError.

    If several processes write the same file at once, the last one wins.
    durable: wait until the bytes are on the disk. Otherwise a crash of the machine may leave an empty file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Wait until the bytes of a file are on the disk. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically, and wait until it is on the disk. Raises OSError."""
    temporary = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, temporary)
        sync_to_disk(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if the file does not exist. Raises UserError if it is unreadable or not an object.

    Numbers that are NaN or infinite, which `write_json` never writes, are damage.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({os_reason(error)}): check what it is, and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete {path.parent} to train this run again") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} is not a JSON object: delete {path.parent} to train this run again")
    return data


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} in place of a number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)
