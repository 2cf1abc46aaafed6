"""Dependencies: pinned in one place, with their transitive versions locked."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import PurePosixPath

import pytest
import yaml
from conftest import REPO
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name

PYPROJECT = (REPO / "pyproject.toml").read_text()
PROJECT = tomllib.loads(PYPROJECT)["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = PROJECT["dependencies"] + [pin for pins in EXTRAS.values() for pin in pins]


def locked_versions() -> dict[str, str]:
    """Versions in constraints.txt that apply to this platform, by canonical package name."""
    lines = (REPO / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line.partition("#")[0]) for line in lines if line and not line.startswith("#")]
    applicable = [item for item in requirements if item.marker is None or item.marker.evaluate()]
    return {canonicalize_name(item.name): str(item.specifier).removeprefix("==") for item in applicable}


def test_every_dependency_is_pinned_exactly() -> None:
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", pin) for pin in PINS), PINS
    assert {"torch==2.14.1", "torchvision==0.29.1"} <= set(PINS)


@pytest.mark.parametrize("name", ["environment.yml", "Makefile", "README.md", ".ci/run", "Dockerfile"])
def test_no_other_file_pins_a_direct_dependency(name: str) -> None:
    text = (REPO / name).read_text()
    for pin in PINS:
        assert pin not in text
        assert pin.partition("==")[2] not in text.split(), pin


def test_every_dependency_has_a_reason() -> None:
    for pin in PINS:
        assert re.search(rf'"{re.escape(pin)}"[],]* +# \S', PYPROJECT), pin


def test_the_lock_has_the_versions_of_pyproject() -> None:
    locked = locked_versions()
    for pin in PINS:
        package, _, version = pin.partition("==")
        assert locked.get(package) == version, f"{pin}: constraints.txt has {locked.get(package)}; run make lock"


def test_the_lock_names_every_transitive_dependency() -> None:
    """Follow the requirements of the installed packages from this project on."""
    locked = locked_versions()
    environment = {**default_environment(), "extra": ""}
    pending, seen = [(Requirement(pin)) for pin in PROJECT["dependencies"] + EXTRAS["dev"]], set[str]()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        assert name in locked, f"{name} is not in constraints.txt; run make lock"
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            extras = [{**environment, "extra": extra} for extra in ("", *requirement.extras)]
            if needed.marker is None or any(needed.marker.evaluate(values) for values in extras):
                pending.append(needed)
    assert len(seen) > 60


def test_make_and_conda_install_with_the_lock() -> None:
    environment = yaml.safe_load((REPO / "environment.yml").read_text())
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["--constraint constraints.txt", "--editable .[dev]"]
    assert f"python {PROJECT['requires-python']}" in " ".join(map(str, environment["dependencies"]))
    installs = re.findall(r"pip install (.*--editable.*)$", (REPO / "Makefile").read_text(), re.M)
    assert installs and all("$(LOCKED)" in options for options in installs), installs


CITATION = yaml.safe_load((REPO / "CITATION.cff").read_text())


def test_the_citation_is_of_this_version() -> None:
    assert CITATION["cff-version"] == "1.2.0" and CITATION["title"].startswith(PROJECT["name"])
    assert (CITATION["version"], CITATION["license"]) == (PROJECT["version"], PROJECT["license"])
    released = re.search(rf"^## {re.escape(PROJECT['version'])} \((.*)\)$", (REPO / "CHANGELOG.md").read_text(), re.M)
    assert str(CITATION.get("date-released")) == str(released and released[1])  # both, or neither


def test_the_image_has_a_supported_python_and_the_command_of_the_project() -> None:
    lines = dict(line.split(" ", 1) for line in (REPO / "Dockerfile").read_text().splitlines() if line[:1].isupper())
    python = re.search(r"python:([\d.]+)", lines["FROM"])
    assert python and Specifier(PROJECT["requires-python"]).contains(python[1])
    assert json.loads(lines["ENTRYPOINT"]) == list(PROJECT["scripts"])
    assert "--constraint constraints.txt" in (REPO / "Dockerfile").read_text()


def test_the_image_gets_every_tracked_file() -> None:
    """Otherwise records of its runs would name a modified commit."""
    patterns = [line for line in (REPO / ".dockerignore").read_text().splitlines() if line and line[0] not in "#!"]
    kept = ("reports/README.md", "reports/reference/")  # named after a !
    tracked = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in tracked:
        parents = [name, *map(str, PurePosixPath(name).parents)]
        ignored = any(fnmatch(part, pattern.removeprefix("**/")) for part in parents for pattern in patterns)
        assert not ignored or name.startswith(kept), name
