"""The training step as one graph, on a CPU: a fake graph calls the recorded function again. test_gpu.py uses real ones."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from conftest import QUARTER, make_settings, prepare_run
from rich.console import Console
from trained_runs import content, run_here

from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import FOUR_LAYERS
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.launch.display import Display, ShownRun
from resnet_repro.models import build
from resnet_repro.models.weights import state_sha256
from resnet_repro.records.record import read_record
from resnet_repro.training import classifier, train_run
from resnet_repro.training.captured import EAGER_STEPS, CapturedStep
from resnet_repro.training.checkpoints import Checkpoints

pytestmark = pytest.mark.slow

STEPS = 80  # ten epochs of 8 steps with a short last batch; evaluation after 40, gradients read at every other step


REPLAYED = len(range(3, STEPS, 2)) - EAGER_STEPS


ADAM = cifar_arm("resnet", 8, replace(QUARTER, optimizer="adam", learning_rate=1e-3))


DROPOUT = Arm(
    "relu-dropout",
    ModelSpec("four_layers.four_layers", {"activation": "relu", "dropout": 0.5}),
    replace(FOUR_LAYERS, batch_size=32, train_images=250, validation_images=0),
)


class Recorder:
    """A fake CUDA graph: a replay calls the recorded function. Counts captures and replays."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            with pytest.MonkeyPatch.context() as patch:
                # A graph would keep these numbers from its recording, so a replay must not use them.
                patch.setattr(classifier, "learning_rate", None)
                patch.setattr(classifier, "_mask_seed", None)
                patch.setattr(classifier, "_noise_seed", None)
                patch.setattr(classifier.Classifier, "global_step", property(_fail))
                work()

        return replay


def _fail(module: object) -> int:
    raise AssertionError("the step inside a graph reads its number")


def capturing(monkeypatch: pytest.MonkeyPatch, capture: Callable) -> None:
    monkeypatch.setattr(train_run, "choose_graph", lambda module, *_: module.capture_steps(capture))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "arm",
    [cifar_arm("resnet", 8, QUARTER), ADAM, DROPOUT, cifar_arm("plain", 8, QUARTER, norm="noisy")],
    ids=["resnet", "adam", "dropout", "noise"],
)
def test_captured_steps_end_with_the_same_bits_as_eager_ones(
    arm: Arm, precision: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tiny_data, STEPS, arm, precision=precision)
    plain = prepare_run(tmp_path / "plain", settings, tiny_data)
    assert run_here(plain) == "finished"
    recorder = Recorder()
    capturing(monkeypatch, recorder)
    captured = prepare_run(tmp_path / "captured", settings, tiny_data)
    assert run_here(captured) == "finished"
    assert content(captured) == content(plain)
    assert recorder.captures == 1
    assert recorder.replays == REPLAYED, "short batches and steps with recorded gradients run eagerly"
    records = [json.loads((folder / "record.json").read_text()) for folder in (plain, captured)]
    assert [record["step"] for record in records] == ["eager", "one CUDA graph"]


def test_captured_steps_match_a_plain_pytorch_loop(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = cifar_arm("resnet", 8, QUARTER)
    capturing(monkeypatch, Recorder())
    folder = prepare_run(tmp_path, make_settings(tiny_data, STEPS, arm), tiny_data)
    assert run_here(folder) == "finished"
    net = build(arm.model, 10, seed=0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    update = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    data = InMemoryData(arrays, StreamConfig(arm.recipe, 0, STEPS, torch.device("cpu")))
    for step, (images, labels, _) in enumerate(data.train_dataloader()):
        update.param_groups[0]["lr"] = 0.1 if step < 40 else 0.01 if step < 60 else 0.001
        update.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        update.step()
    record = read_record(folder)
    assert record.weights_sha256 == state_sha256(net.state_dict())


def test_a_captured_run_resumes_with_the_same_result(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capturing(monkeypatch, Recorder())
    settings = make_settings(tiny_data, STEPS, cifar_arm("resnet", 8, QUARTER))
    whole = prepare_run(tmp_path / "whole", settings, tiny_data)
    assert run_here(whole) == "finished"
    folder = prepare_run(tmp_path / "parts", settings, tiny_data)
    original = Checkpoints.on_train_batch_end

    def interrupted(self: Checkpoints, trainer: pl.Trainer, *rest: Any) -> None:
        if trainer.global_step == 53:
            signal.raise_signal(signal.SIGTERM)
        original(self, trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", interrupted)
        assert run_here(folder) == "stopped"
    assert run_here(folder) == "finished"
    assert content(folder) == content(whole)


def test_a_failed_capture_runs_eagerly_and_is_reported(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tiny_data, STEPS, cifar_arm("plain", 8, QUARTER))
    plain = prepare_run(tmp_path / "plain", settings, tiny_data)
    assert run_here(plain) == "finished"
    tries = []

    def refused(work: Callable[[], None]) -> Callable[[], None]:
        tries.append(work)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    capturing(monkeypatch, refused)
    folder = prepare_run(tmp_path / "refused", settings, tiny_data)
    assert run_here(folder) == "finished"
    assert content(folder) == content(plain)
    assert len(tries) == 1, "a failed capture is not repeated"
    reason = "RuntimeError: operation not permitted when stream is capturing"
    record = read_record(folder)
    assert record.step == f"eager (no graph: {reason})"
    console = Console(record=True, width=200)
    display = Display([ShownRun(name, folder, 1.0) for name in ("plain-8 seed 0", "plain-8 seed 1")], console)
    display.refresh(force=True)
    display.refresh(force=True)
    shown = console.export_text()
    assert shown.count("CUDA graph") == shown.count(f"({reason})") == 1


def test_a_replay_reads_its_own_batch() -> None:
    seen: list[tuple[float, int]] = []
    step = CapturedStep(lambda images, labels: seen.append((float(images.sum()), int(labels.sum()))), Recorder())
    batches = [(torch.full((2, 3, 4, 4), float(i)), torch.tensor([i, i])) for i in range(EAGER_STEPS + 3)]
    taken = [step(*batch) for batch in batches]
    assert taken == [False] * EAGER_STEPS + [True] * 3
    assert seen == [(96.0 * i, 2 * i) for i in range(EAGER_STEPS, EAGER_STEPS + 3)]
