"""Provenance of a run's numbers: the commit of the code and the versions of its dependencies."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def commit() -> str | None:
    """The commit of this package's repository, with "+" if the working tree is modified; None outside a repository."""
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
    """{name: version} of Python and of the packages that a run's numbers depend on."""
    installed = {"python": platform.python_version()}
    for package in ("resnet-repro", "torch", "torchvision", "pytorch-lightning", "numpy"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:  # the project runs from its sources
            installed[package] = "not installed"
    return installed
