"""Make variables and targets, and the commands that they run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, cli

from resnet_repro.design.registry import experiment_names


def make(*arguments: str) -> str:
    """The output of make, independent of a make that runs these tests."""
    inherited = ("MAKE", "MFLAGS", "DATA_MIRROR")  # make also reads its variables from the environment
    environment = {key: value for key, value in os.environ.items() if not key.startswith(inherited)}
    out = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return out.stdout


def test_every_flag_of_run_is_a_make_variable() -> None:
    flags = set(re.findall(r"^  --([a-z-]+)", cli("run", "--help").stdout, re.M)) - {"no-report"}
    variables = {flag.upper().replace("-", "_") for flag in flags}
    assert set(make("help").rpartition(":\n")[2].split()) == variables
    (line,) = make("-n", "degradation", *(f"{name}=1" for name in variables)).splitlines()[-1:]
    assert set(re.findall(r"--([a-z-]+)", line)) == flags


def test_make_variables_become_values_of_flags() -> None:
    line = make(
        "-n", "plain-vs-resnet", "PROFILE=paper", "SEEDS=0-2", "DATA_DIR=a b", "WANDB_MODE=", "GPUS=0", "DRY_RUN=1",
        "SBATCH=--mem=2G --qos=q", "SETUP=module load x",
    ).splitlines()[-1]  # fmt: skip
    assert line.partition(" run ")[2] == (
        "plain-vs-resnet --profile 'paper' --seeds '0-2' --data-dir 'a b' --gpus '0' --sbatch='--mem=2G --qos=q' "
        "--setup='module load x' --dry-run"
    )
    assert make("-n", "depth", "PLAN=1").splitlines()[-1].endswith(" run depth  --plan")
    assert make("-n", "check", "DEVICES=cuda:0", "SEEDS=0").splitlines()[-1].endswith(" check --devices 'cuda:0'")
    assert make("-n", "degradation", "DRY_RUN=0", "WANDB_MODE=").splitlines()[-1].endswith(" run degradation ")


def test_runs_are_pruned_only_with_two_switches() -> None:
    lines = {
        switches: make("-n", "runs", *switches.split()).splitlines()[-1]
        for switches in ("", "PRUNE=1", "PRUNE=1 YES=1")
    }
    assert [line.partition("resnet-repro ")[2].strip() for line in lines.values()] == [
        "runs", "runs --prune", "runs --prune --yes",
    ]  # fmt: skip
    assert make("-n", "runs", "PRUNE=0", "RUNS_DIR=a b").splitlines()[-1].endswith("runs --runs-dir 'a b'")


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the Makefile needs of the repository, in a folder whose name has spaces and an apostrophe."""
    folder = tmp_path / "the user's clone"
    (folder / "experiments").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "experiments/degradation.py"):
        shutil.copyfile(REPO / name, folder / name)
    return folder


def run_make(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Execute make in `clone`, with a plain environment and these variables."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=clone, env=plain | environment, capture_output=True, text=True
    )


def make_environment(folder: Path) -> Path:
    """An environment that is ready, whose console script prints its arguments as JSON."""
    says = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
    write_program(folder / "bin" / "resnet-repro", says)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / ".resnet-repro-ready").touch()
    return folder


VALUES = [
    "/data/o'brien", "a b", "a  b", " ", "it's; touch harm", "'; touch harm; '", "$(touch harm)", "`touch harm`",
    "$HOME", "$$x", "$x$(y)",
    "$(shell touch harm)", 'say "x"', "back\\slash", "ends\\", "#no comment", "a,b", "(x", "%", "*", "~", "!", "&", "|", "<x>",
    "a=b", "-x",
    "--", "é ü", "line\nbreak", "'\n'; touch harm\n", "tab\tstop",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_values_reach_the_program_as_they_are_typed(value: str, clone: Path) -> None:
    environment = make_environment(clone / ".venv")
    for name, flag in (("DATASET", "--dataset"), ("SETUP", "--setup"), ("RUNS_DIR", "--runs-dir")):
        done = run_make(clone, "degradation", f"{name}={value}")
        assert done.returncode == 0, done.stderr
        words = json.loads(done.stdout.splitlines()[-1])
        typed = value.lstrip()  # make itself drops leading blanks
        expected = [flag, typed] if typed else []
        assert [*words[:2], *"=".join(words[2:]).split("=", 1)] == ["run", "degradation", *(expected or [""])]
    assert sorted(path.name for path in clone.iterdir() if path != environment) == sorted(
        ["Makefile", "pyproject.toml", "constraints.txt", "experiments"]
    )


def test_only_values_of_the_command_line_count(clone: Path) -> None:
    make_environment(clone / ".venv")
    inherited = {
        "SETUP": "1",
        "TIME": "x",
        "DRY_RUN": "1",
        "DEVICES": "cpu",
        "DATA_MIRROR": "m",
        "WANDB_MODE": "offline",
    }
    done = run_make(clone, "degradation", "SEEDS=0", "DEVICES=cuda", **inherited)
    assert json.loads(done.stdout.splitlines()[-1]) == ["run", "degradation", "--seeds", "0", "--devices", "cuda"]
    (line,) = done.stderr.splitlines()
    assert re.search(r"not taken from the environment: TIME SETUP DRY_RUN;", line)
    done = run_make(clone, "report", REFERENCE="1")
    assert json.loads(done.stdout.splitlines()[-1]) == ["report"] and "REFERENCE" in done.stderr
    done = run_make(clone, "status", DATA_MIRROR="m")
    assert json.loads(done.stdout) == ["status"] and not done.stderr


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_may_have_any_name(name: str, clone: Path, tmp_path: Path) -> None:
    folder = make_environment(tmp_path / "my $env's (new)")
    done = run_make(clone, "list", **{name: str(folder), "CONDA_DEFAULT_ENV": "new"})
    assert (done.stdout, done.stderr) == ('["list"]\n', "")


OLD = "#!/bin/sh\necho 3.10\n"
BROKEN = "#!/bin/sh\necho libpython is missing >&2\nexit 127\n"
WITHOUT_PIP = '#!/bin/sh\ncase "$*" in *pip*) exit 1;; esac\necho 3.12\n'


@pytest.mark.parametrize(
    ("variable", "python", "message"),
    [
        ("VIRTUAL_ENV", None, "VIRTUAL_ENV={place}: no Python .* deactivate"),
        ("VIRTUAL_ENV", OLD, "VIRTUAL_ENV={place} is Python 3.10, and 3.11 or newer .* deactivate"),
        ("VIRTUAL_ENV", BROKEN, r"VIRTUAL_ENV={place}: .* cannot be started \(libpython is missing\); .* deactivate"),
        ("VIRTUAL_ENV", WITHOUT_PIP, "VIRTUAL_ENV={place} has no pip: .* ensurepip"),
        ("CONDA_PREFIX", None, "CONDA_PREFIX={place}: no Python .* conda"),
        ("PYTHON", None, r"PYTHON={place}/bin/python: no Python .* PYTHON=python3\.12"),
        ("PYTHON", OLD, r"PYTHON={place}/bin/python is Python 3.10, .* PYTHON=python3\.12"),
        ("PYTHON", BROKEN, r"PYTHON={place}/bin/python: .*libpython is missing.* PYTHON=python3\.12"),
    ],
)
def test_each_cause_of_a_missing_python_has_its_sentence(
    variable: str, python: str | None, message: str, clone: Path, tmp_path: Path
) -> None:
    place = tmp_path / "the env"
    if python:
        write_program(place / "bin" / "python", python)
    value = f"{place}/bin/python" if variable == "PYTHON" else str(place)
    done = run_make(clone, "degradation", **{variable: value, "CONDA_DEFAULT_ENV": "mine"})
    line, of_make = done.stderr.splitlines()
    assert re.fullmatch(message.format(place=re.escape(str(place))) + ".*", line), line
    assert of_make.startswith("make: ***") and done.returncode == 2


def test_make_report_reference_reads_and_writes_reports_reference_and_renews_pages() -> None:
    line = make("-n", "report", "REFERENCE=1").splitlines()[-1]
    command, _, pages = line.partition(" --pages ")
    folders = "--runs-dir reports/reference --reports-dir reports/reference"
    assert command.endswith(f"report --every-budget {folders} --checklist REPRODUCIBILITY.md")
    generated = [page for folder in (".", "docs", "docs/lessons") for page in (REPO / folder).glob("*.md")]
    marked = {str(page.relative_to(REPO)) for page in generated if "<!-- generated:" in page.read_text()}
    assert marked <= set(pages.split()) and all((REPO / page).exists() for page in pages.split())


def test_make_status_passes_runs_dir() -> None:
    assert make("-n", "status", "RUNS_DIR=r").splitlines()[-1].endswith("resnet-repro status --runs-dir 'r'")


def test_make_passes_the_network_and_its_weights() -> None:
    line = "".join(make("-n", "evaluate", "NET=runs/a b", "WEIGHTS=w.th", "SCALING=1/2", "TRAIN=1").splitlines()[-2:])
    words = line.replace("\\", " ").partition(" evaluate ")[2].split()
    assert words == ["--weights", "'w.th'", "--scaling", "'1/2'", "--train", "--", "'runs/a", "b'"]
    assert make("-n", "export", "NET=n", "FOLDER=f").splitlines()[-1].endswith("resnet-repro export  -- 'n' 'f'")
    assert make("-n", "weights", "RUNS_DIR=r").splitlines()[-1].endswith("resnet-repro pick-weights --runs-dir 'r'")


def test_make_help_lists_every_target_with_its_duration() -> None:
    text = make("help")
    (phony,) = re.findall(r"^\.PHONY: (.*\\\n.*)$", (REPO / "Makefile").read_text(), re.M)
    for target in (set(re.findall(r"[a-z-]+", phony)) - {"clean"}) | set(experiment_names()):
        assert re.search(rf"^  make {target} .*\(.*\)", text, re.M), target
