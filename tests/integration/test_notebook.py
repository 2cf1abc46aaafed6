"""docs/notebook.py: all cells but the last run on the committed results, and its text is true."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from conftest import REPO

NOTEBOOK = REPO / "docs" / "notebook.py"
LAST = '# %% tags=["train"]\n'

pytestmark = pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed (extra: tables)")


@pytest.fixture(scope="module")
def cells() -> dict[str, Any]:
    """The variables that the notebook leaves, without its last cell, which trains for minutes."""
    variables: dict[str, Any] = {}
    code = NOTEBOOK.read_text().partition(LAST)[0]
    exec(compile(code, str(NOTEBOOK), "exec"), variables)
    return variables


def test_the_text_says_what_the_records_say(cells: dict[str, Any]) -> None:
    by_seed, errors = cells["by_seed"], cells["errors"]["train_error"]["mean"]
    assert errors["plain-56"] > errors["plain-20"] + 30 and errors["resnet-56"] < errors["plain-56"] - 30
    for claim in ("D1", "D2"):
        assert set(by_seed[claim]) == {"supported"}
    inconclusive = ["seed 1", "seed 2", "seed 3"]
    for claim, verdict in (("D5", "contradicted"), ("D8", "supported")):
        changed = by_seed[claim] == "inconclusive"
        assert by_seed.index[changed].tolist() == inconclusive and set(by_seed[claim][~changed]) == {verdict}
    for left_out in inconclusive:
        row = cells["judged"][left_out].loc["D5"]
        assert row.reason == "does not survive Holm's correction for 11 claims" and row.low > row.threshold_high
    plateau = by_seed["D5-plateau"]
    assert plateau["no seed"] == "inconclusive" and plateau.index[plateau == "supported"].tolist() == ["seed 0"]


def test_the_figure_shows_four_nets(cells: dict[str, Any]) -> None:
    labels = [text.get_text() for panel in cells["figure"].axes for text in panel.get_legend().get_texts()]
    assert labels == cells["NETS"]
    plt.close(cells["figure"])


def test_the_last_cell_trains_quick(monkeypatch: pytest.MonkeyPatch, cells: dict[str, Any]) -> None:
    """Training itself is tested in test_cli; RESNET_REPRO_NOTEBOOK=train lets the cell train here, too."""
    code = NOTEBOOK.read_text().partition(LAST)[2]
    commands: list[list[str]] = []
    if os.environ.get("RESNET_REPRO_NOTEBOOK") != "train":
        monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
        code = code.replace('(checkout / "runs")', '(experiments="degradation", budgets="quick")')
        assert "budgets" in code
    exec(compile(code, str(NOTEBOOK), "exec"), {"resnet_repro": cells["resnet_repro"]})
    assert [command[1:] for command in commands] in ([], [["-m", "resnet_repro.cli", "run", "degradation"]])


def test_jupytext_reads_it_as_a_notebook(tmp_path: Path) -> None:
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed (extra: notebook)")
    notebook = jupytext.read(NOTEBOOK)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds.count("code") == 7 and kinds.count("markdown") == 8
    assert notebook.cells[-1].metadata["tags"] == ["train"] and "subprocess.run" in notebook.cells[-1].source
    links = re.findall(
        r"\]\(([^)]+)\)", "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    )
    assert links and all((NOTEBOOK.parent / link).exists() for link in links)
    jupytext.write(notebook, tmp_path / "notebook.ipynb")
    again = jupytext.read(tmp_path / "notebook.ipynb")
    assert (
        jupytext.writes(again, fmt="py:percent").partition("# %% [markdown]")[2]
        == (NOTEBOOK.read_text().partition("# %% [markdown]")[2])
    )
