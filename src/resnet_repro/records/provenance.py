"""What numbers depend on besides the settings: commit and versions."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def commit() -> str | None:
    """The commit of the repository that this package lies in, with "+" where the tree differs; None outside one."""
    root = Path(__file__).resolve().parents[3]
    try:
        out = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip() or None


def versions() -> dict[str, str]:
    """Those of Python and of the packages that a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("resnet-repro", "torch", "torchvision", "pytorch-lightning", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # the project's sources on the path, not installed
            found[package] = "not installed"
    return found
