"""Pins stand in one place, and what the package needs is in it."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from conftest import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


PINS = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]


def test_every_dependency_is_pinned_exactly() -> None:
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", pin) for pin in PINS), PINS
    assert {"torch==2.14.1", "torchvision==0.29.1"} <= set(PINS)


@pytest.mark.parametrize("name", ["environment.yml", "Makefile", "README.md", ".ci/run"])
def test_no_other_file_pins_anything(name: str) -> None:
    text = (REPO / name).read_text()
    for pin in PINS:
        package, _, version = pin.partition("==")
        assert f"{package}=" not in text, package
        assert version not in text.split(), version


def test_conda_installs_the_same_pins() -> None:
    environment = yaml.safe_load((REPO / "environment.yml").read_text())
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["--editable .[dev]"]
    assert f"python {PROJECT['requires-python']}" in " ".join(map(str, environment["dependencies"]))


def test_every_imported_package_has_a_reason_in_the_readme() -> None:
    text = (REPO / "README.md").read_text()
    section = text[text.index("## Dependencies") :]
    for pin in PINS:
        assert re.search(rf"^\|[^|]*\b{pin.partition('==')[0]}\b[^|]*\|", section, re.M), pin
