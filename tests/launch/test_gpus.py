"""Simulated GPUs: messages, rejected GPUs, runs per GPU, and the MPS service."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import cli, make_settings, prepare_run

from resnet_repro import hardware as devices
from resnet_repro.config.execution import Execution
from resnet_repro.distributed import DistContext
from resnet_repro.errors import UserError
from resnet_repro.launch import ExecutorSpec, LaunchOptions, Load, sharing
from resnet_repro.launch.local import LocalExecutor
from resnet_repro.launch.sharing import Mps, offers_mps, runs_a_gpu
from resnet_repro.records.failures import failure_reason
from resnet_repro.study.cost import heaviest
from resnet_repro.study.run import Run
from resnet_repro.training.train_run import train

SMALL = Load(2e10, 9 * 2**28)  # resnet-56 at batch 128: 2.25 GiB

H100, T4, P100 = ("NVIDIA H100 80GB HBM3", (9, 0), 80), ("Tesla T4", (7, 5), 16), ("Tesla P100", (6, 0), 16)

ARCHITECTURES = ["sm_75", "sm_80", "sm_90a", "sm_100", "compute_120"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A function that simulates GPUs (name, capability, GiB) and CPU cores, without MPS.

    works: whether torch can use the driver.
    """

    def pretend(*gpus: tuple[str, tuple[int, int], int], works: bool = True, cores: int = 16) -> None:
        cuda = torch.cuda
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(devices, "cpu_cores", lambda: cores)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(cuda, "device_count", lambda: len(gpus))  # from NVML, independent of the CUDA driver
        monkeypatch.setattr(devices, "_driver_works", lambda: bool(gpus) and works)
        monkeypatch.setattr(cuda, "get_arch_list", lambda: ARCHITECTURES)
        monkeypatch.setattr(cuda, "get_device_name", lambda gpu=0: gpus[gpu][0])
        monkeypatch.setattr(cuda, "get_device_capability", lambda gpu=0: gpus[gpu][1])
        monkeypatch.setattr(
            cuda, "get_device_properties", lambda gpu: SimpleNamespace(total_memory=gpus[gpu][2] * 2**30)
        )

    return pretend


def local(spread: bool = False, precision: str = "auto", **options: object) -> LocalExecutor:
    return LocalExecutor(ExecutorSpec(LaunchOptions(**options), precision, Path(), "x", spread))  # type: ignore[arg-type]


def test_plan_names_devices_and_the_number_of_concurrent_runs(machine: Callable) -> None:
    machine(H100, H100)
    assert local().plan(25, SMALL) == f"4 at once on 2 × {H100[0]}, 4 threads each"
    assert local(slots=3).plan(25, SMALL) == f"6 at once on 2 × {H100[0]}, 2 threads each"
    assert local(spread=True).plan(5, SMALL) == f"1 at once on 2 × {H100[0]}, all GPUs per run, 8 threads each"
    machine(H100, T4)
    assert local().plan(1, SMALL) == f"2 at once on {H100[0]}, {T4[0]}, 8 threads each"
    machine()
    assert local().plan(25) == f"16 at once on {devices.device_name('cpu')}, 1 thread each"


def test_gpus_with_an_outdated_driver_are_reported(machine: Callable, caplog: pytest.LogCaptureFixture) -> None:
    machine(H100, H100, works=False)
    executor = local(precision="fp32")
    assert executor.kind == "cpu"
    (line,) = caplog.messages
    assert "2 GPUs" in line and "CUDA 13.0" in line
    assert "driver 580 or newer" in line and "download.pytorch.org/whl/cu126" in line
    assert line.endswith(" cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(UserError, match=f"DEVICES='{name}' cannot be used: .*driver 580 or newer"):
            local(devices=name)
    local(devices="cpu", precision="fp32")
    assert len(caplog.messages) == 1, "DEVICES=cpu logs no message about GPUs"


def test_gpus_without_kernels_in_this_torch_are_left_out(machine: Callable, caplog: pytest.LogCaptureFixture) -> None:
    machine(P100, H100, P100)
    executor = local()
    assert executor.devices == ["cuda:1"] and executor.precision == "bf16"
    (line,) = caplog.messages
    assert "kernels for Tesla P100" in line and line.endswith(" cuda:1")
    with pytest.raises(UserError, match=r"DEVICES='0' cannot be used: .*kernels for Tesla P100"):
        local(devices="0")
    machine(P100)
    assert local(precision="fp32").kind == "cpu"
    with pytest.raises(UserError, match=r"DEVICES='cuda' cannot be used: .*kernels for Tesla P100"):
        local(devices="cuda")


def test_command_exits_with_one_line_if_torch_cannot_use_the_gpus(
    machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(H100, works=False)
    process = cli("run", "degradation", "--devices", "cuda", "--runs-dir", tmp_path / "runs")
    assert (process.returncode, process.stdout) == (2, "")
    assert "DEVICES='cuda' cannot be used: " in process.stderr and "1 GPU" in process.stderr
    assert process.stderr.count("\n") == 1


def test_bf16_requires_support_by_all_gpus(machine: Callable) -> None:
    machine(H100, T4)
    assert local().precision == "fp32"
    assert local(devices="cuda:0").precision == "bf16"


def test_each_mig_slice_gets_a_slot(machine: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(("NVIDIA H100 80GB HBM3 MIG 1g.10gb", (9, 0), 10))  # CUDA shows a process only the first slice
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-b,MIG-c")
    executor = local()
    assert executor.plan(3, SMALL) == "3 at once on 3 × NVIDIA H100 80GB HBM3 MIG 1g.10gb, 5 threads each"
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in executor.slots] == ["MIG-a", "MIG-b", "MIG-c"]
    assert not offers_mps()


def test_process_without_a_visible_gpu_is_rejected(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    settings = make_settings(tiny_data, 3, device="cuda")
    folder = prepare_run(tmp_path, settings, tiny_data)
    execution = Execution(str(tiny_data / "cache" / "standin-tiny"), 1, 60.0, None)
    with pytest.raises(UserError, match=r"process 1 .*1 GPU.*--gpus-per-task .*--gpu-bind"):
        train(folder, settings, execution, DistContext(1, 2, 1, 2))


def test_exclusive_process_mode_of_a_gpu_is_explained(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable\n")
    assert re.search(r"unavailable \(.*SLOTS=1.*DEFAULT\)$", failure_reason(tmp_path))


@pytest.mark.parametrize(
    ("load", "gibibytes", "cores", "mps", "runs"),
    [
        (SMALL, 80, 16, True, 8),
        (SMALL, 80, 16, False, 2),
        (SMALL, 80, 3, True, 3),  # one core per run
        (SMALL, 16, 16, True, 6),
        (SMALL, 2, 16, True, 1),
        (Load(1e12, 2**30), 80, 16, True, 1),  # ResNet-34 at 224 pixels fills the GPU
    ],
)  # fmt: skip
def test_runs_per_gpu_depend_on_load_memory_and_cores(
    load: Load, gibibytes: int, cores: int, mps: bool, runs: int
) -> None:
    assert runs_a_gpu(load, gibibytes * 2**30, cores, mps) == runs


def test_load_of_a_study_is_that_of_its_largest_run(tiny_data: Path, tmp_path: Path) -> None:
    from resnet_repro.config.families import cifar_arm
    from resnet_repro.config.recipes import HE15_CIFAR
    from resnet_repro.data.catalogue import CATALOGUE

    facts = {"standin-tiny": CATALOGUE["standin-tiny"]}

    def load(*depths: int) -> Load:
        arms = [cifar_arm("resnet", depth, HE15_CIFAR) for depth in depths]
        return heaviest([Run(make_settings(tiny_data, 3, arm, precision="bf16"), tmp_path) for arm in arms], facts)

    small, large, both = load(20), load(56), load(56, 20)
    assert both == large
    assert small.multiply_adds == pytest.approx(128 * 40.6e6, rel=0.02)
    assert large.multiply_adds == pytest.approx(128 * 125.5e6, rel=0.02)
    # Twice the activations in the record of resnet-56 (262 MiB), in addition to the memory of every process.
    assert large.memory - 3 * 2**29 == pytest.approx(2 * 262 * 2**20, rel=0.15)


CONTROL = """#!/bin/sh
echo "$1 $CUDA_MPS_PIPE_DIRECTORY ${{CUDA_VISIBLE_DEVICES-unset}}" >> {calls}
if [ "$1" = -d ]; then {start}; else read -r said; echo "said $said" >> {calls}; fi
"""


class Control:
    """A fake MPS control program that logs its calls."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, start: str = "true", client: str = "pass"
    ) -> None:
        self.file = folder / "calls.txt"
        program = folder / "nvidia-cuda-mps-control"
        program.write_text(CONTROL.format(calls=self.file, start=start))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
        monkeypatch.setattr(sharing, "CLIENT", client)

    @property
    def calls(self) -> list[list[str]]:
        return [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []


def test_mps_starts_with_the_plan_and_ends_with_the_executor(
    machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(H100)
    control = Control(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    executor = local()
    assert executor.plan(25, SMALL) == f"8 at once on {H100[0]}, shared through MPS, 2 threads each"
    (pipe,) = {slot.environment["CUDA_MPS_PIPE_DIRECTORY"] for slot in executor.slots}
    assert {slot.share for slot in executor.slots} == {1 / 8}
    assert control.calls == [["-d", pipe, "unset"]], "the service must see all GPUs, so that GPU numbers stay the same"
    executor.close()
    assert control.calls[1:] == [[pipe, "unset"], ["said", "quit"]]
    assert not Path(pipe).exists()


def test_mps_ends_when_its_launcher_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control(tmp_path, monkeypatch)
    script = (
        "import time; from resnet_repro.launch import sharing; sharing.CLIENT = 'pass'; sharing.Mps(); "
        "print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 300
    while ["said", "quit"] not in control.calls:
        assert time.monotonic() < deadline, control.calls
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        ({"start": "echo It is already running >&2; exit 1"}, "It is already running"),
        # The daemon starts, but every CUDA call of a run would fail.
        ({"client": "import sys; sys.exit('CUDA error 805')"}, "CUDA error 805"),
    ],
)
def test_without_mps_fewer_runs_share_a_gpu(
    control: dict[str, str],
    reason: str,
    machine: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine(H100)
    calls = Control(tmp_path, monkeypatch, **control)
    executor = local()
    assert executor.plan(25, SMALL) == f"2 at once on {H100[0]}, 8 threads each"
    (line,) = caplog.messages
    assert line.startswith("MPS cannot be started (") and f"{reason})" in line
    assert calls.calls[-1] == ["said", "quit"], "a daemon that started is ended"
    executor.close()


def test_running_mps_service_is_used_and_not_ended(
    machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(H100)
    control = Control(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/run/mps")
    executor = local()
    assert executor.plan(25, SMALL) == f"8 at once on {H100[0]}, shared through MPS, 2 threads each"
    assert {slot.environment["CUDA_MPS_PIPE_DIRECTORY"] for slot in executor.slots} == {"/run/mps"}
    executor.close()
    assert control.calls == []


def test_one_run_per_gpu_starts_no_mps(machine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(H100)
    control = Control(tmp_path, monkeypatch)
    for executor, runs in ((local(), 1), (local(slots=1), 25), (local(spread=True), 25)):
        executor.plan(runs, SMALL)
        executor.close()
    assert control.calls == []
    service = Mps(start=False)
    service.close()
    assert service.environment == {}
