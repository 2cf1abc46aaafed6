"""Completions for a shell, as the shell computes them."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec

import pytest
from conftest import cli

from resnet_repro.design.registry import experiment_names, load_experiment

pytestmark = [
    pytest.mark.skipif(find_spec("shtab") is None, reason="shtab is not installed"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed"),
]


@pytest.fixture(scope="module")
def script() -> str:
    printed = cli("completion", "bash")
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of the words of a command line."""
    setting = 'COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _shtab_resnet_repro'
    program = "\n".join([script, setting, 'printf "%s\\n" "${COMPREPLY[@]}"'])
    out = subprocess.run(
        ["bash", "-c", program, "bash", "resnet-repro", *words], capture_output=True, text=True, check=True
    )
    return out.stdout.split()


def test_commands_experiments_and_values_are_completed(script: str) -> None:
    assert completed(script, "run", "") == experiment_names()
    assert completed(script, "status", "deg") == ["degradation"]
    assert completed(script, "ru") == ["run", "runs"]
    assert completed(script, "runs", "--pr") == ["--prune"]
    assert completed(script, "run", "depth", "--profile", "") == ["quick", "paper"]
    assert "cifar10" in completed(script, "run", "depth", "--dataset", "cifar")
    assert completed(script, "complexity", "resnet-15") == ["resnet-152", "resnet-152-he15"]
    assert completed(script, "completion", "") == ["bash", "zsh"]


def test_arms_are_those_of_the_experiment_and_continue_a_list(script: str) -> None:
    names = load_experiment("depth").names
    assert completed(script, "run", "depth", "--arms", "") == names
    last = names[-1]
    assert completed(script, "run", "depth", "--arms", f"{names[0]},{last}") == [f"{names[0]},{last}"]
    assert completed(script, "run", "--arms", "") == []


def test_zsh_has_the_same_names() -> None:
    text = cli("completion", "zsh").stdout
    assert text.startswith("#compdef resnet-repro")
    assert all(name in text for name in (*experiment_names(), *load_experiment("depth").names))


def test_other_shells_are_refused() -> None:
    refused = cli("completion", "fish")
    assert refused.returncode == 2 and "invalid choice: 'fish' (choose from" in refused.stderr
