"""Every kind of bad input is answered in one sentence, and nothing is carried out."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import cli, cli_process, one_sentence
from made_folders import make_folders


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with class folders, weights of a ResNet-18, and `file`."""
    folder = tmp_path_factory.mktemp("files")
    make_folders(folder / "flowers", train=2, test=1)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "18.pth")
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("fly", "invalid choice: 'fly'"),
        ("run nothing", "unknown experiment 'nothing': take one of activation, auxiliary, block"),
        ("run degradation --colour red", "unrecognized arguments: --colour red"),
        ("run degradation --arms plain-21", "unknown arm 'plain-21': take one of plain-20"),
        ("run degradation --arms ''", "unknown arm ''"),
        ("run degradation --profile long", "unknown profile 'long': degradation has quick, paper"),
        ("run degradation --seeds one", "SEEDS='one' is no list of seeds: write 0,1,2 or 0-4"),
        ("run degradation --seeds ''", "SEEDS='' is no list of seeds"),
        ("run degradation --seeds", "argument --seeds: expected one argument"),
        ("run degradation --iterations -3", "run: ITERATIONS='-3' is no whole number from 1 to 1,000,000,000; see"),
        ("run degradation --iterations ''", "ITERATIONS='' is no whole number"),
        ("run degradation --slots 1001", "SLOTS='1001' is no whole number from 1 to 1,000;"),
        ("run degradation --gpu-share 0", "GPU_SHARE='0' is no number from 0.0001"),
        ("run degradation --checkpoint-seconds soon", "CHECKPOINT_SECONDS='soon' is no number from 0"),
        ("run degradation --executor dask", "EXECUTOR='dask' (choose from"),
        ("run degradation --broken maybe", "BROKEN='maybe' (choose from"),
        ("run degradation --devices tpu", "DEVICES='tpu' names no device"),
        ("run degradation --precision fp16", "unknown precision 'fp16': take one of auto, bf16, fp32"),
        ("run degradation --wandb-mode maybe", "unknown WANDB_MODE 'maybe'"),
        ("run degradation --runs-dir {files}/file", "/file cannot be written"),
        ("run degradation --reports-dir {files}/file", "/file cannot be written"),
        ("report --runs-dir /nowhere", "RUNS_DIR=/nowhere is no folder: run an experiment first"),
        ("status --runs-dir /nowhere", "RUNS_DIR=/nowhere is no folder: run an experiment first"),
        ("status nothing --runs-dir {files}", "unknown experiment 'nothing': take one of activation, auxiliary, block"),
        ("report --resolution big", "RESOLUTION='big' is no whole number"),
        ("sync --runs-dir /nowhere", "holds no recordings: run an experiment first"),
        # Prefixes.
        ("run degradation --prefix 200 --iterations 400", "PREFIX=200 does not go with ITERATIONS=400"),
        ("run degradation --prefix 200 --profile quick", "PREFIX=200 does not go with PROFILE=quick"),
        ("run degradation --prefix 64001", "PREFIX=64001 is longer than the published schedule of 64,000 steps"),
        ("run construction --prefix 200", "does not go with construction, where plain-56-built starts from"),
        ("run activation --prefix 200", "PREFIX=200 does not go with activation"),
        ("run complexity --prefix 200", "PREFIX=200 does not go with complexity, which trains nothing"),
        # Data and weights.
        ("run degradation --dataset cifar11", "unknown data set 'cifar11': take auto, cifar10"),
        ("run degradation --data-mirror /nowhere", "DATA_MIRROR=/nowhere is no folder"),
        ("run degradation --dataset {files}/flowers", "class folders, and the nets of degradation are made for the images of"),
        ("run degradation --resolution 64", "RESOLUTION=64 does not go with degradation"),
        ("run plain-vs-resnet --resolution 8", "RESOLUTION=8 is out of range: take 32 to 1024 pixels"),
        ("run plain-vs-resnet --profile paper", ": set DATASET to the path of its folders"),
        ("run plain-vs-resnet --dataset {files}/nothing", "is no folder: name the folder that holds train and val"),
        ("run plain-vs-resnet --dataset mnist", "the images of mnist have shape (1, 28, 28)"),
        ("run transfer --dataset flowers", "or the path of class folders"),
        ("run transfer --weights {files}/none.pth --dataset {files}/flowers", "is no file: name a file of weights"),
        ("run transfer --weights {files}/18.pth --dataset {files}/flowers", "missing layer1.2."),
        ("run transfer --profile paper --dataset {files}/flowers", "ResNet-34, which is not to be had here"),
        (
            "run transfer --arms from-scratch --weights some.pth --dataset {files}/flowers",
            "WEIGHTS=some.pth goes with none of the arms chosen: leave it out",
        ),
        ("run degradation --weights some.pth --dataset standin-tiny", "WEIGHTS=some.pth goes with no arm of degradation"),
        # Networks that are counted.
        ("run complexity --dataset cifar10", "DATASET='cifar10' does not go with complexity, which counts networks"),
        ("run complexity --iterations 5", "ITERATIONS does not go with complexity, which trains nothing: leave it out"),
        ("complexity alexnut", "unknown network 'alexnut': take one of lenet-5"),
        ("complexity alexnet --input big", "INPUT='big' is no image size"),
        ("complexity alexnet --input 3x0x224", "INPUT='3x0x224' is no image size"),
        ("complexity alexnet --input 3x16x16", "alexnet takes no image of 3×16×16"),
        ("complexity alexnet --input 3x400x400", "alexnet takes no image of 3×400×400"),
        ("complexity vgg-16 --input 1x224x224", "it is made for 3×224×224"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(
    words: str, sentence: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.models.pretrained._download", lambda url, path: "no network")
    command, *arguments = shlex.split(words.format(files=files))
    if command == "run":
        for flag in ("runs", "reports", "data"):
            arguments[:0] = [f"--{flag}-dir", str(tmp_path / flag)]
    assert sentence in one_sentence(cli(command, *arguments))
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [["fly"], ["run", "degradation", "--devices", "tpu"]])
def test_bad_input_is_one_sentence_from_a_process_too(words: list[str], tmp_path: Path) -> None:
    """Before torch is imported and after: nothing that an import or the interpreter says stands beside it."""
    folders = ["--runs-dir", tmp_path / "runs", "--reports-dir", tmp_path / "reports"] if words[0] == "run" else []
    assert words[-1] in one_sentence(cli_process(*words, *folders))


def test_processes_that_torchrun_has_started_go_with_spread_experiments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    group = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "a", "MASTER_PORT": 1}
    for name, value in group.items():
        monkeypatch.setenv(name, str(value))
    sentence = "2 processes were started for degradation, whose runs take one device each"
    assert sentence in one_sentence(cli("run", "degradation"))
