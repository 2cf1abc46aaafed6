"""Shared pieces: tiny data, a tiny experiment, the real data where they are."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

# The tests run in as many workers as there are cores: more threads in each would only wait for one another, unless
# OMP_NUM_THREADS asks for them. Said before numpy and torch read it; what the tests start inherits it.
_asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # "4,2" where regions are nested
THREADS = int(_asked) if _asked.isdecimal() else 1
os.environ["OMP_NUM_THREADS"] = str(THREADS)
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))
# The tests train on the CPU, whatever the machine has, but for those of its GPUs.
if not any(word == "gpu" or word.endswith("test_gpu.py") for word in sys.argv):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch
import torchvision
from forked import Forked, popen
from made_records import TEST_ERROR, make_record

import resnet_repro.cli
from resnet_repro.claims.comparisons import Results
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

# He15's recipe, with a quarter of its batch on a quarter of the tiny stand-in: 8 steps an epoch, as with all of both.
QUARTER = replace(HE15_CIFAR, batch_size=32, train_images=250)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with many slow tests come first, so that no worker is left with one of them at the end.

    xdist would otherwise go by the number of tests: pyproject.toml tells it not to.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches Weights & Biases, or finds a mirror, unless it says so."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture(autouse=True)
def _own_draws() -> None:
    """What a test draws does not depend on the tests before it, which another worker may run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose cache holds the tiny stand-in."""
    folder = tmp_path_factory.mktemp("data")
    obtain("standin-tiny", DataSources(folder))
    return folder


@pytest.fixture(scope="session")
def by_this_machine(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study that the tests of clusters compare with, carried out by the local executor."""
    from cluster_study import study_by_this_machine

    return study_by_this_machine(tiny_data, tmp_path_factory.mktemp("local"))


QUARTERED = '''"""{name} as it is, on a quarter of the images and of the batch."""

import runpy
from dataclasses import replace


def {name}():
    experiment = runpy.run_path({path!r})["{name}"]()
    return replace(
        experiment,
        arms=[replace(a, recipe=replace(a.recipe, batch_size=32, train_images=250)) for a in experiment.arms],
    )
'''


@pytest.fixture(scope="session")
def quartered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory whose experiments are degradation and features: same nets, claims and figures, less to train."""
    folder = tmp_path_factory.mktemp("quartered")
    quarter_experiments(folder, "degradation", "features")
    return folder


def quarter_experiments(folder: Path, *names: str) -> None:
    """Put quartered copies of these experiments into `folder/experiments`."""
    (folder / "experiments").mkdir()
    for name in names:
        path = REPO / "experiments" / f"{name}.py"
        (folder / "experiments" / path.name).write_text(QUARTERED.format(name=name, path=str(path)))


@pytest.fixture
def real_mirror(monkeypatch: pytest.MonkeyPatch) -> str:
    """The mirror of real data sets; skips where DATA_MIRROR names none."""
    mirror = os.environ.get("DATA_MIRROR")
    if not mirror or not (Path(mirror) / "cifar10.tgz").exists():
        pytest.skip("DATA_MIRROR names no folder with cifar10.tgz")
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
    """A run's folder as the launcher leaves it before the process starts."""
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
    """The run's process, its standard input held open as the launcher does."""
    return Forked(folder, folder / "log.txt", os.environ)


def start_process(folder: Path) -> subprocess.Popen:
    """The same by the command that the launcher starts, from a new interpreter."""
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "resnet_repro.training.train_run", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ,
        )


def cli(*arguments: str | Path, cwd: Path = REPO) -> subprocess.CompletedProcess:
    """The console script's main function in this process, its runs in forked ones: no import of torch to wait for."""
    out, err = io.StringIO(), io.StringIO()
    words = list(map(str, arguments))
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("resnet_repro.launch.job.subprocess", _Subprocess)
        try:
            code = resnet_repro.cli.main(words)
        except SystemExit as ended:  # argparse ends so
            code = ended.code
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())  # type: ignore[arg-type]


class _Subprocess:
    """What the launcher knows of the module `subprocess`."""

    Popen, PIPE, STDOUT, TimeoutExpired = (
        staticmethod(popen),
        subprocess.PIPE,
        subprocess.STDOUT,
        subprocess.TimeoutExpired,
    )


def cli_process(*arguments: str | Path, cwd: Path = REPO) -> subprocess.CompletedProcess:
    """The same in a process of its own, its runs started by the launcher, as users have it."""
    return subprocess.run(
        [sys.executable, "-m", "resnet_repro.cli", *map(str, arguments)],
        cwd=cwd,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )


def one_sentence(process: subprocess.CompletedProcess) -> str:
    """The single line on standard error of a command that refused its input."""
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
    """Totals and measures of the networks that claims speak of."""
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
    """A run of 30 steps that nothing interrupts: 8 steps an epoch."""
    folder = prepare_run(tmp_path_factory.mktemp("whole"), make_settings(tiny_data, 30), tiny_data)
    process = start_process(folder)
    process.wait()
    assert process.returncode == 0, (folder / "log.txt").read_text()
    return folder
