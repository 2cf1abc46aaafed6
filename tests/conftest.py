"""Shared fixtures and helpers: tiny data, smaller experiments, runs, the command line."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

# There is one test worker per core, so each uses one thread unless the user sets OMP_NUM_THREADS. This must happen before
# numpy and torch are imported. Processes started by the tests inherit the variables.
_requested = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # "4,2" for nested parallel regions
THREADS = int(_requested) if _requested.isdecimal() else 1
os.environ["OMP_NUM_THREADS"] = str(THREADS)
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))
# All tests except those of GPUs train on the CPU.
if not any(word == "gpu" or word.endswith("test_gpu.py") for word in sys.argv):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch
import torchvision
from forked import Forked, popen
from made_records import TEST_ERROR, make_record

import resnet_repro.cli
from resnet_repro.claims.results import Results
from resnet_repro.config.arm import Arm
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.catalogue import CATALOGUE
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.design.experiment import Experiment
from resnet_repro.design.registry import load_experiment
from resnet_repro.diagnostics.complexity import build_on_meta
from resnet_repro.files import write_json
from resnet_repro.records.layout import run_folder

REPO = Path(__file__).resolve().parents[1]

torch.set_num_threads(THREADS)

# He15's recipe with a quarter of its batch size and of the tiny stand-in: 8 steps per epoch, as with the full sizes.
QUARTER = replace(HE15_CIFAR, batch_size=32, train_images=250)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with many slow tests first, so that no worker starts one of them at the end.

    pyproject.toml stops xdist from sorting by the number of tests instead.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable Weights & Biases, except in tests that enable it."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture(autouse=True)
def _own_draws() -> None:
    """Seed torch for each test, so that its draws do not depend on the tests that the worker ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the tiny stand-in in its cache."""
    folder = tmp_path_factory.mktemp("data")
    obtain("standin-tiny", DataSources(folder))
    return folder


@pytest.fixture(scope="session")
def by_this_machine(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study executed locally, which tests of clusters compare with theirs."""
    from cluster_study import study_by_this_machine

    return study_by_this_machine(tiny_data, tmp_path_factory.mktemp("local"))


QUARTERED = '''"""{name} on a quarter of the images, with a quarter of the batch size."""

import runpy
from dataclasses import replace


def {name}():
    experiment = runpy.run_path({path!r})["{name}"]()
    return replace(
        experiment,
        arms=[replace(a, recipe=quartered(a.recipe)) for a in experiment.arms],
    )


def quartered(recipe):
    return replace(
        recipe, batch_size=32, train_images=250, validation_images=min(recipe.validation_images, 100)
    )
'''


@pytest.fixture(scope="session")
def quartered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with smaller copies of degradation and features: same networks, claims and figures."""
    folder = tmp_path_factory.mktemp("quartered")
    quarter_experiments(folder, "degradation", "features")
    return folder


REPLACED: set[Path] = set()
"""Working directories whose experiments take the place of the built-in ones."""


def quarter_experiments(folder: Path, *names: str) -> None:
    """Write smaller copies of these experiments to `folder/experiments`; commands in `folder` know only these."""
    REPLACED.add(folder)
    (folder / "experiments").mkdir()
    for name in names:
        path = REPO / "experiments" / f"{name}.py"
        (folder / "experiments" / path.name).write_text(QUARTERED.format(name=name, path=str(path)))


@pytest.fixture
def real_mirror(monkeypatch: pytest.MonkeyPatch) -> str:
    """The mirror of real data sets. Skips the test if DATA_MIRROR does not name one."""
    mirror = os.environ.get("DATA_MIRROR")
    if not mirror or not (Path(mirror) / "cifar10.tgz").exists():
        pytest.skip("DATA_MIRROR is not a folder with cifar10.tgz")
    return mirror


def make_settings(data: Path, iterations: int = 6, arm: Arm | None = None, **changes: object) -> RunSettings:
    """Settings of a short run on the tiny stand-in."""
    arrays = obtain("standin-tiny", DataSources(data))
    values = {
        "experiment": "degradation",
        "budget": f"{iterations}it",
        "arm": arm or cifar_arm("plain", 8, QUARTER),
        "seed": 0,
        "iterations": iterations,
        "evaluate_every": max(1, iterations // 2),
        "dataset": "standin-tiny",
        "dataset_digest": arrays.digest,
        "precision": "fp32",
        "device": "cpu",
    }
    return RunSettings(**{**values, **changes})  # type: ignore[arg-type]


def prepare_run(folder: Path, settings: RunSettings, data: Path, **execution: object) -> Path:
    """Make a run's folder as the launcher leaves it before the process starts."""
    folder = run_folder(folder, settings.experiment, settings.budget, settings.arm.name, settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "data_folder": str(data / "cache" / settings.dataset),
        "threads": THREADS,
        "checkpoint_seconds": 60.0,
        "commit": None,
    }
    facts = CATALOGUE[settings.dataset]
    run = {
        "settings": settings.to_json(),
        "execution": {**values, **execution},
        "id": "0123abcd",
        "dataset": {"title": facts.title, "standin": facts.standin},
    }
    write_json(folder / "run.json", run)
    return folder


def start_run(folder: Path) -> Forked:
    """Start a run in a forked process. Its standard input stays open, as with the launcher."""
    return Forked(folder, folder / "log.txt", os.environ)


def start_process(folder: Path) -> subprocess.Popen:
    """Start a run in a new interpreter, by the command of the launcher."""
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "resnet_repro.training.train_run", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ,
        )


def cli(*arguments: str | Path, cwd: Path = REPO) -> subprocess.CompletedProcess:
    """Run the command line in this process, and its runs in forked processes, which need not import torch again."""
    out, err = io.StringIO(), io.StringIO()
    words = list(map(str, arguments))
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("resnet_repro.launch.job.subprocess", _Subprocess)
        if cwd in REPLACED:
            patch.setattr("resnet_repro.design.registry.BUILT_IN", cwd / "experiments")
        try:
            code = resnet_repro.cli.main(words)
        except SystemExit as ended:  # raised by argparse
            code = ended.code
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())  # type: ignore[arg-type]


class _Subprocess:
    """The part of the module `subprocess` that the launcher uses."""

    Popen, PIPE, STDOUT, TimeoutExpired = (
        staticmethod(popen),
        subprocess.PIPE,
        subprocess.STDOUT,
        subprocess.TimeoutExpired,
    )


def cli_process(*arguments: str | Path, cwd: Path = REPO) -> subprocess.CompletedProcess:
    """Run the command line in a new process, which starts its runs as for users."""
    return subprocess.run(
        [*command_line(cwd), *map(str, arguments)],
        cwd=cwd,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=600,
    )


def command_line(cwd: Path) -> list[str]:
    """The command line of this project in a process of its own, in the working directory `cwd`."""
    if cwd not in REPLACED:
        return [sys.executable, "-m", "resnet_repro.cli"]
    replace = (
        f"from resnet_repro.design import registry; registry.BUILT_IN = registry.Path({str(cwd / 'experiments')!r})"
    )
    return [sys.executable, "-c", f"import sys; {replace}; from resnet_repro.cli import main; sys.exit(main())"]


def one_sentence(process: subprocess.CompletedProcess) -> str:
    """The only line on standard error of a command that rejected its input."""
    assert process.returncode == 2, process.stderr + process.stdout
    (line,) = process.stderr.strip().splitlines()
    return line


@pytest.fixture
def degradation() -> Experiment:
    return load_experiment("degradation")


@pytest.fixture
def paper_runs(tmp_path: Path, degradation: Experiment) -> Path:
    for arm in TEST_ERROR:
        for seed in range(3):
            make_record(tmp_path / "runs", degradation, arm, seed)
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def complexity() -> Experiment:
    return load_experiment("complexity")


@pytest.fixture(scope="session")
def counted(complexity: Experiment) -> Results:
    """Totals and measures of the networks that claims refer to."""
    from counted_nets import COUNTED, counts_of

    nets = [network for network in complexity.networks if network.name in COUNTED]
    return Results({net.name: {0: counts_of(build_on_meta(net.model, net.classes), net.shape)} for net in nets})


@pytest.fixture(scope="session")
def torchvision_resnet18() -> torchvision.models.ResNet:
    torch.manual_seed(0)
    return torchvision.models.resnet18().eval()


@pytest.fixture(scope="session")
def resnet18_file(torchvision_resnet18: torchvision.models.ResNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision_resnet18.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def whole_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 30 steps without interruption; an epoch has 8 steps."""
    folder = prepare_run(tmp_path_factory.mktemp("whole"), make_settings(tiny_data, 30), tiny_data)
    process = start_process(folder)
    process.wait()
    assert process.returncode == 0, (folder / "log.txt").read_text()
    return folder
