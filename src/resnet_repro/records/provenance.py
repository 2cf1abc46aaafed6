"""Provenance of a run's numbers: the commit of the code and the versions of its dependencies."""

from __future__ import annotations

import platform
import re
import subprocess
import time
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


def commits(before: str | None, now: str | None) -> str | None:
    """The commits of a run that one process began, or several, and another one resumes, e.g. "0123456789ab, 456789abcdef"."""
    if before is None:
        return now if now is None else f"unknown, {now}"
    return ", ".join(dict.fromkeys([*before.split(", "), now or "unknown"]))


def is_clean(commits: str | None) -> bool:
    """Whether all commits of a run are known and had no modifications."""
    return all(re.fullmatch(r"[0-9a-f]{12}", commit) for commit in (commits or "unknown").split(", "))


def utc_now() -> str:
    """The present time in ISO 8601, as records have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def versions() -> dict[str, str]:
    """{name: version} of Python and of the packages that a run's numbers depend on."""
    installed = {"python": platform.python_version()}
    for package in ("resnet-repro", "torch", "torchvision", "pytorch-lightning", "numpy"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:  # the project runs from its sources
            installed[package] = "not installed"
    return installed
