"""Locales without Unicode, undecodable names, and settings of matplotlib that are meant for other programs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, cli, cli_process, one_sentence
from made_records import make_record

from resnet_repro.design.experiment import Experiment
from resnet_repro.surroundings import make_independent, printable

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
NOTEBOOK = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MPLCONFIGDIR": "/dev/null/x"}


def command(environment: dict[str, str], *arguments: str | Path, cwd: Path = REPO) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "resnet_repro.cli", *map(str, arguments)],
        cwd=cwd, env=os.environ | environment, capture_output=True, encoding="utf-8", timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("café 数据", "café 数据"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("café".encode().decode("ascii", "surrogateescape"), "café"),  # as an ASCII locale shows it
        ("half \ud83d", r"half \ud83d"),
        ("two\nlines\x1b[31m", r"two\u000alines\u001b[31m"),
    ],
)
def test_printable_names_can_be_written_and_stay_different(name: str, text: str) -> None:
    assert printable(name) == text
    assert text.encode()


def test_characters_that_a_terminal_lacks_are_shown_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("ascii", r"3x2 +- 1, \u6570 \udce9"), ("utf-8", r"3×2 ± 1, 数 \udce9")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            make_independent()
        stream.write("3×2 ± 1, 数 \udce9")
        stream.flush()
        assert stream.buffer.getvalue().decode(encoding) == shown  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["list", "complexity lenet-5", "run --help", "status --runs-dir reports/reference"])
def test_commands_need_no_unicode_locale(words: str) -> None:
    ended = command(ASCII, *words.split())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.isascii()


@pytest.mark.slow
def test_report_is_the_same_in_any_locale_and_notebook(
    degradation: Experiment, paper_runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "rc").write_text("font.size: 30\n")
    for name, environment in {
        "plain": {},
        "odd": {**ASCII, **NOTEBOOK, "MATPLOTLIBRC": str(tmp_path / "rc"), "SOURCE_DATE_EPOCH": "today"},
    }.items():
        ended = command(
            environment, "report", "degradation", "--runs-dir", paper_runs, "--reports-dir", tmp_path / name
        )
        assert ended.returncode == 0, ended.stderr
    for file in (tmp_path / "plain").iterdir():
        assert file.read_bytes() == (tmp_path / "odd" / file.name).read_bytes(), file.name


def test_unreadable_matplotlibrc_is_an_error_that_names_it(tmp_path: Path, degradation: Experiment) -> None:
    make_record(tmp_path / "runs", degradation, "plain-20", 0)
    (tmp_path / "experiments").symlink_to(REPO / "experiments")
    (tmp_path / "matplotlibrc").write_bytes(b"# caf\xe9\n")
    message = one_sentence(cli("report", "degradation", "--runs-dir", "runs", cwd=tmp_path))
    assert f"{tmp_path}/matplotlibrc cannot be read" in message


@pytest.mark.slow
def test_lines_are_printed_on_a_terminal_without_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert "degradation " in cli_process("list").stdout
