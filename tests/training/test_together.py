"""Several processes that train one run together give the results of one process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_settings, prepare_run
from forked import Forked
from trained_runs import content, run_here, steps_of, wait_for

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.data.open_data import open_data
from resnet_repro.distributed import ALONE, DistContext, dist_context
from resnet_repro.errors import UserError
from resnet_repro.models import build
from resnet_repro.models.cifar import cifar_net
from resnet_repro.records.predictions import correct_images, read_predictions
from resnet_repro.records.record import find_record, read_record
from resnet_repro.tables import read_rows, series
from resnet_repro.training.memory import choose_activations
from resnet_repro.training.start import Skip
from resnet_repro.training.train_run import STOPPED

# 667 is not a multiple of 123 and 123 is odd, so the last batch of an epoch and the parts of batches are uneven.
UNEVEN = replace(HE15_CIFAR, batch_size=123, learning_rate=0.01, validation_images=333)


GROUP = cifar_arm("plain", 8, UNEVEN, norm="group")


BATCH = cifar_arm("plain", 8, UNEVEN)  # with batch normalization


STEPS = 14  # 6 steps per epoch


class Together:
    """Two processes that train a run together, with the environment variables of torchrun."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.log = folder / "log.txt"
        self.processes = []
        for rank in range(2):
            variables = {
                "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            }  # fmt: skip
            environment = os.environ | {name: str(value) for name, value in variables.items()}
            self.processes.append(Forked(folder, self.log, environment))

    def wait(self) -> list[int]:
        """The exit codes. Raises subprocess.TimeoutExpired, and kills processes that are still waiting."""
        try:
            return [process.wait() for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()


def losses(folder: Path) -> list[float]:
    return series(read_rows(folder / "metrics.csv"), "running_train_loss")[1]


@pytest.fixture(scope="module")
def by_one(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepare_run(tmp_path_factory.mktemp("one"), make_settings(tiny_data, STEPS, GROUP), tiny_data)
    assert run_here(folder) == "finished"
    return folder


def finished_by_two(folder: Path) -> Path:
    together = Together(folder)
    assert together.wait() == [0, 0], together.log.read_text()
    return folder


@pytest.fixture(scope="module")
def by_two(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    return finished_by_two(prepare_run(folder, make_settings(tiny_data, STEPS, GROUP), tiny_data))


@pytest.fixture(scope="module")
def half_by_two(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that two processes began and that was stopped before its end."""
    folder = prepare_run(
        tmp_path_factory.mktemp("half"), make_settings(tiny_data, STEPS, GROUP), tiny_data, checkpoint_seconds=0.0
    )
    running = Together(folder)
    wait_for(lambda: (folder / "metrics.csv").exists() and steps_of(folder) >= 3)
    running.processes[1].send_signal(signal.SIGTERM)  # a signal to one process is enough
    assert running.wait() == [STOPPED, STOPPED]
    assert find_record(folder) is None and (folder / "checkpoint.ckpt").exists()
    assert 3 <= steps_of(folder) < STEPS
    return folder


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(by_one: Path, by_two: Path) -> None:
    assert losses(by_two) == pytest.approx(losses(by_one), rel=1e-4)
    assert len(losses(by_two)) == STEPS
    rates = [series(read_rows(folder / "metrics.csv"), "learning_rate")[1] for folder in (by_one, by_two)]
    assert rates[0] == rates[1]
    assert [read_record(folder).processes for folder in (by_one, by_two)] == [1, 2]


@pytest.mark.slow
def test_two_processes_score_every_image_once(by_one: Path, by_two: Path) -> None:
    """333 and 667 are odd, so this fails if an image is scored twice or left out."""
    one, two = (read_record(folder).final for folder in (by_one, by_two))
    assert two["train_images"] == one["train_images"] == 667
    for split, images in (("train", 667), ("validation", 333), ("test", 500)):
        assert two[f"{split}_loss"] == pytest.approx(one[f"{split}_loss"], rel=1e-4)
        # An image may change class if its two best classes are within rounding. 1 % of the images are at least three.
        assert two[f"{split}_error"] == pytest.approx(one[f"{split}_error"], abs=1.0)
        errors = (two[f"{split}_error"] or 0.0) * images / 100
        assert errors == pytest.approx(round(errors), abs=1e-6)
    stored = [read_predictions(folder) for folder in (by_one, by_two)]
    assert stored[0] is not None and stored[1] is not None
    assert (stored[0][1] == stored[1][1]).all()  # the labels: the images are in the same order
    assert np.allclose(stored[0][0], stored[1][0], atol=0.02)
    assert correct_images(read_record(by_two)) is not None


@pytest.mark.slow
def test_two_processes_resume_with_the_same_result(half_by_two: Path, by_two: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c" / "seed0"
    shutil.copytree(half_by_two, folder)
    assert "resuming" in (finished_by_two(folder) / "log.txt").read_text()
    assert content(folder) == content(by_two)


@pytest.mark.slow
def test_a_stop_request_after_the_last_step_stops_all_processes(
    tiny_data: Path, tmp_path: Path, by_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the others would score the network and wait for the stopped one. Here another process is asked to stop."""
    calls: list[int] = []

    def largest(self: DistContext, value: int) -> int:
        calls.append(value)
        return max(value, int(len(calls) == all_calls))

    all_calls = 1 + STEPS + 1  # for the memory, after each step, after the training

    folder = prepare_run(tmp_path, make_settings(tiny_data, STEPS, GROUP), tiny_data)
    with monkeypatch.context() as patch:
        patch.setattr(DistContext, "all_reduce_max", largest)
        assert run_here(folder) == "stopped"
    assert len(calls) == all_calls
    assert steps_of(folder) == STEPS and find_record(folder) is None
    assert run_here(folder) == "finished"
    assert content(folder) == content(by_one)


@pytest.mark.slow
def test_a_run_resumes_with_another_number_of_processes(half_by_two: Path, by_one: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c" / "seed0"
    shutil.copytree(half_by_two, folder)
    assert run_here(folder) == "finished"
    assert losses(folder) == pytest.approx(losses(by_one), rel=1e-4)
    assert read_record(folder).value("test_loss") == pytest.approx(read_record(by_one).value("test_loss"), rel=1e-4)


@pytest.mark.slow
def test_batch_statistics_are_taken_per_process(tiny_data: Path, tmp_path: Path) -> None:
    """With batch normalization the first loss is that of the batch in two halves, not that of the whole batch."""
    settings = make_settings(tiny_data, 1, BATCH, seed=3)
    folder = finished_by_two(prepare_run(tmp_path, settings, tiny_data))
    data = open_data(settings, tiny_data / "cache" / "standin-tiny", torch.device("cpu"), ALONE)
    images, labels, _ = next(iter(data.train_dataloader()))
    net = build(settings.arm.model, data.classes, settings.seed).to(memory_format=torch.channels_last)
    with torch.no_grad():
        whole = float(F.cross_entropy(net(images), labels))
        parts = [DistContext(rank, 2).share(123) for rank in range(2)]
        halves = sum(float(F.cross_entropy(net(images[part]), labels[part], reduction="sum")) for part in parts) / 123
    (loss,) = losses(folder)
    assert loss == pytest.approx(halves, rel=1e-5)
    assert abs(loss - whole) > 1e-3


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_shares_cover_each_item_once(processes: int) -> None:
    for count in (0, 1, 5, 123, 500):
        parts = [DistContext(rank, processes).share(count) for rank in range(processes)]
        assert [i for part in parts for i in range(count)[part]] == list(range(count))
        sizes = [part.stop - part.start for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("processes", [2, 3])
def test_shared_batches_cover_each_image_once_and_their_weights_average(processes: int, tiny_data: Path) -> None:
    recipe = replace(UNEVEN, batch_size=166, padding=0, flip=False)  # the last batch of 667 has three images
    settings = make_settings(tiny_data, 5, replace(GROUP, recipe=recipe))
    folder, cpu = tiny_data / "cache" / "standin-tiny", torch.device("cpu")

    def stream(dist: DistContext) -> list:
        return list(open_data(settings, folder, cpu, dist).train_dataloader())

    parts = [stream(DistContext(rank, processes)) for rank in range(processes)]
    for whole, *shares in zip(stream(ALONE), *parts, strict=True):
        images, labels, _ = whole
        assert torch.equal(torch.cat([part[0] for part in shares if part[2]]), images)
        means = [float(part[0].double().mean()) * part[2] for part in shares]
        assert sum(means) / processes == pytest.approx(float(images.double().mean()), abs=1e-9)
        assert sum(len(part[1]) for part in shares if part[2]) == len(labels)


def test_a_process_without_an_image_of_a_short_batch_has_weight_zero(tiny_data: Path) -> None:
    recipe = replace(UNEVEN, batch_size=111, validation_images=1000 - 112)  # 111 images, then one
    settings = make_settings(tiny_data, 2, replace(GROUP, recipe=recipe))
    folder, cpu = tiny_data / "cache" / "standin-tiny", torch.device("cpu")
    last = [list(open_data(settings, folder, cpu, DistContext(rank, 2)).train_dataloader())[-1] for rank in range(2)]
    assert [(len(labels), weight) for _, labels, weight in last] == [(1, 0.0), (1, 2.0)]


def test_the_dist_context_follows_torchruns_variables() -> None:
    assert dist_context({}) == dist_context({"WORLD_SIZE": "1", "RANK": "0"}) == ALONE
    variables = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert dist_context(variables) == DistContext(5, 8, 1, 4)
    with pytest.raises(UserError, match="LOCAL_RANK"):
        dist_context({"WORLD_SIZE": "8", "RANK": "1"})
    with pytest.raises(UserError, match=r"\b3\b"):
        dist_context(variables | {"LOCAL_WORLD_SIZE": "3"})


def test_processes_store_or_recompute_activations_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process with the least memory decides for all: one that skipped alone would leave the others waiting."""
    net = cifar_net("plain", 8)
    batch = torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long)
    values = []

    def largest(self: DistContext, value: int) -> int:
        values.append(value)
        return max(value, others)

    monkeypatch.setattr(DistContext, "all_reduce_max", largest)
    others = 0
    assert choose_activations("auto", net, batch, "fp32", 1.0, DistContext(0, 2))[0] == "stored"
    assert choose_activations("stored", net, batch, "fp32", 1.0, DistContext(0, 2))[0] == "stored"
    assert values[0] == 0 and values[1] < 0, "this process has enough memory"
    others = 2**30
    assert choose_activations("auto", net, batch, "fp32", 1.0, DistContext(0, 2))[0] == "recomputed"
    with pytest.raises(Skip, match=r"activations.* GiB"):
        choose_activations("stored", net, batch, "fp32", 1.0, DistContext(0, 2))
