"""Invalid input is reported in one sentence, before anything runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import cli, cli_process, one_sentence
from made_folders import make_folders


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with class folders `flowers`, weights of a ResNet-18 in `18.pth`, and an empty `file`."""
    folder = tmp_path_factory.mktemp("files")
    make_folders(folder / "flowers", train=2, test=1)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "18.pth")
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("fly", "'fly'.*run.*report"),
        ("run nothing", "unknown experiment 'nothing': .* activation, auxiliary, beginnings, block"),
        ("run degradation --colour red", "unrecognized arguments: --colour red"),
        ("run degradation --arms plain-21", "unknown arm 'plain-21': .* plain-20"),
        ("run degradation --arms ''", "unknown arm ''"),
        ("run degradation --profile long", "unknown profile 'long' of degradation: .* quick, paper"),
        ("run degradation --seeds one", "invalid SEEDS 'one': .* 0,1,2 or 0-4"),
        ("run degradation --seeds ''", "invalid SEEDS ''"),
        ("run degradation --seeds", "argument --seeds: expected one argument"),
        ("run degradation --iterations -3", "run: invalid ITERATIONS '-3': .* whole number from 1 .*, e.g. 391; see"),
        ("run degradation --iterations ''", "invalid ITERATIONS '': .* whole number"),
        ("run degradation --slots 1001", "invalid SLOTS '1001': .* whole number from 1 to 1,000"),
        ("run degradation --gpu-share 0", "invalid GPU_SHARE '0': .* number from 0.0001"),
        ("run degradation --checkpoint-seconds soon", "invalid CHECKPOINT_SECONDS 'soon': .* number from 0 .*, e.g. 60"),
        ("run degradation --executor dask", "invalid EXECUTOR 'dask': .*local"),
        ("run degradation --broken maybe", "invalid BROKEN 'maybe': .*stop.*skip"),
        ("run degradation --devices tpu", "DEVICES.*'tpu'"),
        ("run degradation --precision fp16", "invalid PRECISION 'fp16': expected one of auto, bf16, fp32"),
        *(
            (f"run {name} --executor {executor} {more}", pattern)
            for name, executor in (("degradation", "local"), ("degradation", "ray"), ("degradation", "slurm --dry-run"))
            for more, pattern in (
                ("--precision fp8", "invalid PRECISION 'fp8': expected one of auto, bf16, fp32"),
                ("--devices tpu", "invalid DEVICES 'tpu': .* cuda:0,cuda:1"),
                ("--wandb-mode maybe", "invalid WANDB_MODE 'maybe'"),
            )
        ),
        ("run degradation --plan --dry-run --arms plain-21", "unknown arm 'plain-21'"),
        ("check --devices tpu", "invalid DEVICES 'tpu': .* cuda:0,cuda:1"),
        ("check --wandb-mode maybe", "invalid WANDB_MODE 'maybe'"),
        ("run degradation --gpus 0", "GPUS=0 .*EXECUTOR=local.*EXECUTOR=slurm"),
        ("run degradation --executor slurm --dry-run --time soon", "invalid TIME 'soon': .*4:00:00"),
        ("run complexity --precision fp8", "invalid PRECISION 'fp8'"),
        ("run complexity --devices tpu", "invalid DEVICES 'tpu'"),
        ("run complexity --executor slurm --dry-run", "EXECUTOR=slurm .* complexity"),
        ("run complexity --weights some.pth", "WEIGHTS=some.pth .* complexity"),
        ("run degradation --wandb-mode maybe", "WANDB_MODE 'maybe'"),
        *(
            (f"run degradation --{name} ''", f"invalid {variable} '': expected a value")
            for name, variable in (("dataset", "DATASET"), ("runs-dir", "RUNS_DIR"), ("profile", "PROFILE"))
        ),
        ("report --reports-dir ''", "invalid REPORTS_DIR '': expected a value"),
        ("report --checklist ''", "invalid CHECKLIST '': expected a value"),
        ("report depth --checklist a.md", "CHECKLIST=a.md cannot be combined with depth: expected no names of experiments"),
        *(
            (f"run {name} --workers 2 --broken skip", "WORKERS=2 and BROKEN=skip apply to class folders only")
            for name in ("degradation", "plain-vs-resnet --dataset cifar10", "complexity", "mnist --executor slurm --dry-run")
        ),
        ("run degradation --runs-dir {files}/file", "RUNS_DIR=.*/file cannot be written"),
        ("run degradation --reports-dir {files}/file", "REPORTS_DIR=.*/file cannot be written"),
        ("report --runs-dir /nowhere", "RUNS_DIR=/nowhere does not exist"),
        ("status --runs-dir /nowhere", "RUNS_DIR=/nowhere does not exist"),
        ("status nothing --runs-dir {files}", "unknown experiment 'nothing': .* activation, auxiliary, beginnings, block"),
        ("report --resolution big", "invalid RESOLUTION 'big': .* whole number"),
        ("report --runs-dir {files}", "RUNS_DIR=.* no finished runs; .* make degradation"),
        ("sync --runs-dir /nowhere", "RUNS_DIR=/nowhere does not exist"),
        ("sync --runs-dir {files}", "no runs with curves"),
        ("sync --runs-dir {files}/file", "file is not a folder"),
        ("run degradation --executor dask", "invalid EXECUTOR 'dask': expected one of local, ray, slurm"),
        # Prefixes.
        ("run degradation --prefix 200 --iterations 400", "PREFIX=200 .* ITERATIONS=400"),
        ("run degradation --prefix 200 --profile quick", "PREFIX=200 .* PROFILE=quick"),
        ("run degradation --prefix 64001", "PREFIX=64001 is longer .* 64,000 steps"),
        ("run construction --prefix 200", "PREFIX=200 .* construction, .* plain-56-built starts from"),
        ("run activation --prefix 200", "PREFIX=200 .* activation"),
        ("run complexity --prefix 200", "PREFIX=200 .* complexity, which trains nothing"),
        # Data and weights.
        ("run degradation --dataset cifar11", "'cifar11': .* auto, cifar10"),
        ("run degradation --data-mirror /nowhere", "DATA_MIRROR.*/nowhere"),
        ("run degradation --dataset {files}/flowers", "/flowers .* class folders, .* degradation .* cifar10"),
        ("run degradation --resolution 64", "RESOLUTION=64 .* degradation"),
        ("run plain-vs-resnet --resolution 8", "RESOLUTION=8 .* 32 to 1024 pixels"),
        ("run plain-vs-resnet --profile paper", "ImageNet-1k.* DATASET .* folders"),
        ("run plain-vs-resnet --dataset {files}/nothing", "DATASET.*/nothing .* train and val"),
        ("run plain-vs-resnet --dataset mnist", r"mnist .* \(1, 28, 28\)"),
        ("run transfer --dataset flowers", "'flowers': .* class folders"),
        ("run transfer --weights {files}/none.pth --dataset {files}/flowers", "WEIGHTS.*/none.pth"),
        ("run transfer --weights {files}/18.pth --dataset {files}/flowers", r"missing layer1\.2\."),
        ("run transfer --profile paper --dataset {files}/flowers", "ResNet-34, .* WEIGHTS"),
        (
            "run transfer --arms from-scratch --weights some.pth --dataset {files}/flowers",
            "WEIGHTS=some.pth .* the selected arms",
        ),
        ("run degradation --weights some.pth --dataset standin-tiny", "WEIGHTS=some.pth .* any arm of degradation"),
        # Counted networks.
        ("run complexity --dataset cifar10", "DATASET=cifar10 .* complexity, which counts networks"),
        ("run complexity --iterations 5", "ITERATIONS .* complexity, which trains nothing"),
        ("complexity alexnut", "network 'alexnut': .* lenet-5"),
        ("complexity alexnet --input big", "INPUT.*'big'"),
        ("complexity alexnet --input 3x0x224", "INPUT.*'3x0x224'"),
        ("complexity alexnet --input 3x16x16", "alexnet .* 3×16×16 .* 3×227×227"),
        ("complexity alexnet --input 3x400x400", "alexnet .* 3×400×400 .* 3×227×227"),
        ("complexity vgg-16 --input 1x224x224", "vgg-16 .* 1×224×224 .* 3×224×224"),
    ],
)  # fmt: skip
def test_invalid_input_is_reported_in_one_sentence(
    words: str, pattern: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_repro.models.pretrained._download", lambda url, path: "no network")
    command, *arguments = shlex.split(words.format(files=files))
    if command == "run":
        for flag in ("runs", "reports", "data"):
            arguments[:0] = [f"--{flag}-dir", str(tmp_path / flag)]
    assert re.search(pattern, one_sentence(cli(command, *arguments)))
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [["fly"], ["run", "degradation", "--devices", "tpu"]])
def test_process_prints_nothing_beside_the_error(words: list[str], tmp_path: Path) -> None:
    """Holds before and after torch is imported: no warnings of imports or of the interpreter."""
    folders = ["--runs-dir", tmp_path / "runs", "--reports-dir", tmp_path / "reports"] if words[0] == "run" else []
    assert words[-1] in one_sentence(cli_process(*words, *folders))


def test_torchrun_is_rejected_unless_runs_spread_over_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    group = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "a", "MASTER_PORT": 1}
    for name, value in group.items():
        monkeypatch.setenv(name, str(value))
    assert re.search("2 processes .* degradation uses one device", one_sentence(cli("run", "degradation")))
