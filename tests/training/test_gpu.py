"""The CUDA path, compared with the CPU: `make test-gpu`."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from conftest import QUARTER, cli_process, make_settings, prepare_run
from trained_runs import content, run_here

from resnet_repro.config.arm import Arm, ModelSpec
from resnet_repro.config.families import cifar_arm
from resnet_repro.config.recipes import FOUR_LAYERS
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.diagnostics.evaluation import evaluate
from resnet_repro.errors import UserError
from resnet_repro.files import read_json
from resnet_repro.launch.sharing import offers_mps
from resnet_repro.models.cifar import cifar_net
from resnet_repro.models.norms import BatchNorm
from resnet_repro.records.record import collect, only_trained
from resnet_repro.tables import read_rows, series
from resnet_repro.training import compilation, execution, monitor, train_run
from resnet_repro.training.checkpoints import Checkpoints
from resnet_repro.training.classifier import Classifier
from resnet_repro.training.device_check import compared
from resnet_repro.training.gradient_check import ensure_right_gradients

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")]


CALM = replace(QUARTER, learning_rate=0.01)  # 32 of 250 images per step: 8 steps per epoch, the last with 26 images


ARM = cifar_arm("resnet", 8, CALM)


ADAM = cifar_arm("resnet", 8, replace(CALM, optimizer="adam", learning_rate=1e-3))


DROPOUT = Arm(
    "relu-dropout",
    ModelSpec("four_layers.four_layers", {"activation": "relu", "dropout": 0.5}),
    replace(FOUR_LAYERS, batch_size=32, train_images=250, validation_images=0),
)


STEPS = 80  # ten epochs with ten short batches; evaluation after 40, gradients read at every other step


def losses(folder: Path) -> list[float]:
    return series(read_rows(folder / "metrics.csv"), "running_train_loss")[1]


def record_of(folder: Path) -> dict:
    record = read_json(folder / "record.json")
    assert record is not None
    return record


def trained(tmp: Path, data: Path, name: str, arm: Arm = ARM, steps: int = STEPS, **changes: object) -> Path:
    settings = make_settings(data, steps, arm, **{"device": "cuda", **changes})
    folder = prepare_run(tmp / name, settings, data)
    assert run_here(folder) == "finished"
    return folder


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def test_fp32_losses_match_the_cpu(tiny_data: Path, tmp_path: Path) -> None:
    """The first loss agrees to 2e-5, which TF32 would miss, and twelve steps agree to 2e-3."""
    cpu, gpu = (losses(trained(tmp_path, tiny_data, d, device=d, steps=12)) for d in ("cpu", "cuda"))
    assert gpu[0] == pytest.approx(cpu[0], rel=2e-5)
    assert gpu == pytest.approx(cpu, rel=2e-3)


def test_bf16_losses_are_close_to_fp32(tiny_data: Path, tmp_path: Path) -> None:
    runs = [losses(trained(tmp_path, tiny_data, p, steps=24, precision=p)) for p in ("fp32", "bf16")]
    assert runs[1][0] == pytest.approx(runs[0][0], rel=2e-2)
    assert runs[1] == pytest.approx(runs[0], rel=0.1)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arm", [ARM, ADAM, DROPOUT], ids=["resnet", "adam", "dropout"])
def test_captured_steps_have_the_bits_of_eager_ones(
    arm: Arm, precision: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers short batches, steps with recorded gradients and an evaluation. cuDNN's algorithms are the same in both."""
    captured = trained(tmp_path, tiny_data, "captured", arm, precision=precision)
    assert record_of(captured)["step"] == "one CUDA graph"
    monkeypatch.setattr(train_run, "choose_graph", lambda *_: None)
    eager = trained(tmp_path, tiny_data, "eager", arm, precision=precision)
    assert record_of(eager)["step"] == "eager"
    assert content(captured) == content(eager)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_kernels_run_inside_the_graph(
    precision: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("gcc") is None and shutil.which("clang") is None:
        pytest.skip("no C compiler, which Triton needs")
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(monitor, "GRADIENT_POINTS", 8)  # so that few steps read gradients
    monkeypatch.setattr(execution, "FEWEST_CAPTURED", 8)
    eager = trained(tmp_path, tiny_data, "eager", precision=precision, steps=24)
    monkeypatch.setattr(execution, "wants_compilation", lambda *_: True)
    monkeypatch.setattr(compilation, "LEAST_GAIN", -math.inf)  # even without a gain for such a small network
    compiled = trained(tmp_path, tiny_data, "compiled", precision=precision, steps=24)
    assert (record_of(compiled)["compilation"], record_of(compiled)["step"]) == ("compiled", "one CUDA graph")
    assert counters["stats"]["unique_graphs"] == 1, "traced again at the first step"
    tolerance = 1e-3 if precision == "fp32" else 5e-2
    assert losses(compiled) == pytest.approx(losses(eager), rel=tolerance)
    finals = [record_of(folder)["final"]["test_loss"] for folder in (compiled, eager)]
    assert finals[0] == pytest.approx(finals[1], rel=10 * tolerance)


def test_the_gradients_of_the_gpu_are_those_of_the_cpu() -> None:
    """Eager steps in all precisions of the GPU, and a step as one CUDA graph."""
    results = compared(torch.device("cuda"))
    assert any("CUDA graph" in result.subject for result in results)
    assert [result.text for result in results if not result.is_right] == []


def test_a_gpu_with_wrong_gradients_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch normalization is half as strong on the GPU as on the CPU."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forward = BatchNorm.forward
    monkeypatch.setattr(BatchNorm, "forward", lambda self, x: forward(self, x) * (0.5 if x.is_cuda else 1.0))
    with pytest.raises(UserError, match="computes wrong gradients in fp32"):
        ensure_right_gradients(torch.device("cuda", 0), "fp32")


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Checkpoints.on_train_batch_end

    def interrupted(self: Checkpoints, trainer: pl.Trainer, *rest: object) -> None:
        if trainer.global_step == step:
            signal.raise_signal(signal.SIGTERM)
        original(self, trainer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", interrupted)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(
    ("arm", "step"),
    [(ARM, 5), (ARM, 8), (ARM, 43), (ADAM, 53), (DROPOUT, 53)],
    ids=["first", "short", "evaluated", "adam", "dropout"],
)
def test_a_resumed_run_has_the_same_bits(
    arm: Arm, step: int, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both parts run in one process, so cuDNN chooses its algorithms once."""
    whole = trained(tmp_path, tiny_data, "whole", arm)
    folder = prepare_run(tmp_path / "parts", make_settings(tiny_data, STEPS, arm, device="cuda"), tiny_data)
    with monkeypatch.context() as patch:
        stop_at(step, patch)
        assert run_here(folder) == "stopped"
    assert run_here(folder) == "finished"
    assert content(folder) == content(whole)


def test_a_failed_capture_leaves_an_eager_run(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step reads the loss on the host, which a graph cannot record. Later steps run eagerly."""
    summed = Classifier._summed_loss

    def reading(self: Classifier, *arguments: object, **options: object):
        loss = summed(self, *arguments, **options)  # type: ignore[arg-type]
        float(loss.detach())
        return loss

    reference = trained(tmp_path, tiny_data, "reference")
    monkeypatch.setattr(Classifier, "_summed_loss", reading)
    folder = trained(tmp_path, tiny_data, "reading")
    assert record_of(folder)["step"].startswith("eager (no graph: ")
    assert "previous error" not in record_of(folder)["step"], "the first error is the reason"
    assert losses(folder)[:24] == pytest.approx(losses(reference)[:24], rel=1e-3)


def test_scores_match_the_cpu(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    scores = []
    for device in map(torch.device, ("cpu", "cuda")):
        net = cifar_net("resnet", 8).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        data = InMemoryData(arrays, StreamConfig(CALM, 0, 1, device))
        scores.append(evaluate(net, data.batches("test"), device, "fp32"))
    assert scores[1].loss == pytest.approx(scores[0].loss, rel=1e-4)
    assert abs(scores[1].error - scores[0].error) <= 100 / 500 + 1e-9


def test_steps_do_not_wait_for_the_device(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither eager steps nor replays wait. The capture between them waits once."""
    step = Classifier.training_step
    strictly = []

    def strict(self: Classifier, *arguments: object):
        replays = self.captured is not None and self.captured.is_captured
        strict = replays or 2 <= self.global_step < 5
        strictly.append(replays if strict else None)
        torch.cuda.set_sync_debug_mode("error" if strict else "default")
        try:
            return step(self, *arguments)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Classifier, "training_step", strict)
    trained(tmp_path, tiny_data, "watched")
    assert strictly.count(True) > 20 and strictly.count(False) == 3


def mps_processes() -> set[str]:
    """Process ids of MPS. Program names are cut to 15 characters: control program and server are both nvidia-cuda-mps."""
    return set(subprocess.run(["pgrep", "-x", "nvidia-cuda-mps"], capture_output=True, text=True).stdout.split())


def test_runs_share_a_gpu_and_end_the_mps_service(tiny_data: Path, quartered: Path, tmp_path: Path) -> None:
    """Runs the command line, through MPS if it is installed. The MPS service ends with the study."""
    before = mps_processes()
    process = cli_process(
        "run", "degradation", "--iterations", "80", "--devices", "cuda:0", "--slots", "2", "--arms", "plain-20,resnet-20",
        "--dataset", "standin-tiny", "--data-dir", tiny_data, "--runs-dir", tmp_path, "--reports-dir", tmp_path / "reports",
        cwd=quartered,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    assert f"2 at once on {torch.cuda.get_device_name(0)}" in process.stdout
    assert ("through MPS" in process.stdout) == offers_mps()
    (budget,) = (path.name for path in (tmp_path / "degradation").iterdir())
    records = only_trained(collect(tmp_path, "degradation", budget))
    assert [record.step for record in records] == ["one CUDA graph"] * 2
    if "CUDA_MPS_PIPE_DIRECTORY" not in os.environ:
        deadline = time.monotonic() + 15
        while (left := mps_processes()) - before:
            assert time.monotonic() < deadline, f"the MPS service still runs: {left - before}"
            time.sleep(0.5)


# Two processes on one GPU work with gloo, not with NCCL. LOCAL_RANK is 0 for both, as on two machines with a GPU each.
ON_ONE_GPU = """
import sys, torch.distributed as d
real = d.init_process_group
d.init_process_group = lambda backend, **rest: real("cpu:gloo,cuda:gloo", **rest)
from resnet_repro.training import train_run
sys.exit(train_run.main(sys.argv[1:]))
"""


def test_two_processes_have_the_loss_curve_of_one(tiny_data: Path, tmp_path: Path) -> None:
    several = torch.cuda.device_count() > 1
    arm = cifar_arm("plain", 8, CALM, norm="group")
    one = trained(tmp_path, tiny_data, "one", arm, steps=24)
    folder = prepare_run(tmp_path / "two", make_settings(tiny_data, 24, arm, device="cuda"), tiny_data)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "resnet_repro.training.train_run"] if several else ["-c", ON_ONE_GPU]
    processes = []
    for rank in range(2):
        places = (rank, 2, 0) if several else (0, 1, rank)
        names = ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
        dist = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        variables = {k: str(v) for k, v in (dist | dict(zip(names, places, strict=True))).items()}
        with (folder / "log.txt").open("a") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *command, str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=os.environ | variables,
                )
            )
    deadline = time.monotonic() + 90
    try:
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        for process in processes:
            process.kill()
    codes = [process.wait() for process in processes]
    assert codes == [0, 0], (folder / "log.txt").read_text()[-4_000:]
    assert losses(folder) == pytest.approx(losses(one), rel=2e-3)
