"""Compiled training steps: when they pay off, one compilation per machine, and no other effects."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import pytorch_lightning as pl
import torch
from conftest import make_settings, prepare_run
from torch._dynamo.utils import counters
from trained_runs import run_here

from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import HE15_CIFAR
from resnet_repro.config.settings import RunSettings
from resnet_repro.data.stream import InMemoryData
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.weights import state_sha256
from resnet_repro.records.record import read_record
from resnet_repro.training import compilation, execution, train_run
from resnet_repro.training.checkpoints import Checkpoints
from resnet_repro.training.compilation import Share, compiled_once, compiled_step, wants_compilation

pytestmark = pytest.mark.slow


def test_a_failed_compilation_is_reported_and_leaves_the_net_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(net, **options):
        def step(images):
            net(images)  # changes the batch statistics first
            raise RuntimeError("no compiler\nmore")

        return step

    monkeypatch.setattr(compilation.torch, "compile", broken)
    net = cifar_net("plain", 8).train()
    before = state_sha256(net.state_dict())
    trial = compiled_step(net, BATCH, "fp32")
    assert trial.step is None and trial.failed
    assert trial.outcome == "RuntimeError: no compiler"
    assert state_sha256(net.state_dict()) == before


def test_a_trial_leaves_weights_statistics_and_gradients_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.torch, "compile", lambda net, **options: net.forward)
    net = cifar_net("plain", 8).train()
    before = state_sha256(net.state_dict())
    trial = compiled_step(net, BATCH, "fp32", measures=True)
    assert trial.step is not None
    assert trial.outcome == "compiled"
    assert state_sha256(net.state_dict()) == before
    assert all(parameter.grad is None for parameter in net.parameters())


def test_compiled_kernels_are_cached_per_instruction_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels compiled for one instruction set give NaN under another, which would count as divergence."""
    folders = []
    for torch_level, onednn in (("AVX2", "AVX2"), ("AVX512", "AVX2"), ("AVX512", "AVX512_CORE")):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", onednn)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda level=torch_level: level)
        for _ in range(2):  # the second network of a process uses the same folder
            compilation.use_own_cache()
        folders.append(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
    assert len(set(folders)) == 3
    assert {folder.parent for folder in folders} == {tmp_path}, "in the folder set by the user"


BATCH = (torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long))


class Compiles:
    """`wants_compilation` for plain nets on CIFAR-10, on a machine with two slots and a compiler."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
        monkeypatch.setattr(compilation, "has_compiler", lambda: True)
        monkeypatch.setattr(compilation, "device_name", lambda kind: kind)

    def __call__(
        self, device: str, steps: int, runs: int = 1, depth: int = 56, precision: str = "bf16", threads: int = 1,
        features: Literal["each step", "once"] = "each step",
    ) -> bool:  # fmt: skip
        share = Share(steps * runs, runs, at_once=2)
        settings = self.settings(device, steps, depth, precision, features)
        return wants_compilation(settings, 10, (3, 32, 32), share, threads)

    @staticmethod
    def settings(
        device: str, steps: int, depth: int = 56, precision: str = "bf16",
        features: Literal["each step", "once"] = "each step",
    ) -> RunSettings:  # fmt: skip
        arm = replace(cifar_arm("plain", depth, HE15_CIFAR), features=features)
        return RunSettings("degradation", "paper", arm, 0, steps, steps, "cifar10", "", precision, device)


def test_compilation_is_chosen_if_it_pays_off_over_all_runs_of_a_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = Compiles(monkeypatch, tmp_path)
    assert not compiles("cpu", 391)
    assert compiles("cpu", 391, runs=40), "forty runs share a minute of compilation"
    assert compiles("cpu", 8_000)
    assert not compiles("cpu", 391, depth=20)
    assert not compiles("cpu", 8_000, threads=64), "64 threads finish before the compiler does"
    assert not compiles("cpu", 64_000, features="once")
    assert not compiles("mps", 64_000)
    assert not compiles("cuda", 391, runs=5)
    assert not compiles("cuda", 64_000)
    assert compiles("cuda", 64_000, runs=5)
    assert not compiles("cuda", 640_000, runs=5, depth=1202), "compilation takes longer than training"
    monkeypatch.setattr(compilation, "has_compiler", lambda: False)
    assert not compiles("cpu", 8_000) and not compiles("cuda", 64_000, runs=5)


def test_a_step_compiled_before_costs_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.torch, "compile", lambda net, **options: net.forward)
    monkeypatch.setattr(compilation, "_gain", lambda *_: 0.2)
    compiles = Compiles(monkeypatch, tmp_path)
    assert not compiles("cpu", 391)
    trial = compiled_once(cifar_net("plain", 8), BATCH, compiles.settings("cpu", 391), 10, (3, 32, 32))
    assert trial.step is not None
    assert compiles("cpu", 391)
    assert not compiles("cpu", 391, precision="fp32") and not compiles("cpu", 391, depth=20), (
        "other precisions and depths are other programs"
    )
    assert not compiles("cpu", 20)


def test_compiled_kernels_without_a_gain_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This happens in bf16 on some processors. The machine remembers it; only a run that began with them keeps them."""
    compiled = []
    monkeypatch.setattr(compilation.torch, "compile", lambda net, **options: compiled.append(net) or net.forward)
    monkeypatch.setattr(compilation, "_gain", lambda *_: -0.04)
    compiles = Compiles(monkeypatch, tmp_path)
    assert compiles("cpu", 64_000)
    for _ in range(2):
        trial = compiled_once(cifar_net("plain", 8), BATCH, compiles.settings("cpu", 64_000), 10, (3, 32, 32))
        assert trial.step is None and not trial.failed
        assert trial.outcome == "compiled kernels save -4 % of a step here"
    assert len(compiled) == 1, "the machine remembers the gain"
    assert not compiles("cpu", 64_000)
    trial = compiled_once(cifar_net("plain", 8), BATCH, compiles.settings("cpu", 64_000), 10, (3, 32, 32), anyway=True)
    assert trial.step is not None


def test_the_gain_is_measured_in_process_time() -> None:
    def computes(seconds: float, waits: float = 0.0):
        def work() -> None:
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass
            time.sleep(waits)

        return work

    assert compilation._gain(computes(0.02), computes(0.01), on_gpu=False) == pytest.approx(0.5, abs=0.2)
    assert compilation._gain(computes(0.01), computes(0.02), on_gpu=False) < -0.5
    # Time in which another run has the core does not count.
    assert compilation._gain(computes(0.02), computes(0.01, waits=0.03), on_gpu=False) == pytest.approx(0.5, abs=0.2)


def test_a_failed_compilation_stores_no_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(net, **options):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(compilation.torch, "compile", broken)
    compiles = Compiles(monkeypatch, tmp_path)
    trial = compiled_once(cifar_net("plain", 8), BATCH, compiles.settings("cpu", 391), 10, (3, 32, 32))
    assert (trial.step, trial.outcome, trial.failed) == (None, "RuntimeError: no compiler", True)
    assert compilation.known_gain(compiles.settings("cpu", 391), 10, (3, 32, 32)) is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_step_is_traced_once(
    precision: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial uses the autocast of Lightning's steps. Otherwise Dynamo would trace again at the first step."""
    compile_ = torch.compile
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(execution, "wants_compilation", lambda *_: True)
    monkeypatch.setattr(compilation.torch, "compile", lambda net, **options: compile_(net, backend="eager", **options))
    monkeypatch.setattr(compilation, "_gain", lambda *_: 0.2)
    folder = prepare_run(tmp_path, make_settings(tiny_data, 3, precision=precision), tiny_data)
    assert run_here(folder) == "finished"
    record = read_record(folder)
    assert record.compilation == "compiled"
    assert counters["stats"]["unique_graphs"] == 1


def test_a_resumed_run_keeps_compiled_or_eager_kernels(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels round differently, so the checkpoint stores the choice, and a new choice does not replace it."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compilation.torch, "compile", lambda net, **options: net.forward)
    monkeypatch.setattr(compilation, "_gain", lambda *_: 0.2)
    for began in (True, False):
        folder = prepare_run(tmp_path / str(began), make_settings(tiny_data, 10), tiny_data)
        with monkeypatch.context() as patch:
            patch.setattr(execution, "wants_compilation", lambda *_, began=began: began)
            patch.setattr(Checkpoints, "on_train_batch_start", _stop_after_four_steps)
            assert run_here(folder) == "stopped"
        monkeypatch.setattr(execution, "wants_compilation", lambda *_, began=began: not began)
        assert run_here(folder) == "finished"
        record = read_record(folder)
        assert record.compilation == ("compiled" if began else "not compiled")


def _stop_after_four_steps(self: Checkpoints, trainer: pl.Trainer, *_: object) -> None:
    self.stop_requested |= trainer.global_step == 4


def test_a_step_is_compiled_with_the_batch_that_was_read_before(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second stream would start a second set of decoding processes. The batch has the size of training batches, even if
    some of its images could not be read.
    """
    shapes, streams = [], []
    original = InMemoryData.train_dataloader

    def compile_(net, **options):
        def forward(images: torch.Tensor) -> torch.Tensor:
            shapes.append((tuple(images.shape), images.is_contiguous(memory_format=torch.channels_last)))
            return net(images)

        return forward

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(execution, "wants_compilation", lambda *_: True)
    monkeypatch.setattr(compilation, "_gain", lambda *_: 0.2)
    monkeypatch.setattr(compilation.torch, "compile", compile_)
    monkeypatch.setattr(InMemoryData, "train_dataloader", lambda self: streams.append(self) or original(self))
    monkeypatch.setattr(train_run, "first_batch", lambda data, size: next(data.batches("train", size - 3, size - 3)))
    folder = prepare_run(tmp_path, make_settings(tiny_data, 3), tiny_data)
    assert run_here(folder) == "finished"
    assert set(shapes) == {((32, 3, 32, 32), True)}
    assert len(streams) == 1
