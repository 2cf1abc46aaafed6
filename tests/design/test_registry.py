"""Files in the `experiments/` of the working directory: they add experiments, and cannot hide or stop others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import REPO, cli, one_sentence

from resnet_repro.design.registry import experiment_names, load_experiment

BUILT_IN = sorted(path.stem.replace("_", "-") for path in (REPO / "experiments").glob("*.py"))

MINE = """'''My experiment.'''
from dataclasses import replace
from resnet_repro.design.registry import load_experiment
{before}
def mine():
    return replace(load_experiment("degradation"), name={name!r})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "experiments"


def write(path: Path, before: str = "", name: str = "mine") -> None:
    path.write_text(MINE.format(before=before, name=name))


def test_files_of_the_working_directory_are_added(folder: Path) -> None:
    write(folder / "mine.py")
    assert experiment_names() == sorted([*BUILT_IN, "mine"])
    assert load_experiment("mine").name == "mine"
    assert re.search(r"^mine +My experiment\.$", cli("list", cwd=folder.parent).stdout, re.M)


def test_a_built_in_experiment_is_not_replaced(folder: Path) -> None:
    (folder / "degradation.py").write_text("raise SystemExit('executed')")
    assert load_experiment("degradation").title
    done = cli("list", cwd=folder.parent)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(BUILT_IN)
    assert re.fullmatch(r"experiments/degradation\.py is not used: .* built-in .*; rename .*\n", done.stderr)
    done = cli("run", "degradation", "--arms", "nothing", cwd=folder.parent)
    assert "experiments/degradation.py is not used" in done.stderr


def test_a_copy_of_a_built_in_file_is_no_clash(folder: Path) -> None:
    (folder / "degradation.py").write_bytes((REPO / "experiments" / "degradation.py").read_bytes())
    assert cli("list", cwd=folder.parent).stderr == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("def broken(:", r"\(line 1\)"),
        ("import torch\nprint('foreign')\n", "no function broken"),
        ("def broken():\n    raise SystemExit('executed')\n", "does not import resnet_repro"),
        (b"\xff\xfe\x00", "null bytes"),
        ("", "no function broken"),
    ],
)
def test_foreign_files_are_named_and_not_executed(content: str | bytes, problem: str, folder: Path) -> None:
    (folder / "broken.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert experiment_names() == BUILT_IN
    done = cli("list", cwd=folder.parent)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(BUILT_IN)
    assert re.fullmatch(rf"experiments/broken\.py is not an experiment: .*{problem}.*\n", done.stderr)
    assert re.search(rf"experiments/broken\.py .*{problem}", one_sentence(cli("run", "broken", cwd=folder.parent)))


@pytest.mark.parametrize(
    ("before", "name", "message"),
    [
        ("import no_such_module", "mine", r"\(line 4\): ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "mine", r"\(line 4\): ZeroDivisionError"),
        ("raise SystemExit(3)", "mine", r"\(line 4\): SystemExit"),
        ("", "other", "returns an experiment named 'other': expected an Experiment named 'mine'"),
    ],
)
def test_a_file_that_does_not_load_stops_no_other_experiment(
    before: str, name: str, message: str, folder: Path
) -> None:
    write(folder / "mine.py", before, name)
    assert re.search(rf"experiments/mine\.py .*{message}", one_sentence(cli("run", "mine", cwd=folder.parent)))
    assert cli("list", cwd=folder.parent).returncode == 0
    (folder.parent / "runs" / "mine" / "quick").mkdir(parents=True)
    done = cli("report", cwd=folder.parent)
    lines = done.stderr.splitlines()
    assert re.search(rf"experiments/mine\.py .*{message}", lines[0])
    assert "no finished runs" in lines[1] and len(lines) == 2
    done = cli("status", cwd=folder.parent)
    assert done.returncode == 0 and "degradation: no runs yet" in done.stdout and "experiments/mine.py" in done.stdout
    assert load_experiment("degradation").name == "degradation"
