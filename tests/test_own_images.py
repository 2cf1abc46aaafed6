"""The experiments on class folders and with weights from outside, through the command line; and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import REPO, cli
from made_records import make_record
from test_folders import make_folders

from resnet_repro.cli import main
from resnet_repro.data.catalogue import DatasetFacts
from resnet_repro.data.open_data import Place
from resnet_repro.design.budgets import command, profile_of, split_budget
from resnet_repro.design.registry import load_experiment
from resnet_repro.distributed import World
from resnet_repro.errors import UserError
from resnet_repro.launch.process_group import Group, group_of
from resnet_repro.launch.slots import one_of_group, plan_slots
from resnet_repro.records.failures import failure_reason
from resnet_repro.study.execute import Result
from resnet_repro.study.expand import expand
from resnet_repro.study.request import Request, at_resolution, scaled_profile


def record_in(runs: Path, experiment: str, budget: str, arm: str) -> dict:
    return json.loads((runs / experiment / budget / arm / "seed0" / "record.json").read_text())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty training images of two classes and ten to score, one of each that cannot be read."""
    root = make_folders(tmp_path_factory.mktemp("flowers") / "My Flowers", train=10, test=5)
    for file in ("train/ant/0.png", "val/bee/1.png"):
        (root / file).write_bytes(b"broken")
    return root


def test_two_processes_train_on_class_folders_through_the_command_line(folders: Path, tmp_path: Path) -> None:
    flags = f"--arms resnet-18 --iterations 2 --resolution 32 --broken skip --runs-dir {tmp_path}/runs"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "resnet_repro.cli", "run", "plain-vs-resnet", "--dataset", str(folders), *flags.split()),
        *("--reports-dir", str(tmp_path / "reports"), "--precision", "fp32", "--data-dir", str(tmp_path / "data")),
    ]
    ended = subprocess.run(command, cwd=REPO, env=os.environ, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:] + ended.stdout
    assert ended.stdout.count("report: ") == 1 and ended.stdout.count("I1 ") == 1
    record = record_in(tmp_path / "runs", "plain-vs-resnet", "2it-32px-folders-my-flowers", "resnet-18")
    assert (record["processes"], record["status"]) == (2, "finished")
    data = record["dataset"]
    assert data["class_images"] == {name: {"train": 10, "test": 5} for name in ("ant", "bee")}
    assert data["broken_images"] == 2 and set(data["broken"]) == {"train/ant/0.png", "val/bee/1.png"}
    assert (record["final"]["train_images"], data["train_images"], data["test_images"]) == (19, 20, 10)
    errors = record["final"]["test_error"] * 9 / 100, record["final"]["test_error_10crop"] * 9 / 100
    assert errors == pytest.approx([round(error) for error in errors])


def test_transfer_runs_on_own_images_with_own_weights(folders: Path, tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "mine.pth")
    arguments = [
        *("run", "transfer", "--arms", "frozen-as-written,frozen-corrected", "--resolution", "32", "--broken", "skip"),
        *("--dataset", folders, "--weights", tmp_path / "mine.pth", "--runs-dir", tmp_path / "runs"),
        *("--reports-dir", tmp_path / "reports", "--data-dir", tmp_path / "data", "--precision", "fp32"),
    ]
    ended = cli(*arguments)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "SUBSTITUTE WEIGHTS" not in ended.stdout
    budget = "quick-32px-folders-my-flowers"
    records = [
        record_in(tmp_path / "runs", "transfer", budget, f"frozen-{kind}") for kind in ("as-written", "corrected")
    ]
    for record in records:
        assert record["weights_from"] == {"name": "mine.pth", "substitute": False}
        assert record["model"]["trainable_parameters"] == 2 * 513
        assert record["iterations"] == 6  # six epochs of twenty images, as the 474 steps are of 10,000
        assert record["recipe"]["train_images"] == 0 and record["dataset"]["used"]["train"] == 20
    assert records[1]["feature_seconds"] > 0
    assert not (tmp_path / "runs" / "transfer" / budget / "pretrained").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "degradation --dataset {folders}",
            "names class folders, and the nets of degradation are made for the images of",
        ),
        ("plain-vs-resnet --profile paper", "wants ImageNet-1k here, .*: set DATASET to the path of its folders"),
        (
            "plain-vs-resnet --dataset {folders}/nothing",
            "nothing is no folder: name the folder that holds train and val",
        ),
        ("plain-vs-resnet --dataset mnist", r"the images of mnist have shape \(1, 28, 28\)"),
        ("degradation --resolution 64", "RESOLUTION=64 does not go with degradation"),
        ("plain-vs-resnet --resolution 8", "RESOLUTION=8 is out of range: take 32 to 1024 pixels"),
        ("plain-vs-resnet --resolution big", "RESOLUTION='big' is no positive whole number"),
        ("plain-vs-resnet --broken maybe", "BROKEN='maybe' is unknown: take stop or skip"),
        ("transfer --weights {folders}/none.pth --dataset {folders}", "none.pth is no file: name a file of weights"),
        (
            "transfer --weights {folders}/18.pth --dataset {folders}",
            r"18.pth does not hold the weights .*missing layer1\.2\.",
        ),
        ("degradation --weights some.pth --dataset standin-tiny", "WEIGHTS=some.pth goes with no arm of degradation"),
        (
            "transfer --arms from-scratch --weights some.pth --dataset {folders}",
            "WEIGHTS=some.pth goes with none of the arms chosen: leave it out",
        ),
        (
            "transfer --dataset flowers",
            "unknown data set 'flowers': take auto, cifar10, .* or the path of class folders",
        ),
        (
            "transfer --profile paper --dataset {folders}",
            "begins with torchvision's ResNet-34, which is not to be had here",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    words: str,
    message: str,
    folders: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resnet_repro.models.pretrained._download", lambda url, path: "no network")
    if "18.pth" in words and not (folders / "18.pth").exists():
        torch.save(torchvision.models.resnet18().state_dict(), folders / "18.pth")
    flags = ["--runs-dir", "runs", "--reports-dir", "reports", "--data-dir", "data"]
    flags = [str(tmp_path / flag) if not flag.startswith("--") else flag for flag in flags]
    assert main(["run", *(word.format(folders=folders) for word in words.split()), *flags]) == 2
    captured = capfd.readouterr().err
    assert captured.startswith("resnet-repro: ") and len(captured.strip().splitlines()) == 1
    assert re.search(message, captured), captured


def test_processes_that_torchrun_has_started_go_with_spread_experiments_alone(
    capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("RANK", 0),
        ("WORLD_SIZE", 2),
        ("LOCAL_RANK", 0),
        ("LOCAL_WORLD_SIZE", 2),
        ("MASTER_PORT", 29500),
    ):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "here")
    assert main(["run", "degradation"]) == 2
    assert "2 processes were started for degradation, whose runs take one device each" in capfd.readouterr().err


def test_a_run_of_many_processes_says_why_it_failed(tmp_path: Path) -> None:
    lines = ["resnet-repro: an older reason", *["..."] * 90, "resnet-repro: a.png cannot be read", "Traceback", "====="]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    assert failure_reason(tmp_path) == "a.png cannot be read"
    (tmp_path / "log.txt").write_text("\n".join([*lines[:91], "KeyError: 3"]))
    assert failure_reason(tmp_path) == "KeyError: 3"


SLURM = {
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_JOB_ID": "123",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_a_group_is_found_under_torchrun_and_srun() -> None:
    assert group_of({}) is None
    assert group_of({"SLURM_JOB_ID": "123", "SLURM_NTASKS": "8"}) is None  # a job's script, not one of its tasks
    group = group_of(SLURM)
    assert group == Group(World(5, 8, 1, 4), "gpu07", 20_123)
    assert group is not None
    environment = group.environment(run=3)
    assert (environment["MASTER_PORT"], environment["MASTER_ADDR"], environment["GROUP_RANK"]) == (
        "20127",
        "gpu07",
        "1",
    )
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert group_of({**torchrun, "MASTER_ADDR": "a", "MASTER_PORT": "7"}) == Group(World(1, 2, 1, 2), "a", 7)
    with pytest.raises(ValueError, match="MASTER_ADDR"):
        group_of(torchrun)
    with pytest.raises(ValueError, match="8 tasks on 3 nodes: give every node as many"):
        group_of({**SLURM, "SLURM_STEP_NUM_NODES": "3"})


@pytest.mark.parametrize("value", ["", " ", "1"])
def test_variables_that_say_nothing_mean_a_process_of_its_own(value: str) -> None:
    assert group_of({"WORLD_SIZE": value}) is None
    assert group_of({"SLURM_STEP_NUM_TASKS": value}) is None


@pytest.mark.parametrize(
    "changes",
    [{"WORLD_SIZE": "abc"}, {"WORLD_SIZE": "0"}, {"LOCAL_WORLD_SIZE": "0"}, {"LOCAL_WORLD_SIZE": "-2"}, {"RANK": "x"}],
)
def test_variables_that_make_no_group_are_refused(changes: dict[str, str]) -> None:
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}
    with pytest.raises(UserError):
        group_of({**torchrun, **changes})
    with pytest.raises(UserError, match="srun has started several tasks"):
        group_of({**SLURM, "SLURM_STEP_NUM_TASKS": "x"})


def test_a_spread_run_takes_all_gpus_and_shares_out_the_cores() -> None:
    (slot,) = plan_slots(["cuda:0", "cuda:2"], None, runs=4, cores=16, visible="4,5,6", spread=True)
    assert (slot.processes, slot.threads, slot.workers, slot.environment["CUDA_VISIBLE_DEVICES"]) == (2, 8, 8, "4,6")
    with pytest.raises(ValueError, match="SLOTS=2 does not go with runs that take all GPUs"):
        plan_slots(["cuda:0", "cuda:1"], 2, runs=4, cores=16, spread=True)
    (slot,) = plan_slots(["cuda:1"], None, runs=4, cores=16, spread=True)
    assert (slot.processes, slot.environment["CUDA_VISIBLE_DEVICES"]) == (1, "1")
    assert len(plan_slots(["cpu"], None, runs=4, cores=2, spread=True)) == 2
    slot = one_of_group("cuda", World(5, 8, 1, 4), cores=32)
    assert (slot.processes, slot.threads, "CUDA_VISIBLE_DEVICES" in slot.environment) == (1, 8, False)


def test_the_rate_belongs_to_the_whole_batch() -> None:
    """256 images and a rate of 0.1, divided by ten after 30 and 60 of 90 epochs, however many devices share them."""
    recipe = load_experiment("plain-vs-resnet").arm("resnet-34").recipe
    assert (recipe.batch_size, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (256, 0.1, 0.9, 1e-4)
    epoch = -(-1_281_167 // 256)
    assert (recipe.iterations, *recipe.milestones) == (90 * epoch, 30 * epoch, 60 * epoch)
    assert (recipe.scale, recipe.color, recipe.ten_crop, recipe.flip) == ((256, 480), 0.1, True, True)


def test_a_profile_at_another_resolution_says_so() -> None:
    experiment = load_experiment("transfer")
    quick = experiment.profile("quick")
    assert at_resolution(experiment, scaled_profile(experiment, "quick", None), 64) == quick
    resized = at_resolution(experiment, scaled_profile(experiment, "quick", 100), 96)
    assert (resized.name, resized.resolution, resized.iterations) == ("100it-96px", 96, 100)
    assert profile_of(experiment, "100it-96px-folders-my-flowers") == replace(resized, seeds=())
    assert profile_of(experiment, "quick-96px") == quick.at(96)
    assert split_budget("100it-96px-folders-my-flowers") == ("100it-96px", "folders-my-flowers")
    assert command(experiment, "100it-96px-folders-my-flowers") == (
        "make transfer ITERATIONS=100 RESOLUTION=96 DATASET=path/to/my-flowers"
    )


def request_for(words: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    """What the command line asks for with these words; nothing is carried out."""
    asked: list[Request] = []

    def note(request: Request, *_: object) -> Result:
        asked.append(request)
        return Result("", [], [], [])

    monkeypatch.setattr("resnet_repro.study.execute.carry_out", note)
    assert main(["run", *words.split()]) == 0
    return asked[0]


@pytest.mark.parametrize(
    ("words", "name", "images", "iterations", "published"),
    [
        ("--profile paper", "folders-flowers", 1_000, 360, (360, 120, 240)),  # 90 epochs of four steps
        ("--profile paper", "folders-flowers", 20, 90, (90, 30, 60)),
        ("--profile paper", "imagenet", 1_281_167, 450_450, (450_450, 150_150, 300_300)),
        ("--profile paper", "cifar10", 50_000, 450_450, (450_450, 150_150, 300_300)),
        ("--profile paper --iterations 100", "folders-flowers", 1_000, 100, (360, 120, 240)),
        ("--profile quick", "folders-flowers", 1_000, 196, (360, 120, 240)),
    ],
)
def test_own_images_are_trained_on_for_as_many_epochs_as_the_papers(
    words: str, name: str, images: int, iterations: int, published: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(f"plain-vs-resnet --arms resnet-34 --seeds 0 {words}", monkeypatch)
    facts = DatasetFacts(name, "some images", ("a", "b"), (3, 224, 224), images, 10, {})
    (settings,) = expand(request, "some", {"resnet-34": Place(facts, "0" * 64, Path("images"))})
    recipe = settings.arm.recipe
    assert settings.iterations == iterations
    assert (recipe.iterations, *recipe.milestones) == published
    assert ("as many epochs" in recipe.name) is (name == "folders-flowers")
    if words == "--profile paper":
        assert settings.evaluate_every * 90 == settings.iterations, "once an epoch"


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ("plain-vs-resnet", "paper"),
        ("plain-vs-resnet --dataset somewhere/imagenet", "paper"),
        ("plain-vs-resnet --dataset imagenet", "paper"),
        ("plain-vs-resnet --dataset {imagenet}", "paper"),
        ("transfer --dataset {imagenet}", "quick-imagenet"),
        ("transfer --dataset somewhere/flowers", "quick-96px-folders-flowers"),
        ("transfer", "paper"),
        ("transfer --resolution 64", "quick"),
        ("transfer --resolution 96", "quick-96px"),
        ("transfer --resolution 96 --profile quick", "quick-96px"),
        ("transfer --resolution 64 --profile quick", "quick"),
        ("transfer --resolution 96 --iterations 100", "100it-96px"),
        ("transfer --resolution 96 --dataset somewhere/flowers", "quick-96px-folders-flowers"),
        ("plain-vs-resnet transfer --resolution 224", "paper"),
    ],
)
def test_reports_are_picked_by_resolution_and_by_the_path_of_class_folders(
    words: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for experiment, budget, iterations in (
        ("plain-vs-resnet", "paper", 450_450),
        ("plain-vs-resnet", "quick-cifar10", 196),
        ("transfer", "paper", 790),
        ("transfer", "quick", 474),
        ("transfer", "quick-96px", 474),
        ("transfer", "100it-96px", 100),
        ("transfer", "quick-imagenet", 474),
        ("transfer", "quick-96px-folders-flowers", 474),
    ):
        arm = "resnet-34" if experiment == "plain-vs-resnet" else "from-scratch"
        make_record(tmp_path / "runs", load_experiment(experiment), arm, 0, budget, iterations)
    imagenet = tmp_path / "ilsvrc"
    if "{imagenet}" in words:
        for index in range(1_000):
            (imagenet / "train" / f"n{index:08}").mkdir(parents=True)
    written: list[str] = []
    monkeypatch.setattr("resnet_repro.cli._write", lambda name, budget, *_, **__: written.append(budget))
    assert main(["report", *words.format(imagenet=imagenet).split(), "--runs-dir", str(tmp_path / "runs")]) == 0
    assert set(written) == {chosen}


def test_a_resolution_without_runs_is_told(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    make_record(tmp_path, load_experiment("degradation"), "plain-20", 0)
    for words in ("degradation --resolution 96", "degradation --resolution 96 --profile paper"):
        assert main(["report", *words.split(), "--runs-dir", str(tmp_path)]) == 2
        assert (
            "no finished runs of degradation with this PROFILE, ITERATIONS, PREFIX, RESOLUTION"
            in capfd.readouterr().err
        )
    assert main(["report", "--resolution", "big", "--runs-dir", str(tmp_path)]) == 2
    assert "RESOLUTION='big' is no positive whole number" in capfd.readouterr().err


def test_budgets_on_imagenet_are_told_apart() -> None:
    transfer = load_experiment("transfer")
    assert split_budget("quick-imagenet") == ("quick", "imagenet")
    assert split_budget("quick-folders-imagenet") == ("quick", "folders-imagenet")
    assert profile_of(transfer, "quick-imagenet") == transfer.profile("quick")
    assert command(transfer, "quick-imagenet") == "make transfer DATASET=path/to/imagenet"
